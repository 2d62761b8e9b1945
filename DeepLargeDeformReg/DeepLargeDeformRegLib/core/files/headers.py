"""Checks of NIfTI and MetaImage headers that ITK does not make.

ITK repairs some damaged files in silence: a zero voxel size becomes 1 mm; voxels that a truncated NIfTI file lacks,
and those that are NaN, become zero or noise. A registration in wrong millimeters is worse than none: such files are
refused here.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from ..errors import BadInputError
from .common import ending

_GZIP_MAGIC = b"\x1f\x8b"
_NIFTI_FLOATS = {16: "f4", 64: "f8"}
_CHUNK = 1 << 20  # voxels read at a time
_SCALE_TOLERANCE = 0.01
_ORTHOGONALITY_TOLERANCE = 1e-3
_META_SIZES = {
    **dict.fromkeys(("MET_CHAR", "MET_UCHAR"), 1),
    **dict.fromkeys(("MET_SHORT", "MET_USHORT"), 2),
    **dict.fromkeys(("MET_INT", "MET_UINT", "MET_FLOAT"), 4),
    **dict.fromkeys(("MET_DOUBLE", "MET_LONG_LONG", "MET_ULONG_LONG"), 8),
}


def check_file(path: Path) -> None:
    """Refuse an image file that is missing, empty, incomplete or has an impossible voxel size or orientation.

    Raises:
        BadInputError: one line that names the file and what to do.
    """
    if not path.is_file():
        raise BadInputError(f"There is no file {path.name}; check the path.")
    if path.stat().st_size == 0:
        raise BadInputError(f"{path.name} is empty (0 bytes); copy or export it again.")
    kind = ending(path)
    if kind in (".nii", ".nii.gz"):
        _check_nifti(path)
    elif kind in (".mha", ".mhd"):
        _check_meta(path)


@dataclass(frozen=True)
class _Nifti:
    size: tuple[int, ...]
    bytes_per_voxel: float
    float_type: np.dtype | None
    spacing: tuple[float, ...]
    offset: int
    sform: npt.NDArray[np.float64] | None


def _check_nifti(path: Path) -> None:
    with path.open("rb") as stream:
        compressed = stream.read(2) == _GZIP_MAGIC
    try:
        with _open(path, compressed) as unpacked:
            header = _parse_nifti(path, unpacked.read(348))
        if not all(math.isfinite(value) and value > 0 for value in header.spacing):
            numbers = " x ".join(f"{value:g}" for value in header.spacing)
            raise BadInputError(
                f"{path.name} has an impossible voxel spacing ({numbers} mm); correct the file's header."
            )
        if header.sform is not None:
            _check_sform(path, header.sform, header.spacing)
        _check_nifti_voxels(path, header, compressed)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path) from error


def _parse_nifti(path: Path, raw: bytes) -> _Nifti:
    order = next((order for order in "<>" if raw[:4] == struct.pack(order + "i", 348)), None)
    if order is None or len(raw) < 348:
        if raw[4:8] == b"n+2\0":
            raise BadInputError(f"{path.name} is in the format NIfTI-2, which ITK cannot read; save it as NIfTI-1.")
        raise BadInputError(f"{path.name} is not a NIfTI file although its name says so; export it again.")
    rank, *size = struct.unpack_from(order + "8h", raw, 40)
    kind, bits = struct.unpack_from(order + "2h", raw, 70)
    spacing = struct.unpack_from(order + "3f", raw, 80)
    (offset,) = struct.unpack_from(order + "f", raw, 108)
    (code,) = struct.unpack_from(order + "h", raw, 254)
    if not (1 <= rank <= 7 and all(n >= 1 for n in size[:rank]) and bits > 0 and 0 <= offset < 2**31):
        raise _damaged(path)
    sform = np.array(struct.unpack_from(order + "12f", raw, 280)).reshape(3, 4) if code > 0 else None
    float_type = np.dtype(order + _NIFTI_FLOATS[kind]) if kind in _NIFTI_FLOATS else None
    return _Nifti(tuple(size[:rank]), bits / 8, float_type, spacing[: min(rank, 3)], int(offset), sform)


def _check_nifti_voxels(path: Path, header: _Nifti, compressed: bool) -> None:
    """Refuse missing voxels and, since ITK turns them into zeros, those that are not finite."""
    voxels = math.prod(header.size)
    if header.float_type is None:
        expected = header.offset + math.ceil(voxels * header.bytes_per_voxel)
        complete = _gzip_holds(path, expected) if compressed else path.stat().st_size >= expected
        wrong = 0
    else:
        left, wrong = voxels, 0
        with _open(path, compressed) as unpacked:
            unpacked.seek(header.offset)
            while left > 0:
                chunk = unpacked.read(min(left, _CHUNK) * header.float_type.itemsize)
                values = np.frombuffer(chunk, header.float_type, count=len(chunk) // header.float_type.itemsize)
                if len(values) == 0:
                    break
                left -= len(values)
                wrong += len(values) - int(np.count_nonzero(np.isfinite(values)))
        complete = left == 0
    if not complete:
        raise _damaged(path)
    if wrong:
        raise not_finite(path.name, wrong)


def not_finite(name: str, count: int) -> BadInputError:
    """The refusal of an image with NaN or infinite voxels."""
    return BadInputError(
        f"{name} contains {count} voxels that are not finite numbers (NaN or infinite); replace them first, for "
        "example with the background's value."
    )


def _check_sform(path: Path, sform: npt.NDArray[np.float64], spacing: tuple[float, ...]) -> None:
    axes = sform[:, : len(spacing)]
    lengths = np.linalg.norm(axes, axis=0)
    if not np.all(np.isfinite(sform)) or lengths.min() <= 0:
        raise BadInputError(f"{path.name} has an impossible orientation matrix; correct the file's header.")
    directions = axes / lengths
    if np.abs(directions.T @ directions - np.eye(len(spacing))).max() > _ORTHOGONALITY_TOLERANCE:
        raise BadInputError(
            f"{path.name}: the axes of the image are not at right angles to each other (non-orthonormal direction "
            "matrix); resample the scan to a rectangular grid first."
        )
    if np.abs(lengths / np.array(spacing) - 1).max() > _SCALE_TOLERANCE:
        one, two = (" x ".join(f"{value:.4g}" for value in values) for values in (spacing, lengths))
        raise BadInputError(
            f"{path.name} states two different voxel spacings ({one} mm and, in its orientation matrix, {two} mm); "
            "correct the file's header."
        )


def _open(path: Path, compressed: bool) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if compressed else path.open("rb")


def _gzip_holds(path: Path, expected: int) -> bool:
    """True if the compressed file holds at least ``expected`` bytes."""
    with path.open("rb") as stream:
        stream.seek(-4, 2)
        stated = struct.unpack("<I", stream.read(4))[0]
    if stated == expected % 2**32:
        return True
    # The trailer of a cut file is noise, that of a file in several members counts the last one alone: count for real.
    count = 0
    try:
        with gzip.open(path) as unpacked:
            while chunk := unpacked.read(1 << 22):
                count += len(chunk)
    except (OSError, EOFError, zlib.error):
        return False
    return count >= expected


def _check_meta(path: Path) -> None:
    header, offset = _parse_meta(path)
    data = header.get("ElementDataFile")
    if data is None or "DimSize" not in header:
        raise BadInputError(f"{path.name} is not a MetaImage file although its name says so; export it again.")
    if data.upper() == "LIST" or "%" in data:
        return
    if data.upper() == "LOCAL":
        present = path.stat().st_size - offset
    else:
        voxels = path.with_name(data)
        if not voxels.is_file():
            raise BadInputError(
                f"{path.name} names a file with its voxels that is not there; copy both files together."
            )
        present = voxels.stat().st_size
    if present < _meta_bytes(header):
        raise _damaged(path)


def _parse_meta(path: Path) -> tuple[dict[str, str], int]:
    header: dict[str, str] = {}
    with path.open("rb") as stream:
        for _ in range(1000):
            line = stream.readline(65536)
            key, equals, value = line.decode("latin-1").partition("=")
            if not line or not equals:
                break
            header[key.strip()] = value.strip()
            if key.strip() == "ElementDataFile":
                break
        return header, stream.tell()


def _meta_bytes(header: dict[str, str]) -> int:
    """Bytes that the voxels take in the file; 0 if the header does not say."""
    try:
        if header.get("CompressedData", "False").lower() == "true":
            return int(header.get("CompressedDataSize", "0"))
        voxels = math.prod(int(n) for n in header["DimSize"].split())
        channels = int(header.get("ElementNumberOfChannels", "1"))
    except ValueError:
        return 0
    return voxels * channels * _META_SIZES.get(header.get("ElementType", ""), 0)


def _damaged(path: Path) -> BadInputError:
    return BadInputError(f"{path.name} is incomplete or damaged (voxels are missing); copy or export it again.")
