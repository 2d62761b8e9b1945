"""Displacement fields in voxels, as challenges want them that read no headers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.fields import DisplacementField


def moving_indices(field: DisplacementField, fixed: ImageGrid, moving: ImageGrid) -> npt.NDArray[np.float64]:
    """Voxel index (x, y, z) in the moving scan that belongs to each fixed voxel, ``(D, H, W, 3)``.

    Args:
        field: fixed to moving, mm, on any grid.
        fixed: grid of the fixed scan, on which the result is.
        moving: grid of the moving scan.
    """
    on_fixed = field if field.grid.same_geometry(fixed) else fields.resample(field, fixed)
    points = (fields.points(fixed) + on_fixed.displacement)[0].double().numpy()
    return moving.to_index(points.reshape(3, -1).T).reshape(*fixed.shape, 3)


def fixed_indices(grid: ImageGrid) -> npt.NDArray[np.float64]:
    """Each voxel's own index (x, y, z), ``(D, H, W, 3)``."""
    z, y, x = np.indices(grid.shape, dtype=np.float64)
    return np.stack((x, y, z), axis=-1)
