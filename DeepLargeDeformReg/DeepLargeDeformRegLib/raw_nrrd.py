"""Uncompressed NRRD straight into memory: how the worker's files come back in a fraction of SimpleITK's time.

Both Slicer and the engine read such files; numpy alone is needed. Whatever is not plainly such a file is left to
SimpleITK: :func:`read_raw_nrrd` then returns None.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt

_MOST_HEADER_BYTES = 1 << 16
_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    "float": "f4",
    "double": "f8",
}
_FIELDS = {"type", "dimension", "space", "sizes", "space directions", "kinds", "endian", "encoding", "space origin"}


@dataclass(frozen=True, eq=False)
class RawImage:
    """Voxels and geometry (LPS, mm) of a file.

    Args:
        array: ``(D, H, W)``, or ``(D, H, W, 3)`` for vectors, in the file's type; memory of its own.
        spacing: along the index axes (x, y, z).
        origin: position of the first voxel.
        direction: nine numbers, row by row; columns are the unit vectors of the index axes.
    """

    array: npt.NDArray[np.generic]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]


def read_raw_nrrd(path: str | PathLike[str]) -> RawImage | None:
    """Read a 3D scalar or three-vector image, complete, in this machine's byte order, voxels in the file itself.

    Returns:
        The image, or None for any other file, missing and damaged ones among them.
    """
    try:
        with Path(path).open("rb") as stream:
            start = stream.read(_MOST_HEADER_BYTES)
            end = start.find(b"\n\n") + 2
            fields = _fields(start[: max(end, 0)].decode("ascii"))
            dtype = np.dtype(_TYPES[fields["type"]])
            shape, geometry = _shape(fields), _geometry(fields)
            plain = fields["encoding"] == "raw" and (dtype.itemsize == 1 or fields["endian"] == sys.byteorder)
            if not plain or Path(path).stat().st_size != end + math.prod(shape) * dtype.itemsize:
                return None
            stream.seek(end)
            return RawImage(np.fromfile(stream, dtype).reshape(shape), *geometry)
    except (OSError, ValueError, KeyError):  # not such a file; SimpleITK says what it is
        return None


def _fields(header: str) -> dict[str, str]:
    lines = header.splitlines()
    if not lines or not lines[0].startswith("NRRD000"):
        raise ValueError("no NRRD")
    # Comments and key/value pairs change nothing about the voxels; any other field might.
    stated = [line.partition(": ") for line in lines[1:] if line and not line.startswith("#") and ":=" not in line]
    fields = {name: value.strip() for name, _, value in stated}
    if not set(fields) <= _FIELDS or fields["space"] != "left-posterior-superior":
        raise ValueError("fields beyond the plain ones")
    return fields


def _shape(fields: dict[str, str]) -> tuple[int, ...]:
    sizes = [int(size) for size in fields["sizes"].split()]
    vectors = fields["kinds"].split()[0] == "vector"
    if len(sizes) != int(fields["dimension"]) or len(sizes) != 3 + vectors or (vectors and sizes[0] != 3):
        raise ValueError("no 3D image of scalars or three-vectors")
    return (*sizes[:0:-1], sizes[0]) if vectors else tuple(sizes[::-1])


def _geometry(
    fields: dict[str, str],
) -> tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, ...]]:
    axes = [_numbers(part) for part in fields["space directions"].replace("none", "").split()]
    columns = np.array(axes).T
    spacing = np.linalg.norm(columns, axis=0)
    if columns.shape != (3, 3) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise ValueError("no geometry")
    x, y, z = spacing.tolist()
    a, b, c = _numbers(fields["space origin"])
    return (x, y, z), (a, b, c), tuple((columns / spacing).ravel().tolist())


def _numbers(text: str) -> list[float]:
    return [float(number) for number in text.strip("()").split(",")]
