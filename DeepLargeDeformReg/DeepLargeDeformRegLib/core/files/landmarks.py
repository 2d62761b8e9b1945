"""Landmarks: Slicer's .mrk.json and .fcsv, tables (.csv) and point files of elastix (.pts, .txt).

Inside the engine a landmark is an LPS position in mm; each file says, or its format fixes, what its numbers are:

- .mrk.json, .fcsv: the coordinate system is a field of the file (LPS, RAS, or 0 and 1 for RAS and LPS in old files);
- .csv: the header. ``fixed_x, fixed_y, fixed_z, moving_x, moving_y, moving_z`` for pairs and ``x, y, z`` for one set
  are LPS; with ``l, p, s`` or ``r, a, s`` in place of ``x, y, z`` the header itself names the system. A column
  ``name`` or ``label`` is optional, further columns are ignored;
- .pts, .txt: ``point`` (LPS) or ``index`` (voxels of the scan's grid) in the first line, the count in the second.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import BadInputError
from ..geometry import ImageGrid
from ..images import LandmarkPairs, Landmarks, unequal_numbers
from ..sentences import marked as _
from ..tables import comma_separated
from .common import PathLike, check_output, ending, read_text, write_text
from .landmark_tables import axes_of, names_of, number_of, positions_of, read_table

LANDMARK_ENDINGS = (".mrk.json", ".fcsv", ".csv")

_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])
_SIGNS = {"LPS": np.ones(3), "1": np.ones(3), "RAS": _RAS_TO_LPS, "0": _RAS_TO_LPS}
_FCSV_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
_FCSV_STATUS_COLUMNS = 2  # that Slicer adds after those that it names
_MARKUPS_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, OverflowError, csv.Error)
_MOST_MM = 1e5  # from the scanner's origin: 100 m
_MOST_NAMED = 6
_DEFINED = ("defined", "fixed_defined", "moving_defined", "positionstatus")


def read_landmarks(path: PathLike, grid: ImageGrid | None = None) -> Landmarks:
    """Read the landmarks of one scan.

    Args:
        path: .mrk.json, .fcsv, .csv, .pts or .txt.
        grid: the scan's grid; needed for point files of elastix that hold voxel indices.

    Raises:
        BadInputError: if the file is missing, damaged, empty, of an unknown kind or coordinate system, or has a point
            that was not placed.
    """
    name = Path(path).name
    text = read_text(path)
    kind = ending(path)
    try:
        if kind in (".mrk.json", ".json"):
            landmarks = _from_markups(text, name)
        elif kind == ".fcsv":
            landmarks = _from_fcsv(text, name)
        elif kind == ".csv":
            landmarks = _from_table(text, name)
        elif kind in (".pts", ".txt"):
            landmarks = _from_elastix(text, name, grid)
        else:
            raise BadInputError(
                _("{name} is no landmark file: .mrk.json, .fcsv, .csv, .pts and .txt can be read.").format(name=name)
            )
    except _DAMAGE as error:
        raise _damaged(name, error) from error
    _check_points(landmarks.points, name)
    return landmarks


def _damaged(name: str, error: Exception) -> BadInputError:
    return BadInputError(_("{name} is damaged: its landmarks could not be read.").format(name=name), repr(error))


def read_landmark_pairs(path: PathLike) -> LandmarkPairs:
    """Read a table of pairs: a .csv with the columns fixed_x ... moving_z (LPS mm; see the module for RAS).

    Raises:
        BadInputError: if the file is missing, damaged or has no such columns.
    """
    name = Path(path).name
    try:
        columns, rows = read_table(read_text(path), name)
    except _DAMAGE as error:
        raise _damaged(name, error) from error
    fixed, moving = (axes_of(columns, prefix) for prefix in ("fixed_", "moving_"))
    if fixed is None or moving is None:
        raise BadInputError(
            _(
                "{name} is no table of landmark pairs: its first line must name the columns fixed_x, "
                "fixed_y, fixed_z, moving_x, moving_y, moving_z (LPS, mm)."
            ).format(name=name)
        )
    names = names_of(columns, rows)
    _check_placed(_not_placed(columns, rows, names), name)
    pairs = LandmarkPairs(
        positions_of(rows, fixed[0], name) * _SIGNS[fixed[1]],
        positions_of(rows, moving[0], name) * _SIGNS[moving[1]],
        _unique(names),
    )
    _check_points(np.concatenate([pairs.fixed, pairs.moving]), name)
    return pairs


def pair_landmarks(fixed: Landmarks, moving: Landmarks) -> LandmarkPairs:
    """Pair the landmarks of two scans by name, or by order where no name of one scan is known in the other.

    Names are compared without case and surplus blanks.

    Raises:
        BadInputError: if their numbers differ, or only some of the names are the same: then neither names nor order
            say which belong together.
    """
    if len(fixed) != len(moving):
        raise unequal_numbers(len(fixed), len(moving))
    names, others = (tuple(" ".join(name.casefold().split()) for name in one.names) for one in (fixed, moving))
    shared = (set(names) & set(others)) - {""}
    if not shared or names == others:
        return LandmarkPairs(fixed.points, moving.points, _unique(fixed.names))
    if _unique(names) and sorted(names) == sorted(others):
        order = [others.index(name) for name in names]
        return LandmarkPairs(fixed.points, moving.points[order], fixed.names)
    unlike = sorted({name for name in (*names, *others) if name not in shared or max(names.count(name), 1) > 1})
    raise BadInputError(
        _(
            "Only some of the landmarks have the same names in both scans, so that it is unclear which "
            "belong together (see {unlike}); name them alike, each name once."
        ).format(unlike=", ".join(unlike[:_MOST_NAMED]) or _("those without a name"))
    )


def write_landmarks(points: npt.ArrayLike, path: PathLike, names: Sequence[str] = ()) -> None:
    """Write LPS points (n, 3), mm, as .mrk.json or .fcsv for Slicer, or as .csv with columns name, x, y, z.

    Raises:
        BadInputError: if the ending is none of these.
        OutputError: if it could not be written.
    """
    check_output(path, LANDMARK_ENDINGS)
    positions = np.asarray(points, dtype=np.float64).reshape(-1, 3)
    labels = list(names) or [str(index + 1) for index in range(len(positions))]
    if len(labels) != len(positions):
        raise ValueError(f"{len(labels)} names for {len(positions)} points")
    kind = ending(path)
    if kind == ".mrk.json":
        text = _to_markups(positions, labels)
    elif kind == ".fcsv":
        text = _to_fcsv(positions, labels)
    else:
        rows = [[label, *_decimals(point)] for label, point in zip(labels, positions, strict=True)]
        text = comma_separated([["name", "x", "y", "z"], *rows])
    write_text(text, path)


def write_landmark_pairs(pairs: LandmarkPairs, path: PathLike) -> None:
    """Write pairs as .csv with the columns fixed_x ... moving_z (LPS mm) and name."""
    check_output(path, (".csv",))
    header = [f"{scan}_{axis}" for scan in ("fixed", "moving") for axis in "xyz"]
    rows = [
        [*_decimals(fixed), *_decimals(moving), name]
        for fixed, moving, name in zip(pairs.fixed, pairs.moving, pairs.names, strict=True)
    ]
    write_text(comma_separated([[*header, "name"], *rows]), path)


def _from_markups(text: str, name: str) -> Landmarks:
    lists = [one for one in json.loads(text)["markups"] if one.get("controlPoints")]
    if len(lists) > 1:
        raise BadInputError(
            _("{name} holds {count} lists of landmarks; save the one to use by itself.").format(
                name=name, count=len(lists)
            )
        )
    if not lists:
        return Landmarks(np.empty((0, 3)), ())
    units = lists[0].get("coordinateUnits", "mm")
    if any(unit != "mm" for unit in ([units] if isinstance(units, str) else units)):
        raise BadInputError(
            _("{name}: the landmarks are not in millimeters; save them in millimeters.").format(name=name)
        )
    points = lists[0]["controlPoints"]
    _check_placed(
        [one.get("label") or "" for one in points if one.get("positionStatus", "defined") != "defined"], name
    )
    positions = np.array([one["position"] for one in points], dtype=np.float64).reshape(len(points), 3)
    system = str(lists[0].get("coordinateSystem", "LPS"))
    return Landmarks(positions * _sign(system, name), tuple(str(one.get("label") or "") for one in points))


def _check_points(points: npt.NDArray[np.float64], name: str) -> None:
    if len(points) == 0:
        raise BadInputError(_("{name} contains no landmarks.").format(name=name))
    if not np.all(np.isfinite(points)):
        text = _("{name} has a landmark with a coordinate that is not a finite number.")
        raise BadInputError(text.format(name=name))
    if (farthest := float(np.abs(points).max())) > _MOST_MM:
        raise BadInputError(
            _(
                "{name} has a landmark that lies {farthest:.3g} mm from the scanner's origin; correct its "
                "position or unit."
            ).format(name=name, farthest=farthest)
        )


def _not_placed(columns: list[str], rows: list[list[str]], names: Sequence[str]) -> list[str]:
    """Names of the points that a table of Slicer, in its column ``defined``, says were not placed."""
    where = [index for index, column in enumerate(columns) if column in _DEFINED]
    return [
        one
        for one, row in zip(names, rows, strict=True)
        if any(row[index].strip().lower() not in ("1", "true", "yes", "defined") for index in where)
    ]


def _check_placed(missing: list[str], name: str) -> None:
    if missing:
        raise BadInputError(
            _("{name}: {count} landmark(s) were not placed ({missing}); place or delete them.").format(
                name=name, count=len(missing), missing=", ".join(one or "?" for one in missing[:_MOST_NAMED])
            )
        )


def _from_fcsv(text: str, name: str) -> Landmarks:
    system, columns = "RAS", _FCSV_COLUMNS.split(",")  # files before Slicer 4 name no system and mean RAS
    lines = []
    for line in text.splitlines():
        key, _, value = line.lstrip("#").partition("=")
        if not line.startswith("#"):
            lines.append(line)
        elif key.strip() == "CoordinateSystem":
            system = value.strip()
        elif key.strip() == "columns":
            columns = [column.strip() for column in value.split(",")]
    rows = [row for row in csv.reader(lines) if row]
    where = [columns.index(axis) for axis in "xyz"]
    names = names_of(columns, rows)
    # Slicer adds the position status after the columns that it names; 2 is "defined".
    status = len(_FCSV_COLUMNS.split(","))
    if any(len(row) > status + _FCSV_STATUS_COLUMNS for row in rows):
        raise BadInputError(
            _("{name} has a line with more values than columns; are there commas within its numbers?").format(
                name=name
            )
        )
    _check_placed(
        [one for one, row in zip(names, rows, strict=True) if row[status : status + 1] not in ([], ["2"])], name
    )
    return Landmarks(positions_of(rows, where, name) * _sign(system, name), names)


def _from_table(text: str, name: str) -> Landmarks:
    columns, rows = read_table(text, name)
    found = axes_of(columns, "")
    if found is not None:
        where, system = found
        names = names_of(columns, rows)
        _check_placed(_not_placed(columns, rows, names), name)
        return Landmarks(positions_of(rows, where, name) * _SIGNS[system], names)
    if axes_of(columns, "fixed_") is not None:
        raise BadInputError(
            _("{name} is a table of landmark pairs; the landmarks of one scan are needed here.").format(name=name)
        )
    raise BadInputError(
        _(
            "{name}: its first line must name the columns: x, y, z or l, p, s for LPS, or r, a, s for "
            "RAS coordinates in mm."
        ).format(name=name)
    )


def _from_elastix(text: str, name: str, grid: ImageGrid | None) -> Landmarks:
    words = text.split()
    kind = words[0].lower()
    if kind not in ("point", "index"):
        raise BadInputError(
            _("{name} is no point file of elastix: its first line must be 'point' or 'index'.").format(name=name)
        )
    count, numbers = int(words[1]), [number_of(word) for word in words[2:]]
    if count < 0 or len(numbers) != 3 * count:
        raise BadInputError(
            _("{name} states {count} points but holds {numbers} numbers; 3 per point are needed.").format(
                name=name, count=count, numbers=len(numbers)
            )
        )
    positions = np.array(numbers).reshape(-1, 3)
    if kind == "index":
        if grid is None:
            raise BadInputError(
                _("{name} holds voxel indices, which need a scan; give points in mm ('point') instead.").format(
                    name=name
                )
            )
        positions = grid.to_physical(positions)
    return Landmarks(positions, ("",) * count)


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, or none if they do not tell the landmarks apart."""
    return names if "" not in names and len(set(names)) == len(names) else ()


def _sign(system: str, name: str) -> npt.NDArray[np.float64]:
    sign = _SIGNS.get(system.upper())
    if sign is None:
        raise BadInputError(
            _("{name} uses the coordinate system {system}; save the landmarks as LPS or RAS.").format(
                name=name, system=system
            )
        )
    return sign


def _decimals(point: npt.NDArray[np.float64]) -> list[str]:
    return [f"{value:.6f}" for value in point]


def _to_markups(positions: npt.NDArray[np.float64], labels: list[str]) -> str:
    points = [
        {
            "id": str(index),
            "label": label,
            "position": [round(float(value), 6) for value in position],
            "positionStatus": "defined",
        }
        for index, (position, label) in enumerate(zip(positions, labels, strict=True), start=1)
    ]
    markup = {"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": points}
    return json.dumps({"@schema": _MARKUPS_SCHEMA, "markups": [markup]}, indent=2, ensure_ascii=False) + "\n"


def _to_fcsv(positions: npt.NDArray[np.float64], labels: list[str]) -> str:
    rows = [
        [str(index), *_decimals(position), "0", "0", "0", "1", "1", "1", "0", label, "", ""]
        for index, (position, label) in enumerate(zip(positions, labels, strict=True), start=1)
    ]
    table = comma_separated([_FCSV_COLUMNS.split(","), *rows]).partition("\n")[2]
    return f"# Markups fiducial file version = 5.0\n# CoordinateSystem = LPS\n# columns = {_FCSV_COLUMNS}\n{table}"
