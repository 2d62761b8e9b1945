"""Inverse consistency in known cases."""

from __future__ import annotations

import numpy as np
import pytest
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine import losses
from DeepLargeDeformRegLib.engine.fields import DisplacementField, from_affine, identity, invert

from .conftest import OBLIQUE, smooth_field


def translation(grid: ImageGrid, *shift: float) -> DisplacementField:
    matrix = np.eye(4)
    matrix[:3, 3] = shift
    return from_affine(matrix, grid)


def test_opposite_translations_are_consistent() -> None:
    fixed = ImageGrid.axis_aligned((9, 8, 7), (1.0, 1.5, 2.0))
    moving = ImageGrid((8, 9, 8), (2.0, 1.0, 1.5), (1.0, -2.0, 3.0), tuple(OBLIQUE.ravel()))
    forward, backward = translation(fixed, 1.0, -2.0, 0.5), translation(moving, -1.0, 2.0, -0.5)
    assert losses.inverse_consistency(forward, backward).item() == pytest.approx(0, abs=1e-8)


def test_value_is_the_squared_distance_in_mm() -> None:
    grid = ImageGrid.axis_aligned((12, 12, 12), (2.0, 2.0, 2.0))
    loss = losses.inverse_consistency(translation(grid, 2.0, 0.0, 0.0), translation(grid, 0.0, 1.0, 0.0))
    assert loss.item() == pytest.approx(5.0)


def test_the_inverse_is_consistent_and_the_identity_is_not() -> None:
    grid = ImageGrid.axis_aligned((24, 24, 24), (1.0, 1.0, 1.0))
    wave = smooth_field(grid)
    forward = DisplacementField(0.3 * wave.displacement.float(), grid)
    exact = losses.inverse_consistency(forward, invert(forward, tolerance_mm=1e-3).field).item()
    assert exact < 1e-2
    assert losses.inverse_consistency(forward, identity(grid)).item() > 10 * exact


def test_voxels_that_leave_the_other_grid_do_not_count() -> None:
    grid = ImageGrid.axis_aligned((10, 4, 4), (1.0, 1.0, 1.0))
    forward, backward = translation(grid, 3.0, 0.0, 0.0), translation(grid, -3.0, 0.0, 0.0)
    forward.displacement[:, 0, :, :, 7:] = 1000
    backward.displacement[:, 0, :, :, :3] = -1000
    assert losses.inverse_consistency(forward, backward).item() == pytest.approx(0, abs=1e-6)
    away = translation(grid, 1000.0, 0.0, 0.0)
    assert losses.inverse_consistency(away, away).item() == 0
