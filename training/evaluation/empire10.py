"""Displacement fields as the EMPIRE10 challenge reads them (https://empire10.grand-challenge.org/dvf).

A folder a pair, ``01``, with ``defX.mhd``, ``defY.mhd`` and ``defZ.mhd`` on the fixed scan's voxels: by how many mm a
point moves along each axis of the arrays. The challenge takes a point's place to be voxel index times spacing, since
its scans have their origin at zero and no direction; what other headers say is in the field.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
from DeepLargeDeformRegLib.core.errors import BadInputError, OutputError
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine.fields import DisplacementField

from .voxel_fields import fixed_indices, moving_indices

_NAME = re.compile(r"(\d+)_Fixed", re.IGNORECASE)


def millimeters(field: DisplacementField, fixed: ImageGrid, moving: ImageGrid) -> npt.NDArray[np.float32]:
    """Displacements (D, H, W, 3) in mm along the arrays' axes (x, y, z): moving place minus fixed place.

    Args:
        field: fixed to moving, mm, on any grid.
        fixed: grid of the fixed scan, on which the result is.
        moving: grid of the moving scan.
    """
    there = moving_indices(field, fixed, moving) * moving.spacing
    return (there - fixed_indices(fixed) * fixed.spacing).astype(np.float32)


def write_fields(values: npt.NDArray[np.float32], fixed: ImageGrid, folder: Path) -> None:
    """Write the three images of one pair; the folder appears whole, in the place of an older one.

    Raises:
        OutputError: if a file cannot be written.
    """
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        for axis, letter in enumerate("XYZ"):
            raw = np.ascontiguousarray(values[..., axis], dtype="<f4")
            (unfinished / f"def{letter}.raw").write_bytes(raw.tobytes())
            (unfinished / f"def{letter}.mhd").write_text(_header(fixed, f"def{letter}.raw"), encoding="ascii")
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise OutputError(
            f"The fields in {folder.name} could not be written; is the disk full?", str(error)
        ) from error


def folder_name(fixed: str) -> str:
    """``01`` for a scan that is called as the challenge does, ``01_Fixed``.

    Raises:
        BadInputError: for another name.
    """
    found = _NAME.fullmatch(fixed)
    if found is None:
        raise BadInputError(f"{fixed} is no fixed scan of EMPIRE10, which are called 01_Fixed to 30_Fixed.")
    return found[1]


def _header(grid: ImageGrid, data: str) -> str:
    lines = (
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "TransformMatrix = 1 0 0 0 1 0 0 0 1",
        "Offset = 0 0 0",
        f"ElementSpacing = {' '.join(map(repr, grid.spacing))}",
        f"DimSize = {' '.join(map(str, grid.size))}",
        "ElementType = MET_FLOAT",
        f"ElementDataFile = {data}",
    )
    return "\n".join(lines) + "\n"
