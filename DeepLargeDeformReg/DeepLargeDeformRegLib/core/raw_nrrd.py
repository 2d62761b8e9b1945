"""NRRD straight from and into memory: what scans and fields cost on their way to the worker and back.

Both Slicer and the engine read and write such files; numpy alone is needed. SimpleITK copies an array twice on
the way to a file and once on the way back. Here voxels are converted slab by slab while they pass through a
processor's cache, so that a file costs what its bytes cost. Whatever is not plainly such a file is left to SimpleITK:
:func:`open_raw_nrrd` then returns None.

Is it worth its lines? The files of a job with all maps, of scans of 512x512x300 voxels, take 4.5 s of processor time
this way and 14.2 s by SimpleITK: ``python -m Testing.benchmarks.benchmark_worker --files --size 512 512 300``.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from .parallel_gzip import write_gzip

Array = npt.NDArray[np.generic]
Triple = tuple[float, float, float]

_MOST_HEADER_BYTES = 1 << 16
_SLAB_BYTES = 1 << 20  # rearranged at a time: fits into a processor's cache
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
_WRITTEN = {
    "i1": "signed char",
    "u1": "uchar",
    "i2": "short",
    "u2": "ushort",
    "i4": "int",
    "u4": "uint",
    "f4": "float",
    "f8": "double",
}
_FIELDS = {"type", "dimension", "space", "sizes", "space directions", "kinds", "endian", "encoding", "space origin"}


@dataclass(frozen=True, eq=False)
class RawImage:
    """Voxels and geometry (LPS, mm) of a file.

    Args:
        array: ``(D, H, W)``, or ``(D, H, W, 3)`` for vectors; memory of its own.
        spacing: along the index axes (x, y, z).
        origin: position of the first voxel.
        direction: nine numbers, row by row; columns are the unit vectors of the index axes.
    """

    array: Array
    spacing: Triple
    origin: Triple
    direction: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class RawFile:
    """A file whose header has been read: shape and geometry as in :class:`RawImage`, voxels still on the disk."""

    path: Path
    offset: int
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    spacing: Triple
    origin: Triple
    direction: tuple[float, ...]

    @property
    def is_field(self) -> bool:
        """True for three values a voxel."""
        return len(self.shape) == 4

    def read(
        self,
        dtype: npt.DTypeLike | None = None,
        factors: Sequence[float] | None = None,
        out: Array | None = None,
    ) -> Array:
        """The voxels.

        Args:
            dtype: type to convert to; the file's own by default.
            factors: three numbers to multiply the components of vectors with, as (-1, -1, 1) from LPS to RAS.
            out: C-contiguous array of as many values to read into, which then also says the type.

        Raises:
            OSError: if the file cannot be read, or has become shorter.
        """
        wanted = np.dtype(dtype if dtype is not None else self.dtype)
        array = np.empty(self.shape, wanted) if out is None else out.reshape(self.shape)
        rows = array.reshape(self.shape[0] * self.shape[1], -1)
        if not np.shares_memory(rows, array):
            raise ValueError("out is not contiguous")
        line = None if factors is None else np.tile(np.asarray(factors, rows.dtype), rows.shape[1] // 3)
        at_once = max(1, _SLAB_BYTES // max(rows[0].nbytes, 1))
        slab = np.empty((at_once, rows.shape[1]), self.dtype) if rows.dtype != self.dtype else None
        with self.path.open("rb", buffering=0) as stream:
            stream.seek(self.offset)
            for start in range(0, len(rows), at_once):
                part = rows[start : start + at_once]
                source = part if slab is None else slab[: len(part)]
                _fill(stream, source)
                if line is not None:
                    np.multiply(source, line, out=part, casting="unsafe")
                elif source is not part:
                    np.copyto(part, source, casting="unsafe")
        return array


def open_raw_nrrd(path: str | PathLike[str]) -> RawFile | None:
    """Header of a 3D scalar or three-vector image, complete, in this machine's byte order, voxels in the file itself.

    Returns:
        The header, or None for any other file, missing and damaged ones among them.
    """
    try:
        if not Path(path).is_file():  # a pipe would be waited for
            return None
        with Path(path).open("rb") as stream:
            start = stream.read(_MOST_HEADER_BYTES)
        end = start.find(b"\n\n") + 2
        fields = _fields(start[: max(end, 0)].decode("ascii"))
        dtype = np.dtype(_TYPES[fields["type"]])
        shape, (spacing, origin, direction) = _shape(fields), _geometry(fields)
        plain = fields["encoding"] == "raw" and (dtype.itemsize == 1 or fields["endian"] == sys.byteorder)
        if not plain or Path(path).stat().st_size != end + math.prod(shape) * dtype.itemsize:
            return None
        return RawFile(
            path=Path(path), offset=end, dtype=dtype, shape=shape, spacing=spacing, origin=origin, direction=direction
        )
    except (OSError, ValueError, KeyError, IndexError):  # not such a file; SimpleITK says what it is
        return None


def read_raw_nrrd(path: str | PathLike[str]) -> RawImage | None:
    """Voxels and geometry of a file; None where :func:`open_raw_nrrd` has none, or it cannot be read."""
    file = open_raw_nrrd(path)
    if file is None:
        return None
    try:
        return RawImage(file.read(), file.spacing, file.origin, file.direction)
    except OSError:
        return None


def write_raw_nrrd(
    array: Array,
    spacing: Sequence[float],
    origin: Sequence[float],
    direction: Sequence[float],
    path: Path,
    compress: bool = False,
) -> None:
    """Write voxels ``(D, H, W)``, or vectors ``(D, H, W, 3)``, of any memory layout, in their own type.

    Args:
        array: what to write.
        spacing: as in :class:`RawImage`, as are ``origin`` and ``direction``.
        origin: LPS, mm.
        direction: nine numbers.
        path: where to.
        compress: by gzip, which :func:`open_raw_nrrd` does not read.

    Raises:
        OSError: if it cannot be written whole; what was written is left to the caller.
    """
    with path.open("wb", buffering=0) as stream:
        encoding = "gzip" if compress else "raw"
        _write(stream, memoryview(_header(array, spacing, origin, direction, encoding).encode("ascii")))
        if compress:
            write_gzip(partial(_write, stream), _in_order(array))
        elif array.flags.c_contiguous:
            _write(stream, array.data.cast("B"))
        else:
            for part in _in_order(array):
                _write(stream, part)


def _in_order(array: Array) -> Iterator[memoryview]:
    """The bytes of an array of any memory layout in the order of its indices, some planes at a time.

    What one step gives is overwritten by the next.
    """
    planes = max(1, _SLAB_BYTES // max(array[0].nbytes, 1))
    slab = np.empty((planes, *array.shape[1:]), array.dtype)
    for start in range(0, len(array), planes):
        part = array[start : start + planes]
        packed = slab[: len(part)]
        if array.ndim == 4:
            # One component at a time reads memory in order where each lies in one piece, as torch has it.
            for component in range(array.shape[3]):
                packed[..., component] = part[..., component]
        else:
            packed[...] = part
        yield packed.data.cast("B")


def _fill(stream: BinaryIO, part: Array) -> None:
    view = part.data.cast("B")
    while view:
        count = stream.readinto(view)  # type: ignore[attr-defined]
        if not count:
            raise OSError("the file ends too early")
        view = view[count:]


def _write(stream: BinaryIO, data: memoryview) -> None:
    while data:
        data = data[stream.write(data) :]


def _header(
    array: Array, spacing: Sequence[float], origin: Sequence[float], direction: Sequence[float], encoding: str
) -> str:
    axes = (np.asarray(direction, dtype=float).reshape(3, 3) * np.asarray(spacing, dtype=float)).T.tolist()
    directions, kinds = [_vector(axis) for axis in axes], ["domain"] * 3
    sizes = [str(number) for number in array.shape[2::-1]]
    if array.ndim == 4:
        directions, kinds, sizes = ["none", *directions], ["vector", *kinds], [str(array.shape[3]), *sizes]
    lines = (
        "NRRD0004",
        f"type: {_WRITTEN[array.dtype.str[1:]]}",
        f"dimension: {len(sizes)}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(sizes)}",
        f"space directions: {' '.join(directions)}",
        f"kinds: {' '.join(kinds)}",
        f"endian: {sys.byteorder}",
        f"encoding: {encoding}",
        f"space origin: {_vector(origin)}",
    )
    return "\n".join(lines) + "\n\n"


def _vector(values: Sequence[float]) -> str:
    return "(" + ",".join(repr(float(value)) for value in values) + ")"


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
    if min(sizes) < 1 or len(sizes) != int(fields["dimension"]):
        raise ValueError("no voxels")
    if len(sizes) != 3 + vectors or (vectors and sizes[0] != 3):
        raise ValueError("no 3D image of scalars or three-vectors")
    return (*sizes[:0:-1], sizes[0]) if vectors else tuple(sizes[::-1])


def _geometry(fields: dict[str, str]) -> tuple[Triple, Triple, tuple[float, ...]]:
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
