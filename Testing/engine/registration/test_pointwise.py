"""Interpolation at random places: values and gradients are those of PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.registration.pointwise import interpolate, rows_of


@pytest.mark.parametrize("shape", [(5, 6, 7), (1, 6, 7)])
def test_values_and_gradients_are_those_of_grid_sample(shape: tuple[int, int, int]) -> None:
    """Also beyond the border, where the value goes on and has no slope, and in a scan of one slice."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn((1, 13, *shape), generator=generator)
    size = (shape[2], shape[1], shape[0])
    inside = torch.rand((3, 200), generator=generator) * (torch.tensor(size)[:, None] + 2) - 1.5
    results = []
    for own in (True, False):
        coordinates = inside.clone().requires_grad_(True)
        if own:
            values = interpolate(rows_of(features), size, coordinates)[:, :13]
        else:
            sampled = fields.sample(features, coordinates.reshape(1, 3, 1, 1, -1), padding="border")
            values = sampled[0, :, 0, 0].T
        (values * torch.arange(13)).sum().backward()
        assert coordinates.grad is not None
        results.append((values.detach(), coordinates.grad))
    assert torch.allclose(results[0][0], results[1][0], atol=1e-4)
    assert torch.allclose(results[0][1], results[1][1], atol=1e-2)
