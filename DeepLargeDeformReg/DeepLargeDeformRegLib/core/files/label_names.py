"""Names of the structures of a label map whose format has none, from a table beside it, as BIDS has it.

``organs.nii.gz`` has its names in ``organs.tsv``, with the columns ``index`` and ``name`` (BIDS 1.10, derivatives,
"Common image-derived labels"); further columns are ignored.
"""

from __future__ import annotations

import csv
from pathlib import Path

from ..errors import BadInputError
from ..text import printable
from .common import PathLike, ending, read_text


def table_of_names(path: PathLike) -> Path:
    """Where the table of a label map would be."""
    path = Path(path)
    return path.with_name(path.name[: len(path.name) - len(ending(path))] + ".tsv")


def names_beside(path: PathLike) -> dict[int, str]:
    """Names by label value; empty where there is no such table, or it is one of something else."""
    table = table_of_names(path)
    if not table.is_file():
        return {}
    try:
        rows = list(csv.DictReader(read_text(table).splitlines(), delimiter="\t"))
    except (BadInputError, csv.Error):
        return {}
    named = [(row.get("index") or "", printable(row.get("name") or "")) for row in rows]
    return {int(value): name for value, name in named if value.isdecimal() and len(value) < 10 and name}
