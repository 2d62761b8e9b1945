"""MIND-SSC against the definition, and its invariances."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from DeepLargeDeformRegLib.engine import losses
from torch import Tensor

from .conftest import noise


def by_definition(image: Tensor, radius: int, dilation: int) -> Tensor:
    """One box filter a pair, of images shifted by hand."""
    reach = radius + dilation
    padded = F.pad(image, [reach] * 6, mode="replicate")
    neighbors = [sign * dilation * axis for axis in torch.eye(3, dtype=torch.int64) for sign in (1, -1)]

    def shifted(offset: Tensor) -> Tensor:
        start = (offset + dilation).tolist()
        length = [n + 2 * radius for n in image.shape[2:]]
        z, y, x = (slice(s, s + n) for s, n in zip(start, length, strict=True))
        return padded[:, :, z, y, x]

    distances = [
        F.avg_pool3d((shifted(p) - shifted(q)).square(), 2 * radius + 1, 1)
        for p, q in itertools.combinations(neighbors, 2)
        if (p - q).square().sum() == 2 * dilation**2
    ]
    distance = torch.cat(distances, dim=1)
    distance = distance - distance.amin(dim=1, keepdim=True)
    variance = distance.mean(dim=1, keepdim=True)
    variance = variance.clamp(variance.mean() * 1e-3, variance.mean() * 1e3)
    return torch.exp(-distance / variance)


@pytest.mark.parametrize(("radius", "dilation"), [(0, 1), (1, 1), (1, 2), (2, 3)])
def test_features_are_those_of_the_definition(generator: torch.Generator, radius: int, dilation: int) -> None:
    image = noise(generator, 1, 1, 7, 8, 9)
    features, expected = losses.mind_ssc(image, radius, dilation), by_definition(image, radius, dilation)
    assert features.shape == (1, 12, 7, 8, 9)
    # The order of the pairs is free: each channel of one must be exactly one channel of the other.
    difference = (features[0, :, None] - expected[0]).abs().amax(dim=(2, 3, 4))
    assert ((difference < 1e-9).sum(dim=1) == 1).all()
    assert ((difference < 1e-9).sum(dim=0) == 1).all()


def test_features_do_not_depend_on_gain_offset_or_inversion(generator: torch.Generator) -> None:
    image = noise(generator, 1, 1, 6, 6, 6)
    torch.testing.assert_close(losses.mind_ssc(-13 * image + 500), losses.mind_ssc(image))


def test_best_pair_has_one(generator: torch.Generator) -> None:
    features = losses.mind_ssc(noise(generator, 2, 1, 6, 6, 6))
    assert (features.amax(dim=1) == 1).all()
    assert features.min() > 0
    assert (losses.mind_ssc(torch.full((1, 1, 5, 5, 5), -1000.0)) == 1).all()


def test_channels_and_batch_are_independent(generator: torch.Generator) -> None:
    images = noise(generator, 2, 2, 5, 6, 7)
    features = losses.mind_ssc(images)
    assert features.shape == (2, 24, 5, 6, 7)
    torch.testing.assert_close(features[1:, 12:], losses.mind_ssc(images[1:, 1:]))


def test_loss_is_zero_for_identical_images_and_equals_the_distance_of_features(generator: torch.Generator) -> None:
    fixed, warped = noise(generator, 1, 1, 6, 7, 8), noise(generator, 1, 1, 6, 7, 8)
    assert losses.mind_ssc_loss(fixed, fixed).item() == 0
    assert losses.mind_ssc_loss(fixed, 40 - fixed).item() == pytest.approx(0, abs=1e-12)
    squares = (losses.mind_ssc(fixed) - losses.mind_ssc(warped)).square()
    assert losses.mind_ssc_loss(fixed, warped).item() == pytest.approx(squares.mean().item())
    mask = torch.rand(1, 1, 6, 7, 8, generator=generator) > 0.5
    inside = squares.mean(dim=1, keepdim=True)[mask].mean()
    assert losses.mind_ssc_loss(fixed, warped, mask=mask).item() == pytest.approx(inside.item())


def test_gradient_is_finite_where_the_image_is_flat(generator: torch.Generator) -> None:
    for scale in (0.0, 1.0):
        image = torch.full((1, 1, 8, 8, 16), -1024.0)
        image[..., 10:] += scale * noise(generator, 1, 1, 8, 8, 6).float()
        image.requires_grad_()
        losses.mind_ssc_loss(torch.randn(image.shape, generator=generator), image).backward()
        assert torch.isfinite(image.grad).all()
        assert (image.grad[..., :5] == 0).all()


def test_gradient_in_single_precision_is_that_in_double(generator: torch.Generator) -> None:
    fixed, warped = noise(generator, 1, 1, 8, 9, 10), noise(generator, 1, 1, 8, 9, 10).requires_grad_()
    single = warped.detach().float().requires_grad_()
    losses.mind_ssc_loss(fixed, warped).backward()
    losses.mind_ssc_loss(fixed.float(), single).backward()
    assert (single.grad - warped.grad).abs().max() < 1e-3 * warped.grad.abs().max()


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="dilation"):
        losses.mind_ssc(torch.zeros(1, 1, 4, 4, 4), 1, 0)
    with pytest.raises(ValueError, match="N, C, D, H, W"):
        losses.mind_ssc(torch.zeros(4, 4, 4))
