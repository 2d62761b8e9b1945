"""Deformations: diffeomorphic, invertible, of the strength that was asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine import fields

from training.synthesis.draw import Draw
from training.synthesis.motion import (
    Motion,
    MotionSettings,
    add,
    breathing_velocity,
    random_affine,
    random_velocity,
    sliding_velocity,
)

GRID = ImageGrid.axis_aligned((48, 44, 40), (6.0, 6.0, 6.0), (-141.0, -129.0, -117.0))
WAVES = ((160.0, 12.0), (80.0, 8.0), (40.0, 3.0))


@pytest.fixture(scope="module")
def lungs() -> torch.Tensor:
    x, y, z = fields.points(GRID)[0]
    return ((x.abs() - 65) / 45) ** 2 + (y / 75) ** 2 + (z / 90) ** 2 < 1


def determinants(motion: Motion) -> torch.Tensor:
    return fields.jacobian_determinant(motion.forward)


@pytest.mark.parametrize("seed", range(6))
def test_no_folds_and_a_true_inverse(seed: int, lungs: torch.Tensor) -> None:
    draw = Draw(seed)
    velocity = add(
        random_velocity(draw, GRID, WAVES),
        breathing_velocity(draw, lungs, GRID, 30.0),
        sliding_velocity(draw, lungs, GRID, 12.0),
    )
    motion = Motion.of(velocity, random_affine(draw, GRID, MotionSettings()))
    assert float(determinants(motion).min()) > 0
    there_and_back = fields.compose(motion.backward, motion.forward).displacement
    moved = motion.forward.displacement.norm(dim=1)
    # Near the border a field goes on with its border's value, so points from there do not return exactly.
    inside = (slice(None), slice(10, -10), slice(10, -10), slice(10, -10))
    error = there_and_back.norm(dim=1)[inside]
    assert float(moved[inside].mean()) > 8
    assert float(error.mean()) < 0.1 * GRID.spacing[0]
    # The rest is where organs slide along the wall, and the map changes within a voxel.
    assert float(error.flatten().quantile(0.99)) < 0.5 * GRID.spacing[0]


def test_volume_goes_with_the_motion(lungs: torch.Tensor) -> None:
    matrix = np.diag([1.1, 0.9, 1.2, 1.0])
    placement = Motion.of(fields.identity(GRID), matrix).on(GRID)
    assert torch.allclose(placement.volume, torch.tensor(1.1 * 0.9 * 1.2), atol=1e-4)


def test_breathing_moves_the_base_and_not_the_tips_nor_the_wall(lungs: torch.Tensor) -> None:
    strongest = None
    for seed in range(8):
        velocity = breathing_velocity(Draw(seed), lungs, GRID, 30.0).displacement[0]
        if strongest is None or velocity[2].abs().max() > strongest[2].abs().max():
            strongest = velocity
    assert strongest is not None
    up = strongest[2].abs()
    rows = torch.nonzero(lungs.any(dim=2).any(dim=1)).flatten()
    middle = GRID.shape[1] // 2
    column = int(torch.nonzero(lungs[20, middle]).flatten()[3])
    base, tip = up[int(rows[2]), middle, column], up[int(rows[-2]), middle, column]
    assert float(base) > 5
    assert float(tip) < 0.35 * float(base)
    assert float(up[:, :, :2].max()) < 0.05 * float(up.max())  # the body's side


def test_sliding_is_along_the_wall_only(lungs: torch.Tensor) -> None:
    velocity = sliding_velocity(Draw(1), lungs, GRID, 15.0).displacement[0].norm(dim=0)
    assert float(velocity[lungs].mean()) > 2
    far = ~torch.nn.functional.max_pool3d(lungs[None, None].float(), 5, 1, 2).bool()[0, 0]
    assert float(velocity[far].max()) < 0.5


def test_settings_bound_the_affine_part() -> None:
    settings = MotionSettings(rotation_deg=5.0, shift_mm=10.0, scale=0.05)
    for seed in range(20):
        matrix = random_affine(Draw(seed), GRID, settings)
        stretch = np.linalg.svd(matrix[:3, :3], compute_uv=False)
        assert np.all(np.abs(stretch - 1) <= 0.05 + 1e-9)
        center = np.append(GRID.center, 1)
        assert np.all(np.abs((matrix @ center - center)[:3]) <= 10 + 1e-9)
