"""MetaImage headers (.mha, .mhd), checked before MetaIO sees them: it aborts on some and reads noise from others."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ..errors import BadInputError
from ..sentences import marked as _
from .detached import voxel_file
from .streams import VoxelData, damaged

_SIZES = {
    **dict.fromkeys(("MET_CHAR", "MET_UCHAR"), 1),
    **dict.fromkeys(("MET_SHORT", "MET_USHORT"), 2),
    **dict.fromkeys(("MET_INT", "MET_UINT", "MET_FLOAT"), 4),
    **dict.fromkeys(("MET_LONG", "MET_ULONG"), 4),
    **dict.fromkeys(("MET_DOUBLE", "MET_LONG_LONG", "MET_ULONG_LONG"), 8),
}
_SIZES |= {f"{name}_ARRAY": size for name, size in _SIZES.items()}
_MOST_LINES = 1000
_LONGEST_LINE = 4000  # MetaIO has fields of fixed length
_NUMBERS_PER_AXIS = ("Offset", "Position", "Origin", "ElementSpacing", "ElementSize", "CenterOfRotation")
_MATRICES = ("TransformMatrix", "Rotation", "Orientation")


def meta_voxels(path: Path) -> VoxelData:
    """Voxels of a MetaImage file whose header has been checked.

    Raises:
        BadInputError: if the header is impossible, or its voxels lie in several files, outside of its folder, or
            nowhere.
    """
    header, end = _parse(path)
    data = header.get("ElementDataFile")
    if data is None or "DimSize" not in header:
        raise BadInputError(
            _("{file} is not a MetaImage file although its name says so; export it again.").format(file=path.name)
        )
    try:
        size = _bytes(header)
        compressed = _is_true(header, "CompressedData")
        skip = int(header.get("HeaderSize", "0"))
        stated = int(header.get("CompressedDataSize", "0"))
    except (ValueError, KeyError, OverflowError) as error:
        raise damaged(path.name) from error
    if not _is_true(header, "BinaryData", default=True):
        raise BadInputError(
            _("{file} holds its voxels as text, which is not read; save it as a binary MetaImage.").format(
                file=path.name
            )
        )
    if data.upper() == "LIST" or "%" in data:
        raise BadInputError(
            _("{file} spreads its voxels over many files, which is not read; save it as one file.").format(
                file=path.name
            )
        )
    local = data.upper() == "LOCAL"
    voxels = path if local else voxel_file(path, data)
    offset = end if local else 0
    if skip == -1 and not compressed and not local:
        offset = voxels.stat().st_size - size  # the voxels end the file
    elif skip > 0 and not local:
        offset = skip
    elif skip != 0:
        raise damaged(path.name)
    if not compressed:
        return VoxelData(path=voxels, offset=offset, encoding="raw", size=size)
    if stated <= 0 and local:
        raise BadInputError(
            _(
                "{file} does not state the size of its compressed voxels (CompressedDataSize), without which "
                "ITK reads noise; save it again with another program."
            ).format(file=path.name)
        )
    return VoxelData(path=voxels, offset=offset, encoding="zlib", size=size, length=stated if stated > 0 else None)


def _parse(path: Path) -> tuple[dict[str, str], int]:
    """Entries up to the one that names the voxels, and where the header ends."""
    header: dict[str, str] = {}
    with path.open("rb") as stream:
        for _ in range(_MOST_LINES):
            line = stream.readline(_LONGEST_LINE + 1)
            key, equals, value = line.decode("latin-1").partition("=")
            key = key.strip()
            if not line or not equals:
                break
            if len(line) > _LONGEST_LINE or key in header:
                raise damaged(path.name)
            header[key] = value.strip()
            if key == "ElementDataFile":
                break
        return header, stream.tell()


def _is_true(header: dict[str, str], key: str, default: bool = False) -> bool:
    text = header.get(key, str(default)).lower()
    return text[:1] in ("t", "y", "1")


def _bytes(header: dict[str, str]) -> int:
    """Decoded bytes of the voxels; ValueError for a header that contradicts itself."""
    axes = int(header["NDims"])
    sizes = [int(n) for n in header["DimSize"].split()]
    channels = int(header.get("ElementNumberOfChannels", "1"))
    if not 1 <= axes <= 5 or len(sizes) != axes or min(sizes) < 1 or not 1 <= channels <= 1000:
        raise ValueError("impossible size")
    for key in _NUMBERS_PER_AXIS + _MATRICES:
        if key in header:
            numbers = np.array(header[key].split(), dtype=np.float64)
            count = axes * axes if key in _MATRICES else axes
            if len(numbers) != count or not np.isfinite(numbers).all():
                raise ValueError(f"{key} has other numbers than {count}")
    return math.prod(sizes) * channels * _SIZES[header["ElementType"]]
