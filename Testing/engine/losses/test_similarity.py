"""Similarity losses against their formulas, in known cases and by brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine import losses
from DeepLargeDeformRegLib.engine.losses.stencils import box_count, box_sum
from torch import Tensor

from .conftest import noise


def ramp(grid: ImageGrid, axis: str, slope: float) -> Tensor:
    """Image that rises by ``slope`` per mm along an index axis."""
    dim = {"x": 4, "y": 3, "z": 2}[axis]
    shape = [1] * 5
    shape[dim] = grid.shape[dim - 2]
    spacing = grid.spacing["xyz".index(axis)]
    line = torch.arange(shape[dim], dtype=torch.float64) * spacing * slope
    return line.reshape(shape).expand(1, 1, *grid.shape).contiguous()


def brute_force_ncc(fixed: np.ndarray, warped: np.ndarray, radius: int) -> np.ndarray:
    result = np.zeros(fixed.shape)
    for index in np.ndindex(fixed.shape):
        window = tuple(slice(max(i - radius, 0), i + radius + 1) for i in index)
        result[index] = np.corrcoef(fixed[window].ravel(), warped[window].ravel())[0, 1] ** 2
    return result


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_automatic_epsilon_is_the_mean_gradient_in_intensity_per_mm(grid: ImageGrid, axis: str) -> None:
    assert losses.ngf_epsilon(ramp(grid, axis, 3.0), grid).item() == pytest.approx(3.0)
    assert losses.ngf_epsilon(ramp(grid, axis, 3.0), grid, noise=0.5).item() == pytest.approx(1.5)


def test_automatic_epsilon_is_taken_in_the_mask(grid: ImageGrid) -> None:
    image = ramp(grid, "x", 2.0)
    image[..., 5:] = image[..., 5:6]
    mask = torch.zeros_like(image, dtype=torch.bool)
    mask[..., :4] = True
    assert losses.ngf_epsilon(image, grid, mask).item() == pytest.approx(2.0)
    assert losses.ngf_epsilon(image, grid).item() < 1.5


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 10.0])
def test_ngf_of_perpendicular_and_inverted_edges(grid: ImageGrid, epsilon: float) -> None:
    e = epsilon**2
    x, y = ramp(grid, "x", 3.0), ramp(grid, "y", 3.0)
    assert losses.ngf(x, x, grid, epsilon=epsilon).item() == pytest.approx(0, abs=1e-12)
    perpendicular = 1 - e**2 / (9 + e) ** 2
    assert losses.ngf(x, y, grid, epsilon=epsilon).item() == pytest.approx(perpendicular)
    inverted = 1 - (e - 9) ** 2 / (9 + e) ** 2
    assert losses.ngf(x, -x, grid, epsilon=epsilon).item() == pytest.approx(inverted)


def test_ngf_does_not_depend_on_gain_or_direction(grid: ImageGrid, generator: torch.Generator) -> None:
    fixed, warped = noise(generator, 1, 1, *grid.shape), noise(generator, 1, 1, *grid.shape)
    straight = ImageGrid.axis_aligned(grid.size, grid.spacing)
    value = losses.ngf(fixed, warped, grid)
    assert 0.1 < value.item() < 1
    assert losses.ngf(40 * fixed + 5, 40 * warped, straight).item() == pytest.approx(value.item())


def test_ngf_counts_the_mask_only(grid: ImageGrid, generator: torch.Generator) -> None:
    fixed = noise(generator, 1, 1, *grid.shape)
    warped = fixed.clone()
    warped[..., 5:] = noise(generator, 1, 1, *grid.shape)[..., 5:]
    mask = torch.zeros_like(fixed)
    mask[..., :4] = 1
    assert losses.ngf(fixed, warped, grid, mask, 1.0).item() == pytest.approx(0, abs=1e-12)
    assert losses.ngf(fixed, warped, grid, epsilon=1.0).item() > 0.1
    assert losses.ngf(fixed, warped, grid, torch.zeros_like(mask), 1.0).item() == 1.0


def test_ngf_of_constant_images_is_zero_and_has_a_gradient(grid: ImageGrid) -> None:
    fixed = torch.full((1, 1, *grid.shape), -1000.0)
    warped = fixed.clone().requires_grad_()
    value = losses.ngf(fixed, warped, grid)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(warped.grad).all()


@pytest.mark.parametrize("window", [3, 5, 9])
def test_box_sum_is_the_sum_over_the_cube(generator: torch.Generator, window: int) -> None:
    image = noise(generator, 2, 3, 5, 7, 6)
    kernel = torch.ones(3, 1, window, window, window, dtype=torch.float64)
    expected = F.conv3d(image, kernel, padding=window // 2, groups=3)
    torch.testing.assert_close(box_sum(image, window), expected)
    ones = torch.ones_like(image[:1, :1])
    torch.testing.assert_close(box_count((5, 7, 6), window, ones), box_sum(ones, window))


@pytest.mark.parametrize("window", [3, 5])
def test_local_ncc_is_the_squared_correlation_around_each_voxel(generator: torch.Generator, window: int) -> None:
    fixed, warped = noise(generator, 1, 1, 5, 6, 7), noise(generator, 1, 1, 5, 6, 7)
    expected = brute_force_ncc(fixed[0, 0].numpy(), warped[0, 0].numpy(), window // 2)
    assert losses.local_ncc(fixed, warped, window).item() == pytest.approx(-expected.mean(), rel=1e-3)
    mask = torch.zeros_like(fixed, dtype=torch.bool)
    mask[..., :2, 1:, 3] = True
    inside = expected[mask[0, 0].numpy()].mean()
    assert losses.local_ncc(fixed, warped, window, mask).item() == pytest.approx(-inside, rel=1e-3)


def test_local_ncc_of_identical_images_is_minus_one(generator: torch.Generator) -> None:
    fixed = noise(generator, 1, 1, 9, 8, 10)
    assert losses.local_ncc(fixed, fixed, 5).item() == pytest.approx(-1, abs=1e-4)
    assert losses.local_ncc(fixed, 300 - 7 * fixed, 5).item() == pytest.approx(-1, abs=1e-4)
    flat = torch.full_like(fixed, -1000)
    assert losses.local_ncc(flat, flat, 5).item() == 0


def test_local_ncc_is_accurate_in_single_precision_on_hounsfield_units(generator: torch.Generator) -> None:
    fixed = -950 + 4 * noise(generator, 1, 1, 16, 16, 16)
    fixed[..., :2] += 1500
    warped = fixed + 2 * noise(generator, 1, 1, 16, 16, 16)
    exact = losses.local_ncc(fixed, warped, 7).item()
    assert losses.local_ncc(fixed.float(), warped.float(), 7).item() == pytest.approx(exact, abs=1e-3)


def test_local_ncc_refuses_even_windows(generator: torch.Generator) -> None:
    image = noise(generator, 1, 1, 5, 5, 5)
    with pytest.raises(ValueError, match="odd"):
        losses.local_ncc(image, image, 4)
    with pytest.raises(ValueError, match="one shape"):
        losses.local_ncc(image, image[..., 1:], 3)


def test_mutual_information_of_equally_frequent_values_is_their_entropy() -> None:
    fixed = torch.arange(4.0, dtype=torch.float64).repeat(16).reshape(1, 1, 4, 4, 4)
    permuted = torch.tensor([2.0, 0.0, 3.0, 1.0], dtype=torch.float64)[fixed.long()]
    for other in (fixed, permuted):
        value = losses.mutual_information(fixed, other, bins=4, width=0.1)
        assert value.item() == pytest.approx(-math.log(4), abs=1e-6)
    independent = fixed.transpose(2, 4)
    assert losses.mutual_information(fixed, independent, bins=4, width=0.1).item() == pytest.approx(0, abs=1e-6)


def test_mutual_information_in_a_mask_is_that_of_the_voxels_in_it(generator: torch.Generator) -> None:
    fixed, warped = noise(generator, 1, 1, 8, 8, 8), noise(generator, 1, 1, 8, 8, 8)
    warped[..., :4] = -fixed[..., :4]
    mask = torch.zeros_like(fixed)
    mask[..., :4] = 1
    limits = {"fixed_range": (-3.0, 3.0), "warped_range": (-3.0, 3.0)}
    inside = losses.mutual_information(fixed, warped, mask=mask, **limits)
    cropped = losses.mutual_information(fixed[..., :4], warped[..., :4], **limits)
    assert inside.item() == pytest.approx(cropped.item())
    assert inside.item() < losses.mutual_information(fixed, warped, **limits).item() - 0.1


def test_similarity_pyramid_halves_resolution_and_weight(generator: torch.Generator) -> None:
    fixed = noise(generator, 1, 1, 16, 16, 16)
    warped = fixed + noise(generator, 1, 1, 16, 16, 16)
    half = [F.avg_pool3d(image, 2) for image in (fixed, warped)]
    quarter = [F.avg_pool3d(image, 2) for image in half]
    expected = losses.local_ncc(fixed, warped, 7) + losses.local_ncc(*half, 5) / 2 + losses.local_ncc(*quarter, 3) / 4
    assert losses.similarity_pyramid(fixed, warped, 3, 7).item() == pytest.approx(expected.item())
    assert losses.similarity_pyramid(fixed, fixed, 3, 7).item() == pytest.approx(-1.75, abs=1e-3)
