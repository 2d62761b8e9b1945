"""Small grids, images and fields with known properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine.fields import DisplacementField
from scipy.spatial.transform import Rotation
from torch import Tensor

OBLIQUE = Rotation.from_euler("xyz", (20, -35, 50), degrees=True).as_matrix()


@pytest.fixture
def grid() -> ImageGrid:
    """9 x 8 x 7 voxels, anisotropic, with axes along no LPS axis."""
    return ImageGrid((9, 8, 7), (1.5, 0.75, 2.0), (12.0, -7.0, 100.0), tuple(OBLIQUE.ravel()))


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def noise(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def smooth_field(grid: ImageGrid) -> DisplacementField:
    """A wave that does not depend on the sampling: wavelengths of 30 to 50 mm in axis-aligned LPS positions."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij")
    p = grid.to_physical(np.stack((x, y, z), axis=-1))
    u = np.stack(
        (
            2 * np.sin(p[..., 0] / 5) * np.cos(p[..., 1] / 6),
            1.5 * np.cos(p[..., 1] / 7 + p[..., 2] / 8),
            np.sin(p[..., 2] / 5 - p[..., 0] / 8),
        )
    )
    return DisplacementField(torch.as_tensor(u)[None], grid)
