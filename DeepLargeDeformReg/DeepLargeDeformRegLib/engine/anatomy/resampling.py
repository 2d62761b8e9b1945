"""Scans on the coarse grids on which structures are found."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.geometry import ImageGrid
from ...core.images import Volume


def pooled(scan: Volume, grid: ImageGrid) -> tuple[Tensor, ImageGrid]:
    """A scan averaged over about the voxels of a coarser grid, ``(1, 1, D, H, W)``, and where it then lies.

    What is left to do is to interpolate it onto that grid, which lets no noise of finer voxels through any more.
    """
    image = torch.from_numpy(scan.array)[None, None]
    factors = [
        max(1, min(count, round(coarse / fine)))
        for coarse, fine, count in zip(grid.spacing, scan.grid.spacing, scan.grid.size, strict=True)
    ]
    if max(factors) == 1:
        return image, scan.grid
    return F.avg_pool3d(image, tuple(factors[::-1])), scan.grid.coarser(factors)
