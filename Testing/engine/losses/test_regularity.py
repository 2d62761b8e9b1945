"""Regularizers in known cases: affine maps, quadratic and smooth fields, rotations, spacings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine import losses
from DeepLargeDeformRegLib.engine.fields import DisplacementField, from_affine, jacobian_determinant

from .conftest import OBLIQUE, noise, smooth_field

REGULARIZERS = [losses.curvature, losses.diffusion, losses.volume_change]


def affine(linear: np.ndarray, grid: ImageGrid, dtype: torch.dtype = torch.float64) -> DisplacementField:
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = (5.0, -3.0, 11.0)
    return from_affine(matrix, grid, dtype=dtype)


@pytest.mark.parametrize("loss", REGULARIZERS)
def test_a_translation_costs_nothing(loss, grid: ImageGrid) -> None:
    assert loss(affine(np.eye(3), grid)).item() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_affine_map_has_no_curvature_at_any_voxel(dtype: torch.dtype) -> None:
    # Dyadic numbers: every product and difference is exact, so the zero must be as well.
    grid = ImageGrid.axis_aligned((5, 4, 6), (1.5, 0.75, 2.0), (8.0, -4.0, 16.0))
    field = affine(np.array([[1.5, 0.25, 0], [-0.5, 0.75, 0.125], [0.25, 0, 2]]), grid, dtype)
    assert losses.curvature(field).item() == 0


def test_diffusion_of_an_affine_map_is_the_frobenius_norm(grid: ImageGrid) -> None:
    linear = np.array([[1.2, 0.3, 0], [-0.1, 0.9, 0.2], [0, 0.4, 1.1]])
    expected = np.square(linear - np.eye(3)).sum()
    assert losses.diffusion(affine(linear, grid)).item() == pytest.approx(expected)


@pytest.mark.parametrize("scale", [0.1, 0.5, 1.0, 1.5, 2.0])
def test_uniform_scaling_has_its_cube_as_volume_change(grid: ImageGrid, scale: float) -> None:
    field = affine(scale * np.eye(3), grid)
    assert torch.allclose(jacobian_determinant(field), torch.tensor(scale**3, dtype=torch.float64))
    threshold, z = 0.2, scale**3
    expected = (z - 1) ** 2 / z if z >= threshold else (1 - 1 / threshold**2) * z + 2 * (1 - threshold) / threshold
    assert losses.volume_change(field, threshold).item() == pytest.approx(expected, abs=1e-12)


def test_volume_change_at_corners_is_that_of_central_differences_where_the_map_is_affine(grid: ImageGrid) -> None:
    field = affine(np.array([[1.2, 0.3, 0], [-0.1, 0.9, 0.2], [0, 0.4, 1.1]]), grid)
    mask = torch.ones(1, 1, *grid.shape)
    mask[..., 2:] = 0
    expected = losses.volume_change(field).item()
    assert losses.volume_change_at_corners(field).item() == pytest.approx(expected)
    assert losses.volume_change_at_corners(field, mask=mask).item() == pytest.approx(expected)
    assert losses.VolumeChange(corners=True)(field).item() == pytest.approx(expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_corners_notice_a_fold_between_neighbors_that_central_differences_pass_over(axis: int) -> None:
    grid = ImageGrid.axis_aligned((8, 9, 10), (1.5, 0.75, 2.0))
    displacement = torch.zeros(1, 3, *grid.shape, dtype=torch.float64)
    every_second = [slice(None)] * 3
    every_second[2 - axis] = slice(1, None, 2)
    displacement[(slice(None), axis, *every_second)] = 0.6 * grid.spacing[axis]  # det J is 1.6 and 0.4 in turn
    field = DisplacementField(displacement, grid)
    penalty = losses.volume_change_penalty(torch.tensor([1.6, 0.4], dtype=torch.float64), 0.2)
    n = grid.size[axis] - 1  # pairs of neighbors, of which the even ones are drawn apart
    expected = (penalty[0] * ((n + 1) // 2) + penalty[1] * (n // 2)) / n
    assert losses.volume_change_at_corners(field).item() == pytest.approx(expected.item())
    assert losses.volume_change(field).item() < 0.6 * expected.item()  # at the border alone


@pytest.mark.parametrize("threshold", [0.2, 0.1, 0.05, 0.5, 0.9])
def test_penalty_is_continuous_with_its_derivative_at_the_threshold(threshold: float) -> None:
    step = 1e-7
    z = torch.tensor([threshold - step, threshold + step], dtype=torch.float64, requires_grad=True)
    value = losses.volume_change_penalty(z, threshold)
    value.sum().backward()
    slope = 1 - threshold**-2
    assert value.detach().numpy() == pytest.approx(threshold + 1 / threshold - 2, abs=3 * step * abs(slope))
    assert z.grad.numpy() == pytest.approx(slope, abs=3 * step * 2 / threshold**3)


def test_penalty_is_the_paper_s() -> None:
    z = torch.tensor([-2.0, 0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0], dtype=torch.float64)
    t = 0.2
    expected = torch.where(z >= t, (z - 1) ** 2 / z, (1 - 1 / t**2) * z + 2 * (1 - t) / t)
    torch.testing.assert_close(losses.volume_change_penalty(z, t), expected)
    torch.testing.assert_close(losses.volume_change_penalty(1 / z[3:], t), losses.volume_change_penalty(z[3:], t))
    with pytest.raises(ValueError, match="threshold"):
        losses.volume_change_penalty(z, 1.0)


def test_penalty_pushes_folds_apart() -> None:
    z = torch.tensor([-1.0, 0.0], requires_grad=True)
    losses.volume_change_penalty(z, 0.05).sum().backward()
    assert (z.grad < -300).all()


def test_threshold_is_halved_per_finer_level() -> None:
    assert [losses.threshold_at_level(level) for level in range(3)] == [0.2, 0.1, 0.05]
    assert losses.threshold_at_level(1, coarsest=0.5) == 0.25
    with pytest.raises(ValueError, match="coarsest"):
        losses.threshold_at_level(-1)


def test_quadratic_fields_have_their_exact_curvature_everywhere() -> None:
    grid = ImageGrid.axis_aligned((6, 5, 4), (0.5, 2.0, 1.5))
    z, y, x = np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij")
    px, py, pz = np.moveaxis(grid.to_physical(np.stack((x, y, z), axis=-1)), -1, 0)
    u = np.stack((px**2 + py**2, px * py, 3 * pz**2 - py**2))
    field = DisplacementField(torch.as_tensor(u)[None], grid)
    assert losses.curvature(field).item() == pytest.approx((2 + 2) ** 2 + 0 + (6 - 2) ** 2)


@pytest.mark.parametrize("loss", REGULARIZERS)
def test_values_do_not_depend_on_the_spacing(loss) -> None:
    values = []
    for spacing in ((1.0, 1.0, 1.0), (0.5, 0.5, 0.5), (1.0, 0.5, 0.8)):
        size = [round(32 / s) for s in spacing]
        origin = [s / 2 for s in spacing]  # all grids fill the same box
        values.append(loss(smooth_field(ImageGrid.axis_aligned(size, spacing, origin))).item())
    assert values[0] > 0
    assert values[1:] == pytest.approx([values[0]] * 2, rel=0.05)


@pytest.mark.parametrize("loss", REGULARIZERS)
def test_values_do_not_depend_on_the_orientation(loss) -> None:
    straight = ImageGrid.axis_aligned((9, 8, 7), (1.5, 0.75, 2.0))
    oblique = ImageGrid(straight.size, straight.spacing, (7.0, 8.0, 9.0), tuple(OBLIQUE.ravel()))
    field = smooth_field(straight)
    turned = torch.einsum("ij,njdhw->nidhw", torch.as_tensor(OBLIQUE), field.displacement)
    expected = loss(field).item()
    assert expected > 0
    assert loss(DisplacementField(turned, oblique)).item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", [*REGULARIZERS])
def test_mask_of_everything_changes_nothing_and_part_of_it_counts(loss, grid: ImageGrid) -> None:
    field = smooth_field(grid)
    mask = torch.ones(1, 1, *grid.shape, dtype=torch.bool)
    assert loss(field, mask=mask).item() == pytest.approx(loss(field).item())
    mask[..., 4:] = False
    moved = field.displacement.clone()
    moved[..., 6:] += noise(torch.Generator().manual_seed(1), *moved[..., 6:].shape)
    changed = DisplacementField(moved, grid)
    assert loss(changed, mask=mask).item() == pytest.approx(loss(field, mask=mask).item())
    assert loss(changed).item() != pytest.approx(loss(field).item())


@pytest.mark.parametrize("loss", REGULARIZERS)
def test_thin_grids_are_accepted(loss) -> None:
    grid = ImageGrid.axis_aligned((4, 1, 2), (1.0, 1.0, 1.0))
    assert torch.isfinite(loss(DisplacementField(torch.rand(1, 3, *grid.shape), grid)))
