"""Displacement fields as the Learn2Reg challenge reads them.

Its evaluation (https://github.com/MDL-UzL/L2R, evaluation/evaluation.py) samples the moving array at voxel index
plus field, both in voxels along the array's axes (x, y, z), components last. It knows no headers: spacing, origin and
direction must be in the field, so the moving scan's grid, not the fixed one's, turns millimeters into its voxels.
Of its numbers, Dice, TRE and SDlogJ are ours; its HD95 is in voxels, by another definition of a surface.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from DeepLargeDeformRegLib.core.errors import BadInputError, RegistrationError
from DeepLargeDeformRegLib.core.files.common import written_whole
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine.fields import DisplacementField

from ..data import Pair
from .voxel_fields import fixed_indices, moving_indices

# Task_0001_0000: subject and modality, four digits each.
_CHALLENGE_NAME = re.compile(r"_(\d{4})_(\d{4})$")


def voxel_field(field: DisplacementField, fixed: ImageGrid, moving: ImageGrid) -> npt.NDArray[np.float32]:
    """Displacements (X, Y, Z, 3): moving voxel index minus fixed voxel index, of each fixed voxel.

    Args:
        field: fixed to moving, mm, on any grid.
        fixed: grid of the fixed scan, on which the result is.
        moving: grid of the moving scan.

    Raises:
        BadInputError: if the scans differ in size; the challenge's scans of a task do not.
    """
    _check_size(fixed, moving)
    difference = moving_indices(field, fixed, moving) - fixed_indices(fixed)
    return difference.transpose(2, 1, 0, 3).astype(np.float32)


def check_sizes(pairs: Sequence[Pair]) -> None:
    """Refuse pairs whose fields the challenge could not read, before any is registered.

    Raises:
        BadInputError: if the scans of a pair differ in size.
    """
    for pair in pairs:
        try:
            grids = pair.fixed.image().grid, pair.moving.image().grid
        except RegistrationError:
            continue  # a scan that cannot be read costs its own pair only, and is told of there
        _check_size(*grids, f" ({pair.fixed.name} and {pair.moving.name})")


def _check_size(fixed: ImageGrid, moving: ImageGrid, which: str = "") -> None:
    if fixed.size != moving.size:
        raise BadInputError(
            f"A Learn2Reg field needs two scans of one size; these{which} have {fixed.size} and {moving.size} "
            "voxels. Pad them to one size, as the challenge does, or leave out --challenge."
        )


def file_name(fixed: str, moving: str) -> str:
    """``disp_0001_0000_0002_0000.npz`` for subjects that are called as the challenge does, else by their names."""
    found = [_CHALLENGE_NAME.search(name) for name in (fixed, moving)]
    parts = [
        "_".join(match.groups()) if match else name.replace("/", "-")
        for match, name in zip(found, (fixed, moving), strict=True)
    ]
    return f"disp_{parts[0]}_{parts[1]}.npz"


def write_field(values: npt.NDArray[np.float32], path: Path) -> None:
    """Write one field as a compressed ``.npz`` with one array, as the challenge asks for.

    Raises:
        OutputError: if the file cannot be written.
    """
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, values)
