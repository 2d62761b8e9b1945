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
from ..core.sentences import joined
from ..core.sentences import marked as _

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
            _(
                "{file} is a folder; say with --moving-folder where the moving scans are, or give a table of pairs."
            ).format(file=path.name)
        )
    rows = _learn2reg_rows(path) if path.suffix.lower() == ".json" else _table_rows(path)
    if not rows:
        raise BadInputError(_("{file} names no pairs.").format(file=path.name))
    errors: list[str] = []
    pairs = [_pair(number, row, path.absolute().parent, errors) for number, row in rows]
    seen: dict[str, int] = {}
    for pair in pairs:
        first = seen.setdefault(pair.name.casefold(), pair.line)
        if first != pair.line:
            double = _("line {number}: the name '{name}' is that of line {first} already")
            errors.append(double.format(number=pair.line, name=pair.name, first=first))
    if errors:
        told, rest = joined("; ", errors[:_MOST_ERRORS]), len(errors) - _MOST_ERRORS
        if rest > 0:
            told = _("{errors} (and {count} more)").format(errors=told, count=rest)
        raise BadInputError(_("{file} cannot be used: {errors}.").format(file=path.name, errors=told))
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
            _(
                "No scan in {fixed} has the name of one in {moving}; the two scans of a pair need the same "
                "file name, or write a table of pairs."
            ).format(fixed=fixed.name, moving=moving.name)
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
        raise BadInputError(_("There is no folder {folder}; choose another one.").format(folder=folder.name))
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
        unknown = ", ".join(repr(column) for column in wrong)
        told = [_("unknown columns: {columns}").format(columns=unknown)] if wrong else []
        told += [_("missing columns: {missing}").format(missing=", ".join(missing))] if missing else []
        told += [_("a column occurs twice")] if len(set(columns)) < len(columns) else []
        raise BadInputError(
            _("{file} cannot be used: {told}. The columns are {columns}.").format(
                file=path.name, told=joined("; ", told), columns=", ".join(COLUMNS)
            )
        )
    rows = []
    for number, cells in enumerate(lines[1:], 2):
        if len(cells) > len(columns):
            raise BadInputError(
                _("{file} cannot be used: line {number} is longer than the row of column names.").format(
                    file=path.name, number=number
                )
            )
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
            _("{file} is no data set of Learn2Reg: it needs pairs of 'fixed' and 'moving' in one of {names}.").format(
                file=path.name, names=", ".join(_LEARN2REG_PAIRS)
            ),
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
        errors.append(_("line {number}: {problem}").format(number=number, problem=text))

    files = {}
    for column in FILES:
        if column in row:
            path = folder / row[column]
            files[column] = str(path)
            if not is_there(str(path)):
                wrong(_("{column} is not there ({path})").format(column=column, path=row[column]))
        elif column in ("fixed", "moving"):
            wrong(_("{column} is empty").format(column=column))
    if ("fixed_landmarks" in row) != ("moving_landmarks" in row):
        wrong(_("landmarks are needed in both scans"))
    if row.get("preset", "any") not in PRESETS:
        wrong(_("there is no preset '{preset}'").format(preset=row["preset"]))
    name = row.get("name") or "__".join(_stem(row.get(column, "")) for column in ("fixed", "moving"))
    if name != _folder_name(name):
        if row.get("name"):
            wrong(_("the name '{name}' must be of letters, digits and any of . + = - _").format(name=name))
        name = _folder_name(name)
    match = tuple(part.strip() for part in row.get("match", "").split(";") if part.strip())
    if any("=" not in part for part in match):
        wrong(_("match must be FIXED=MOVING, several joined with semicolons"))
    return CohortPair(
        name=name, files=files, match=match, preset=row.get("preset"), model=row.get("model"), line=number
    )


def _stem(path: str) -> str:
    return re.sub(r"(\.nii|\.seg|\.mrk)?\.\w+$", "", Path(path).name) or Path(path).name
