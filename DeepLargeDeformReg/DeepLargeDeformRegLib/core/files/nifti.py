"""NIfTI-1 headers (.nii, .nii.gz, and pairs .hdr/.img), checked as ITK does not.

ITK repairs some damaged files in silence: a zero voxel size becomes 1 mm; voxels that a truncated file lacks, and
those that are NaN, become zero or noise. A registration in wrong millimeters is worse than none.
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
from ..sentences import marked as _
from .streams import GZIP_MAGIC, VoxelData, damaged

HEADER_BYTES = 348
_FLOATS = {16: "f4", 64: "f8"}
# Bits of the data types of nifti1.h; ITK trusts the header's own number.
_BITS = {2: 8, 4: 16, 8: 32, 16: 32, 32: 64, 64: 64, 128: 24, 256: 8, 512: 16, 768: 32, 1024: 64, 1280: 64}
_BITS |= {1536: 128, 1792: 128, 2048: 256, 2304: 32}
_SCALE_TOLERANCE = 0.01
_ORTHOGONALITY_TOLERANCE = 1e-3


@dataclass(frozen=True, kw_only=True)
class NiftiHeader:
    """What the header says.

    Args:
        size: voxels along all axes that the file states, the fourth and fifth (time, components) among them.
        spacing: of the first three at most, in the file's unit.
        offset: first byte of the voxels.
        bytes_per_voxel: stored.
        float_type: of float voxels.
        sform: rows of the orientation matrix ``(3, 4)``, if stated.
        intent: code, name and first parameter of the intent.
        in_pair: True if the voxels lie in a file of their own.
    """

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    offset: int
    bytes_per_voxel: float
    float_type: np.dtype | None
    sform: npt.NDArray[np.float64] | None
    intent: tuple[int, str, float]
    in_pair: bool


def read_nifti_header(path: Path) -> NiftiHeader:
    """Header of a file or of the pair that it belongs to.

    Raises:
        BadInputError: if it is none, or its numbers are impossible.
    """
    name = path.name
    try:
        with path.open("rb") as stream:
            compressed = stream.read(2) == GZIP_MAGIC
        with _open(path, compressed) as unpacked:
            header = _parse(name, unpacked.read(HEADER_BYTES))
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise damaged(name) from error
    if not all(math.isfinite(value) and value > 0 for value in header.spacing):
        numbers = " x ".join(f"{value:g}" for value in header.spacing)
        raise BadInputError(
            _("{name} has an impossible voxel spacing ({numbers} mm); correct the file's header.").format(
                name=name, numbers=numbers
            )
        )
    if header.sform is not None:
        _check_sform(name, header.sform, header.spacing)
    return header


def nifti_voxels(path: Path) -> tuple[Path, VoxelData]:
    """Header file and voxels of a NIfTI file, whichever of a pair is given.

    Raises:
        BadInputError: if the header is impossible, the other file of a pair is missing, or it is there twice.
    """
    header_path = _header_of(path)
    header = read_nifti_header(header_path)
    voxels_path = _voxels_of(header_path, path) if header.in_pair else header_path
    with voxels_path.open("rb") as stream:
        compressed = stream.read(2) == GZIP_MAGIC
    size = math.ceil(math.prod(header.size) * header.bytes_per_voxel)
    if compressed:
        data = VoxelData(
            path=voxels_path, offset=0, encoding="gzip", size=size, skip=header.offset, float_type=header.float_type
        )
    else:
        data = VoxelData(
            path=voxels_path, offset=header.offset, encoding="raw", size=size, float_type=header.float_type
        )
    return header_path, data


def _header_of(path: Path) -> Path:
    """The header of a pair whose voxel file was given."""
    for ending in (".img", ".img.gz"):
        if path.name.lower().endswith(ending):
            stem = path.name[: -len(ending)]
            found = [one for one in _beside(path, stem, (".hdr", ".hdr.gz")) if one.is_file()]
            if len(found) != 1:
                raise BadInputError(
                    _("{file} needs the header {stem}.hdr beside it; copy both files together.").format(
                        file=path.name, stem=stem
                    )
                )
            return found[0]
    return path


def _voxels_of(header: Path, given: Path) -> Path:
    if given != header:
        return given
    stem = header.name[: header.name.lower().rindex(".hdr")]
    found = [one for one in _beside(header, stem, (".img", ".img.gz")) if one.is_file()]
    if not found:
        raise BadInputError(
            _("{file} names a file with its voxels that is not there; copy both files together.").format(
                file=header.name
            )
        )
    if len(found) > 1:
        raise BadInputError(
            _("{file} could belong to {one} or to {other}; move the one that is not meant.").format(
                file=header.name, one=found[0].name, other=found[1].name
            )
        )
    return found[0]


def _beside(path: Path, stem: str, endings: tuple[str, ...]) -> list[Path]:
    names = {f"{stem}{ending}" for ending in endings} | {f"{stem}{ending.upper()}" for ending in endings}
    return list({one.resolve(): one for one in (path.with_name(name) for name in sorted(names))}.values())


def _parse(name: str, raw: bytes) -> NiftiHeader:
    order = next((order for order in "<>" if raw[:4] == struct.pack(order + "i", HEADER_BYTES)), None)
    if order is None or len(raw) < HEADER_BYTES:
        if raw[4:8] == b"n+2\0":
            raise BadInputError(
                _("{name} is in the format NIfTI-2, which ITK cannot read; save it as NIfTI-1.").format(name=name)
            )
        raise BadInputError(
            _("{name} is not a NIfTI file although its name says so; export it again.").format(name=name)
        )
    magic = raw[344:348]
    if magic not in (b"n+1\0", b"ni1\0"):
        raise BadInputError(
            _(
                "{name} is in the format Analyze, which does not say where left and right are; save it as NIfTI."
            ).format(name=name)
        )
    rank, *size = struct.unpack_from(order + "8h", raw, 40)
    kind, bits = struct.unpack_from(order + "2h", raw, 70)
    spacing = struct.unpack_from(order + "3f", raw, 80)
    (offset,) = struct.unpack_from(order + "f", raw, 108)
    qform, sform_code = struct.unpack_from(order + "2h", raw, 252)
    quaternion = struct.unpack_from(order + "6f", raw, 256)
    lowest = 0 if magic == b"ni1\0" else 352
    possible = 1 <= rank <= 7 and all(n >= 1 for n in size[:rank]) and _BITS.get(kind) == bits
    if not possible or not lowest <= offset < 2**31 or (qform > 0 and not np.isfinite(quaternion).all()):
        raise damaged(name)
    sform = np.array(struct.unpack_from(order + "12f", raw, 280)).reshape(3, 4) if sform_code > 0 else None
    intent_name = raw[328:344].split(b"\0")[0].decode("latin-1")
    (parameter,), (code,) = struct.unpack_from(order + "f", raw, 56), struct.unpack_from(order + "h", raw, 68)
    return NiftiHeader(
        size=tuple(size[:rank]),
        spacing=spacing[: min(rank, 3)],
        offset=int(offset),
        bytes_per_voxel=bits / 8,
        float_type=np.dtype(order + _FLOATS[kind]) if kind in _FLOATS else None,
        sform=sform,
        intent=(code, intent_name, parameter),
        in_pair=magic == b"ni1\0",
    )


def _check_sform(name: str, sform: npt.NDArray[np.float64], spacing: tuple[float, ...]) -> None:
    axes = sform[:, : len(spacing)]
    lengths = np.linalg.norm(axes, axis=0)
    if not np.all(np.isfinite(sform)) or lengths.min() <= 0:
        raise BadInputError(
            _("{name} has an impossible orientation matrix; correct the file's header.").format(name=name)
        )
    directions = axes / lengths
    if np.abs(directions.T @ directions - np.eye(len(spacing))).max() > _ORTHOGONALITY_TOLERANCE:
        raise BadInputError(
            _(
                "{name}: the axes of the image are not at right angles to each other (non-orthonormal "
                "direction matrix); resample the scan to a rectangular grid first."
            ).format(name=name)
        )
    if np.abs(lengths / np.array(spacing) - 1).max() > _SCALE_TOLERANCE:
        one, two = (" x ".join(f"{value:.4g}" for value in values) for values in (spacing, lengths))
        raise BadInputError(
            _(
                "{name} states two different voxel spacings ({one} mm and, in its orientation matrix, {two} "
                "mm); correct the file's header."
            ).format(name=name, one=one, two=two)
        )


def _open(path: Path, compressed: bool) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if compressed else path.open("rb")
