"""Registrations made of registrations, checked against maps that are known."""

from __future__ import annotations

import pytest
import torch
from DeepLargeDeformRegLib.engine.fields import compose_voxels, warp_voxels
from DeepLargeDeformRegLib.engine.networks import build
from DeepLargeDeformRegLib.engine.networks.combinators import (
    AtResolution,
    Cascade,
    SymmetricAverage,
    ThenRefine,
    pyramid,
)
from torch import Tensor

SHAPE = (12, 16, 20)


def shift(*voxels: float):
    def register(fixed: Tensor, moving: Tensor) -> Tensor:
        return torch.tensor(voxels).reshape(1, 3, 1, 1, 1).expand(fixed.shape[0], 3, *fixed.shape[2:]).clone()

    return register


def pair() -> tuple[Tensor, Tensor]:
    return torch.rand(1, 1, *SHAPE), torch.rand(1, 1, *SHAPE)


def test_at_resolution_scales_the_field_to_input_voxels():
    field = AtResolution(shift(1.0, 0.0, -0.5), 4)(*pair())
    torch.testing.assert_close(field[0, :, 3, 3, 3], torch.tensor([4.0, 0.0, -2.0]))
    assert field.shape == (1, 3, *SHAPE)


def test_at_resolution_of_a_size_that_is_no_multiple():
    fixed = torch.rand(1, 1, 13, 17, 19)
    field = AtResolution(shift(1.0, 2.0, 3.0), 4)(fixed, fixed)
    assert field.shape == (1, 3, 13, 17, 19)
    torch.testing.assert_close(field[0, :, 12, 16, 18], torch.tensor([4.0, 8.0, 12.0]))


def test_cascade_warps_the_moving_image_and_composes():
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.randn(2, 3, 3, 3, 3, generator=generator), SHAPE, mode="trilinear")
    first, second = smooth[:1], smooth[1:]
    warped = []

    def later(fixed: Tensor, moving: Tensor) -> Tensor:
        warped.append(moving)
        return second

    fixed, moving = pair()
    field = Cascade(lambda f, m: first, later)(fixed, moving)
    torch.testing.assert_close(warped[0], warp_voxels(moving, first))
    torch.testing.assert_close(field, compose_voxels(first, second))


def test_pyramid_goes_from_coarse_to_fine():
    field = pyramid([shift(1.0, 0.0, 0.0), shift(0.0, 1.0, 0.0)], strides=[4, 1])(*pair())
    torch.testing.assert_close(field[0, :, 5, 5, 5], torch.tensor([4.0, 1.0, 0.0]))
    with pytest.raises(ValueError, match="coarse to fine"):
        pyramid([shift(0, 0, 0)] * 2, strides=[1, 4])


def test_then_refine_hands_the_start_over():
    def refine(fixed: Tensor, moving: Tensor, start: Tensor) -> Tensor:
        return start + 1

    field = ThenRefine(shift(1.0, 2.0, 3.0), refine)(*pair())
    torch.testing.assert_close(field[0, :, 0, 0, 0], torch.tensor([2.0, 3.0, 4.0]))


def test_symmetric_average_of_a_biased_registration_is_inverse_consistent():
    """A registration that always answers (1.5, 0, 0), whatever the direction, means nothing: the average is 0."""
    assert SymmetricAverage(shift(1.5, 0.0, 0.0))(*pair()).abs().max() < 0.02


def test_symmetric_average_keeps_what_is_consistent():
    fixed, moving = pair()

    def register(first: Tensor, second: Tensor) -> Tensor:
        return shift(2.0, 0.0, 0.0)(first, second) * (1 if first is fixed else -1)

    field = SymmetricAverage(register)(fixed, moving)
    torch.testing.assert_close(field[0, :, 6, 8, 10], torch.tensor([2.0, 0.0, 0.0]), atol=0.02, rtol=0)


def test_networks_inside_are_trained_and_saved_with_the_whole():
    registration = pyramid([build("voxelmorph"), build("virnet-single", filters=2)], strides=[2, 1])
    whole = ThenRefine(SymmetricAverage(registration), lambda f, m, u: u)
    expected = sum(
        p.numel() for n in (build("voxelmorph"), build("virnet-single", filters=2)) for p in n.parameters()
    )
    assert sum(p.numel() for p in whole.parameters()) == expected
    assert whole(*pair()).shape == (1, 3, *SHAPE)


def test_an_empty_cascade_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        Cascade()
