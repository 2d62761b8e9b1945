"""A displacement field as ITK's HDF5 transform (.h5), written and read plane by plane.

ITK makes the whole field in double precision, and again to write or read it: 48 and 72 bytes a voxel. Here ITK writes
the file of a field of a few voxels, and what says how many there are and where is put right: the fixed parameters,
extent and address of the parameters, and the end of the file (HDF5 file format specification 3.0, sections II.A,
IV.A.1 and IV.A.2). The displacements follow, a few planes at a time. A file that begins so, to the byte, is read in
the same way.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import torch

from ...core.files.hdf5_times import checked_header, checksum, clear_times
from ...core.files.itk import heard_itk, itk_output
from ...core.geometry import ImageGrid
from .field import DisplacementField

_SIZE = (2, 3, 7)  # of the field that ITK writes
_SUPERBLOCK = b"\x89HDF\r\n\x1a\n\x02\x08\x08\x00"  # version 2, addresses and lengths of eight bytes
_END_AT, _SUPERBLOCK_BYTES = 28, 44
_CONTIGUOUS = b"\x03\x01"  # version and class of a data layout in one piece
_SLAB_NUMBERS = 1 << 20


def write_hdf5_field(vectors: npt.NDArray[np.float32], grid: ImageGrid, path: Path, name: str) -> bool:
    """Write a field; False, and no usable file, if ITK lays files out in a way that is not known.

    Args:
        vectors: displacements ``(D, H, W, 3)``, mm, LPS.
        grid: where they are.
        path: of the new file.
        name: of the file in errors.
    """
    written, fixed = _few_voxels(path, name)
    head = _resized(written, fixed, (*grid.size, *grid.origin, *grid.spacing, *grid.direction))
    if head is None:
        return False
    with path.open("wb") as stream:
        stream.write(head)
        for planes in _slabs(grid):
            stream.write(np.ascontiguousarray(vectors[planes], dtype="<f8").data)
    return True


def read_hdf5_field(path: Path) -> DisplacementField | None:
    """The field, in single precision, of a file as :func:`write_hdf5_field` writes it here; None of any other."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            written, fixed = _few_voxels(Path(folder) / "few.h5", path.name)
    except (OSError, RuntimeError):  # a full disk, say, keeps nobody from reading
        return None
    at = written.find(_packed(fixed))
    with path.open("rb") as stream:
        start = stream.read(len(written))
        if at < 0 or len(start) < len(written):
            return None
        numbers = struct.unpack_from(f"<{len(fixed)}d", start, at)
        head = _resized(written, fixed, numbers)
        size = [int(number) for number in numbers[:3] if number >= 1 and number.is_integer()]
        if head is None or not head.startswith(start) or len(size) < 3:
            return None
        voxels = size[0] * size[1] * size[2]
        if path.stat().st_size != len(head) + 24 * voxels:
            return None
        grid = ImageGrid((size[0], size[1], size[2]), numbers[6:9], numbers[3:6], numbers[9:18])
        displacement = torch.empty((1, 3, *grid.shape))
        stream.seek(len(head))
        for planes in _slabs(grid):
            part = displacement[0, :, planes]
            values = np.fromfile(stream, "<f8", part.numel()).reshape(*part.shape[1:], 3)
            np.copyto(part.numpy(), np.moveaxis(values, -1, 0), casting="same_kind")
    return DisplacementField(displacement, grid)


def _slabs(grid: ImageGrid) -> Iterator[slice]:
    width, height, depth = grid.size
    step = max(1, _SLAB_NUMBERS // (3 * width * height))
    return (slice(first, min(first + step, depth)) for first in range(0, depth, step))


def _few_voxels(path: Path, name: str) -> tuple[bytes, tuple[float, ...]]:
    """The file that ITK writes of a field of a few voxels, and its fixed parameters."""
    transform = sitk.DisplacementFieldTransform(sitk.Image(_SIZE, sitk.sitkVectorFloat64, 3))
    with itk_output(path) as file, heard_itk(name):
        sitk.WriteTransform(transform, file)
    clear_times(path)
    return path.read_bytes(), transform.GetFixedParameters()


def _packed(numbers: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(numbers)}d", *numbers)


def _resized(written: bytes, fixed: Sequence[float], wanted: Sequence[float]) -> bytes | None:
    """The file of a field of other fixed parameters, without its displacements; None if the layout is not known.

    Args:
        written: the file of a field of a few voxels.
        fixed: its fixed parameters: size, origin, spacing and direction.
        wanted: those of the other.
    """
    data = bytearray(written)
    few, many = 3 * int(np.prod(_SIZE)), 3 * int(wanted[0]) * int(wanted[1]) * int(wanted[2])
    extent = struct.pack("<QQ", few, few)  # now, and at most
    if not data.startswith(_SUPERBLOCK) or data.count(_packed(fixed)) != 1 or data.count(extent) != 1:
        return None
    header = checked_header(data, data.rfind(b"OHDR", 0, data.index(extent)))
    if header is None or len(wanted) != len(fixed):
        return None
    extent_at, fixed_at = data.index(extent), data.index(_packed(fixed))
    layout_at = data.find(struct.pack("<Q", 8 * few), extent_at, header.stop) - 8
    if layout_at < 0 or data[layout_at - 2 : layout_at] != _CONTIGUOUS:
        return None
    data[fixed_at : fixed_at + 8 * len(fixed)] = _packed(wanted)
    data += bytes(-len(data) % 8)
    struct.pack_into("<QQ", data, extent_at, many, many)
    struct.pack_into("<QQ", data, layout_at, len(data), 8 * many)
    struct.pack_into("<Q", data, _END_AT, len(data) + 8 * many)
    data[header.stop : header.stop + 4] = checksum(data[header])
    data[_SUPERBLOCK_BYTES : _SUPERBLOCK_BYTES + 4] = checksum(data[:_SUPERBLOCK_BYTES])
    return bytes(data)
