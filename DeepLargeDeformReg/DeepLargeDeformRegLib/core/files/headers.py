"""What is asked of an image file before ITK reads a byte of it: is it whole, possible, and no larger than memory?"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from ..errors import BadInputError
from .common import check_regular, ending
from .metaimage import meta_voxels
from .nifti import nifti_voxels
from .nrrd import nrrd_voxels
from .streams import GZIP_MAGIC, VoxelData, check_voxels, damaged

NIFTI_ENDINGS = (".nii", ".nii.gz", ".hdr", ".img", ".img.gz")
META_ENDINGS = (".mha", ".mhd")
NRRD_ENDINGS = (".nrrd", ".nhdr", ".seg.nrrd")
CHECKED_ENDINGS = (*NIFTI_ENDINGS, *META_ENDINGS, *NRRD_ENDINGS)


def check_file(path: Path, decode: bool = True) -> None:
    """Refuse a file that is missing, no regular file, empty, incomplete, damaged, or has an impossible header.

    Args:
        path: the file.
        decode: False asks its header alone.

    Raises:
        BadInputError: one line that names the file and what to do.
        MemoryExhaustedError: if its header asks for more than this machine has.
    """
    check_regular(path)
    data = voxel_data(path)
    if data is not None or not decode:
        if data is not None and decode:
            check_voxels(path.name, data)
        return
    with path.open("rb") as stream:
        if stream.read(2) != GZIP_MAGIC:
            return
    try:
        with gzip.open(path) as unpacked:
            while unpacked.read(1 << 22):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path.name) from error


def voxel_data(path: Path) -> VoxelData | None:
    """Where the voxels of an image file lie; None for formats that are not known here.

    Raises:
        BadInputError: if its header is impossible.
    """
    kind = ending(path)
    if kind in NIFTI_ENDINGS:
        return nifti_voxels(path)[1]
    if kind in META_ENDINGS:
        return meta_voxels(path)
    if kind in NRRD_ENDINGS:
        return nrrd_voxels(path)
    return None


def files_of(path: Path) -> list[Path]:
    """All files that an image is read from: itself, and those with its header or voxels."""
    try:
        if ending(path) in NIFTI_ENDINGS:
            header, data = nifti_voxels(path)
            return [path, header, data.path]
        data_of = voxel_data(path)
    except (BadInputError, OSError):
        return [path]
    return [path] if data_of is None else [path, data_of.path]
