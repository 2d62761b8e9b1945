"""Data sets of a plain CSV table, for one's own data: one subject a row, or one pair a row."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.files import pair_landmarks, read_landmark_pairs, read_landmarks
from DeepLargeDeformRegLib.core.files.common import read_text
from DeepLargeDeformRegLib.core.images import LandmarkPairs

from .subjects import DataSet, Pair, Subject, stem, subject_of_files

_SUBJECT_COLUMNS = ("name", "image", "labels", "structures", "mask", "patient", "split")
_PAIR_COLUMNS = (
    *(
        f"{side}{what}"
        for side in ("fixed", "moving")
        for what in ("", "_labels", "_structures", "_mask", "_landmarks")
    ),
    "landmarks",
    "keypoints",
    "patient",
    "split",
)
_NO_PATHS = ("fixed_structures", "moving_structures", "patient", "split")
_DEFAULT_SPLIT = "train"

Row = dict[str, str]


def table(path: Path) -> DataSet:
    """A table of subjects or pairs. Paths in it are relative to its folder; cells may be empty.

    Subjects have the columns ``image`` or ``labels``, and any of ``name, mask, patient, split``. Pairs have the
    columns ``fixed, moving`` and any of ``fixed_labels, moving_labels, fixed_mask, moving_mask`` (files),
    ``landmarks, keypoints`` (tables of pairs, columns fixed_x ... moving_z in LPS mm), ``fixed_landmarks,
    moving_landmarks`` (any landmark file that the extension reads), ``patient`` (for two scans of one patient) and
    ``split``. A row without a split belongs to ``train``. ``structures``, or ``fixed_structures`` and
    ``moving_structures``, say which values of the labels are read, and as which (``5=9 1=10``), where data sets
    number structures in their own ways.

    Raises:
        BadInputError: if the table cannot be read, has unknown columns or names a file that does not exist.
    """
    rows, is_pairs = _rows(path)
    if not is_pairs:
        return _subjects(path, rows)
    subjects, pairs = _pairs(path, rows)
    splits: dict[str, list[Pair]] = {}
    for row, pair in zip(rows, pairs, strict=True):
        splits.setdefault(row.get("split") or _DEFAULT_SPLIT, []).append(pair)
    return DataSet(subjects, splits)


def rows_and_pairs(path: Path) -> list[tuple[Row, Pair]]:
    """The rows of a table of pairs as they are written, with the pair of each.

    Raises:
        BadInputError: as :func:`table`, or if it is a table of subjects.
    """
    rows, is_pairs = _rows(path)
    if not is_pairs:
        raise BadInputError(f"{path.name} is a table of subjects; one of pairs has the columns fixed and moving.")
    return list(zip(rows, _pairs(path, rows)[1], strict=True))


def moved_row(row: Row, source: Path, target: Path) -> Row:
    """A row of a table of pairs with its paths as they are written in a table that lies elsewhere.

    Args:
        row: of the table ``source``.
        source: the table that it is from.
        target: the table that it goes to.
    """
    moved = dict(row)
    for column, value in row.items():
        if value and column not in _NO_PATHS:
            moved[column] = Path(os.path.relpath(source.parent.resolve() / value, target.parent.resolve())).as_posix()
    return moved


def _rows(path: Path) -> tuple[list[Row], bool]:
    """The rows of a table, and whether they are pairs; unknown columns are refused."""
    if path.is_dir():
        raise BadInputError(f"{path.name} is a folder; the reader csv needs the file of the table.")
    lines = [line for line in read_text(path).splitlines() if line.strip()]
    reader = csv.DictReader(lines)
    columns = [(column or "").strip() for column in reader.fieldnames or ()]
    reader.fieldnames = columns
    rows = [{key: (value or "").strip() for key, value in row.items() if key} for row in reader]
    is_pairs = {"fixed", "moving"} <= set(columns)
    known = _PAIR_COLUMNS if is_pairs else _SUBJECT_COLUMNS
    if not is_pairs and not {"image", "labels"} & set(columns):
        raise BadInputError(
            f"The first line of {path.name} must name its columns: image (and labels, mask ...) for subjects, or "
            "fixed and moving for pairs."
        )
    unknown = [column for column in columns if column not in known]
    if unknown:
        raise BadInputError(f"{path.name} has an unknown column {unknown[0]!r}; there are {', '.join(known)}.")
    if not rows:
        raise BadInputError(f"{path.name} has no row below its first line.")
    return rows, is_pairs


def _subjects(path: Path, rows: list[Row]) -> DataSet:
    subjects: dict[str, Subject] = {}
    splits: dict[str, list[str]] = {}
    for number, row in enumerate(rows, start=2):
        files = {kind: _file(path, row, kind, number) for kind in ("image", "labels", "mask")}
        first = files["image"] or files["labels"]
        if first is None:
            raise BadInputError(f"Line {number} of {path.name} has neither an image nor labels.")
        name = row.get("name") or stem(first)
        if name in subjects:
            raise BadInputError(f"Line {number} of {path.name}: there is already a subject called {name}; name it.")
        patient = row.get("patient", "")
        structures = _structures(path, row, "structures", number)
        subjects[name] = subject_of_files(name, files["image"], files["labels"], files["mask"], patient, structures)
        splits.setdefault(row.get("split") or _DEFAULT_SPLIT, []).append(name)
    return DataSet(subjects, {}, splits)


def _pairs(path: Path, rows: list[Row]) -> tuple[dict[str, Subject], list[Pair]]:
    subjects: dict[str, Subject] = {}
    images: dict[str, Path] = {}
    pairs: list[Pair] = []
    for number, row in enumerate(rows, start=2):
        sides = []
        for side in ("fixed", "moving"):
            image = _file(path, row, side, number)
            if image is None:
                raise BadInputError(f"Line {number} of {path.name} has no {side} scan.")
            name = _unique_name(image, images)
            if name not in subjects:
                labels, mask = (_file(path, row, f"{side}_{kind}", number) for kind in ("labels", "mask"))
                images[name] = image
                structures = _structures(path, row, f"{side}_structures", number)
                patient = row.get("patient", "")
                subjects[name] = subject_of_files(name, image, labels, mask, patient, structures)
            sides.append(subjects[name])
        pairs.append(Pair(sides[0], sides[1], _landmarks(path, row, number), _keypoints(path, row, number)))
    return subjects, pairs


def _unique_name(image: Path, images: Mapping[str, Path]) -> str:
    """The file's stem, or with its folder before it where another scan has that: ``case1/ct``, ``case2/ct``."""
    name = stem(image)
    parents = list(image.resolve().parents)
    for parent in parents:
        if images.get(name, image) == image:
            return name
        name = f"{parent.name}/{name}"
    return name


def _landmarks(path: Path, row: Row, number: int) -> Callable[[], LandmarkPairs] | None:
    both = _file(path, row, "landmarks", number)
    if both is not None:
        return partial(read_landmark_pairs, both)
    fixed, moving = (_file(path, row, f"{side}_landmarks", number) for side in ("fixed", "moving"))
    if (fixed is None) != (moving is None):
        raise BadInputError(f"Line {number} of {path.name} has landmarks of one scan only.")
    return None if fixed is None or moving is None else partial(_read_two, fixed, moving)


def _keypoints(path: Path, row: Row, number: int) -> Callable[[], LandmarkPairs] | None:
    file = _file(path, row, "keypoints", number)
    return None if file is None else partial(read_landmark_pairs, file)


def _structures(path: Path, row: Row, column: str, number: int) -> dict[int, int] | None:
    """``5=9 1=10``: the values 5 and 1 of the file are read as 9 and 10, all others as background."""
    cell = row.get(column, "")
    if not cell:
        return None
    try:
        return {int(value): int(wanted) for value, wanted in (part.split("=") for part in cell.split())}
    except ValueError as error:
        raise BadInputError(
            f"Line {number} of {path.name}: {cell!r} ({column}) does not say which values are read as which; write "
            "5=9 1=10 to read 5 as 9 and 1 as 10."
        ) from error


def _read_two(fixed: Path, moving: Path) -> LandmarkPairs:
    return pair_landmarks(read_landmarks(fixed), read_landmarks(moving))


def _file(path: Path, row: Row, column: str, number: int) -> Path | None:
    value = row.get(column, "")
    if not value:
        return None
    file = path.parent / value
    if not file.exists():
        raise BadInputError(f"Line {number} of {path.name}: {Path(value).name} ({column}) does not exist.")
    return file
