"""The table that names the pairs of a cohort: CSV, TSV or the JSON of a Learn2Reg data set."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import BadInputError
from ..core.files import VOLUME_ENDINGS
from ..core.files.common import read_text
from ..core.presets import PRESETS

FILES = (
    "fixed",
    "moving",
    "fixed_segmentation",
    "moving_segmentation",
    "landmarks",
    "fixed_landmarks",
    "moving_landmarks",
    "fixed_mask",
    "moving_mask",
    "initial_transform",
    "region",
)
"""Columns that name a file, relative to the table's folder."""
COLUMNS = ("name", *FILES, "match", "preset", "model")
_MOST_ERRORS = 20
_LEARN2REG_PAIRS = ("registration_test", "registration_val")


@dataclass(frozen=True, kw_only=True)
class CohortPair:
    """One pair of a cohort.

    Args:
        name: of its folder; unique in the cohort.
        files: path by column, those of :data:`FILES` that the table gives.
        match: ``FIXED=MOVING`` each: structures that belong together.
        preset: of this pair; None takes the cohort's.
        model: likewise.
    """

    name: str
    files: Mapping[str, str]
    match: tuple[str, ...] = ()
    preset: str | None = None
    model: str | None = None
    line: int = field(default=0, compare=False)


def read_pairs(path: Path) -> list[CohortPair]:
    """The pairs of a table, checked.

    Args:
        path: ``.csv`` or ``.tsv`` with a row of column names (``fixed`` and ``moving``, and any of :data:`COLUMNS`),
            or the ``.json`` of a Learn2Reg data set.

    Raises:
        BadInputError: with all that is wrong, not the first thing alone.
    """
    if path.is_dir():
        raise BadInputError(
            f"{path.name} is a folder; say with --moving-folder where the moving scans are, or give a table of pairs."
        )
    rows = _learn2reg_rows(path) if path.suffix.lower() == ".json" else _table_rows(path)
    if not rows:
        raise BadInputError(f"{path.name} names no pairs.")
    errors: list[str] = []
    pairs = [_pair(number, row, path.absolute().parent, errors) for number, row in rows]
    seen: dict[str, int] = {}
    for pair in pairs:
        first = seen.setdefault(pair.name.casefold(), pair.line)
        if first != pair.line:
            errors.append(f"line {pair.line}: the name '{pair.name}' is that of line {first} already")
    if errors:
        more = f" (and {len(errors) - _MOST_ERRORS} more)" if len(errors) > _MOST_ERRORS else ""
        raise BadInputError(f"{path.name} cannot be used: {'; '.join(errors[:_MOST_ERRORS])}{more}.")
    return pairs


def pair_folders(fixed: Path, moving: Path) -> list[CohortPair]:
    """The pairs of two folders: each fixed scan with the moving one of the same file name, whatever its format.

    A scan is a file that can be read as a volume, or a folder of DICOM files; ``NAME.seg.nrrd`` beside
    ``NAME.nii.gz`` holds its structures.

    Raises:
        BadInputError: if a folder is not there, or they share no names.
    """
    sides = {"fixed": _scans(fixed), "moving": _scans(moving)}
    shared = [name for name in sides["fixed"] if name in sides["moving"]]
    if not shared:
        raise BadInputError(
            f"No scan in {fixed.name} has the name of one in {moving.name}; the two scans of a pair need the same "
            "file name, or write a table of pairs."
        )
    pairs = []
    for line, name in enumerate(shared, 1):
        files = {column: str(scans[name]) for column, scans in sides.items()}
        for column, scans in sides.items():
            labels = scans[name].with_name(f"{name}.seg.nrrd")
            files |= {f"{column}_segmentation": str(labels)} if labels.is_file() else {}
        pairs.append(CohortPair(name=_folder_name(name), files=files, line=line))
    return pairs


def _scans(folder: Path) -> dict[str, Path]:
    """Scans of a folder by name, in the order of their names."""
    if not folder.is_dir():
        raise BadInputError(f"There is no folder {folder.name}; choose another one.")
    found: dict[str, Path] = {}
    for path in sorted(folder.absolute().iterdir()):
        name = path.name.lower()
        is_scan = path.is_dir() or (name.endswith((*VOLUME_ENDINGS, ".mhd", ".nhdr")) and ".seg." not in name)
        if is_scan and not name.startswith("."):
            found.setdefault(_stem(path.name) if path.is_file() else path.name, path)
    return found


def is_there(path: str) -> bool:
    """Whether there is a scan, also as ``FOLDER#2``, the second series of a DICOM folder."""
    return Path(re.sub(r"#\d+$", "", path)).exists()


def _folder_name(name: str) -> str:
    """A name that a folder can have on every system."""
    return re.sub(r"[^\w.+=-]", "_", name).lstrip(".")


def _table_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    text = read_text(path)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ";" if ";" in text.split("\n")[0] else ","
    lines = list(csv.reader(text.splitlines(), delimiter=delimiter))
    columns = [column.strip().casefold() for column in lines[0]] if lines else []
    wrong = [column for column in columns if column not in COLUMNS]
    missing = [column for column in ("fixed", "moving") if column not in columns]
    if wrong or missing or len(set(columns)) < len(columns):
        told = [f"unknown columns: {', '.join(repr(column) for column in wrong)}"] if wrong else []
        told += [f"missing columns: {', '.join(missing)}"] if missing else []
        told += ["a column occurs twice"] if len(set(columns)) < len(columns) else []
        raise BadInputError(f"{path.name} cannot be used: {'; '.join(told)}. The columns are {', '.join(COLUMNS)}.")
    rows = []
    for number, cells in enumerate(lines[1:], 2):
        if len(cells) > len(columns):
            raise BadInputError(f"{path.name} cannot be used: line {number} is longer than the row of column names.")
        row = {column: cell.strip() for column, cell in zip(columns, cells, strict=False) if cell.strip()}
        if row:
            rows.append((number, row))
    return rows


def _learn2reg_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Pairs of a ``dataset.json``: those to test on, else those to validate on, with labels where there are some."""
    try:
        content: Any = json.loads(read_text(path))
        pairs: Sequence[Any] = next(content[key] for key in _LEARN2REG_PAIRS if content.get(key))
        named = [(str(pair["fixed"]), str(pair["moving"])) for pair in pairs]
    except (ValueError, TypeError, KeyError, AttributeError, StopIteration, RecursionError) as error:
        raise BadInputError(
            f"{path.name} is no data set of Learn2Reg: it needs pairs of 'fixed' and 'moving' in one of "
            f"{', '.join(_LEARN2REG_PAIRS)}.",
            str(error),
        ) from error
    rows = []
    for number, scans in enumerate(named, 1):
        row = dict(zip(("fixed", "moving"), scans, strict=True))
        labels = [re.sub(r"images(T[rs])", r"labels\1", scan) for scan in scans]
        if all(label != scan and (path.parent / label).is_file() for label, scan in zip(labels, scans, strict=True)):
            row |= dict(zip(("fixed_segmentation", "moving_segmentation"), labels, strict=True))
        rows.append((number, row))
    return rows


def _pair(number: int, row: Mapping[str, str], folder: Path, errors: list[str]) -> CohortPair:
    """One row; what is wrong with it is added to the errors."""

    def wrong(text: str) -> None:
        errors.append(f"line {number}: {text}")

    files = {}
    for column in FILES:
        if column in row:
            path = folder / row[column]
            files[column] = str(path)
            if not is_there(str(path)):
                wrong(f"{column} is not there ({row[column]})")
        elif column in ("fixed", "moving"):
            wrong(f"{column} is empty")
    if ("fixed_landmarks" in row) != ("moving_landmarks" in row):
        wrong("landmarks are needed in both scans")
    if row.get("preset", "any") not in PRESETS:
        wrong(f"there is no preset '{row['preset']}'")
    name = row.get("name") or "__".join(_stem(row.get(column, "")) for column in ("fixed", "moving"))
    if name != _folder_name(name):
        if row.get("name"):
            wrong(f"the name '{name}' must be of letters, digits and any of . + = - _")
        name = _folder_name(name)
    match = tuple(part.strip() for part in row.get("match", "").split(";") if part.strip())
    if any("=" not in part for part in match):
        wrong("match must be FIXED=MOVING, several joined with semicolons")
    return CohortPair(
        name=name, files=files, match=match, preset=row.get("preset"), model=row.get("model"), line=number
    )


def _stem(path: str) -> str:
    return re.sub(r"(\.nii|\.seg|\.mrk)?\.\w+$", "", Path(path).name) or Path(path).name
