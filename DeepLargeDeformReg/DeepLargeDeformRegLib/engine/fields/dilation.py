"""The largest value around each voxel."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def largest_around(values: Tensor, reach: int | Sequence[int]) -> Tensor:
    """Largest value within so many voxels along each axis, as ``max_pool3d`` with stride 1, axis by axis.

    Torch looks at each of the box's voxels: at 729 for a reach of 4, where three axes have 27.

    Args:
        values: ``(N, C, D, H, W)``.
        reach: voxels to each side, of all axes or of (z, y, x).
    """
    sides = (reach,) * 3 if isinstance(reach, int) else tuple(reach)
    for axis, side in enumerate(sides):
        if side > 0:
            size, rim = [1, 1, 1], [0, 0, 0]
            size[axis], rim[axis] = 2 * side + 1, side
            values = F.max_pool3d(values, size, 1, rim)
    return values
