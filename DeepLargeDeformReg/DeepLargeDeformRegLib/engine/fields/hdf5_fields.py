"""A displacement field as ITK's HDF5 transform (.h5), written plane by plane.

ITK makes the whole field in double precision, and once more to write it: 48 bytes a voxel. Here ITK writes the file
of a field of a few voxels, and what says how many there are and where is put right: the size among the fixed
parameters, extent and address of the parameters, and the end of the file (HDF5 file format specification 3.0,
sections II.A, IV.A.1 and IV.A.2). The displacements follow, a few planes at a time.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ...core.files.hdf5_times import checked_header, checksum, clear_times
from ...core.files.itk import heard_itk, itk_output
from ...core.geometry import ImageGrid

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
    few = sitk.Image(_SIZE, sitk.sitkVectorFloat64, 3)
    few.SetOrigin(grid.origin)
    few.SetSpacing(grid.spacing)
    few.SetDirection(grid.direction)
    transform = sitk.DisplacementFieldTransform(few)
    with itk_output(path) as file, heard_itk(name):
        sitk.WriteTransform(transform, file)
    clear_times(path)
    head = _resized(path.read_bytes(), transform.GetFixedParameters(), grid)
    if head is None:
        return False
    planes = max(1, _SLAB_NUMBERS // (3 * grid.size[0] * grid.size[1]))
    with path.open("wb") as stream:
        stream.write(head)
        for first in range(0, grid.size[2], planes):
            stream.write(np.ascontiguousarray(vectors[first : first + planes], dtype="<f8").data)
    return True


def _resized(written: bytes, fixed: tuple[float, ...], grid: ImageGrid) -> bytes | None:
    """The file of a field on a grid, without its displacements, from that of a few voxels; None if it is unknown."""
    data = bytearray(written)
    few, many = 3 * int(np.prod(_SIZE)), 3 * int(np.prod(grid.size))
    parameters = struct.pack(f"<{len(fixed)}d", *fixed)
    extent = struct.pack("<QQ", few, few)  # now, and at most
    if not data.startswith(_SUPERBLOCK) or data.count(parameters) != 1 or data.count(extent) != 1:
        return None
    struct.pack_into("<3d", data, data.index(parameters), *grid.size)
    extent_at = data.index(extent)
    header = checked_header(data, data.rfind(b"OHDR", 0, extent_at))
    if header is None:
        return None
    layout_at = data.find(struct.pack("<Q", 8 * few), extent_at, header.stop) - 8
    if layout_at < 0 or data[layout_at - 2 : layout_at] != _CONTIGUOUS:
        return None
    data += bytes(-len(data) % 8)
    struct.pack_into("<QQ", data, extent_at, many, many)
    struct.pack_into("<QQ", data, layout_at, len(data), 8 * many)
    struct.pack_into("<Q", data, _END_AT, len(data) + 8 * many)
    data[header.stop : header.stop + 4] = checksum(data[header])
    data[_SUPERBLOCK_BYTES : _SUPERBLOCK_BYTES + 4] = checksum(data[:_SUPERBLOCK_BYTES])
    return bytes(data)
