"""Symmetric maps, the disagreement of solutions, and whether errors are expected where they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.plans import RefinementLevel, RefinementPlan
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.fields import DisplacementField
from DeepLargeDeformRegLib.engine.registration.aligned import AlignedPair, AlignedScan
from DeepLargeDeformRegLib.engine.registration.refine import refine
from DeepLargeDeformRegLib.engine.registration.uncertainty import Evidence, disagreement, symmetrized
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr

GRID = ImageGrid.axis_aligned((24, 20, 16), (2.0, 2.0, 3.0))


def _wave(height_mm: float) -> DisplacementField:
    position = fields.points(GRID)
    wave = height_mm * torch.sin(position.flip(1) / 9.0)
    return DisplacementField(wave, GRID)


def test_a_map_and_its_inverse_are_left_as_they_are() -> None:
    forward = _wave(1.5)
    backward = fields.invert(forward).field
    change = symmetrized(forward, backward).displacement - forward.displacement
    assert float(change[..., 2:-2, 2:-2, 2:-2].abs().max()) < 0.05


def test_exchanging_the_scans_nearly_inverts_the_map() -> None:
    forward, backward = _wave(1.5), DisplacementField(-_wave(0.9).displacement, GRID)

    def missed(first: DisplacementField, second: DisplacementField) -> float:
        there_and_back = fields.compose(second, first).displacement
        return float(there_and_back[..., 3:-3, 3:-3, 3:-3].norm(dim=1).mean())

    before = missed(forward, backward)
    after = missed(symmetrized(forward, backward), symmetrized(backward, forward))
    assert before > 0.4
    assert after < before / 4


def test_disagreement_is_the_distance_from_the_mean() -> None:
    shift = torch.zeros(1, 3, *GRID.shape)
    shift[:, 1] = 6.0
    moved = DisplacementField(shift, GRID)
    identity = fields.identity(GRID)
    assert float(disagreement([identity, identity]).max()) == 0.0
    spread = disagreement([identity, moved])
    assert tuple(spread.shape) == (1, 1, *GRID.shape)
    assert spread.unique().tolist() == pytest.approx([3.0])


def _noise(seed: int, width: float) -> torch.Tensor:
    values = gaussian_filter(np.random.default_rng(seed).standard_normal(GRID.shape), width)
    return torch.tensor(values / values.std(), dtype=torch.float32)[None, None]


def test_the_expected_error_follows_the_law() -> None:
    """Equal scans under a translation differ and bend least; with another solution, its distance comes in square."""
    image = _noise(0, 1.5)
    identity = fields.identity(GRID)
    shift = DisplacementField(torch.full((1, 3, *GRID.shape), 2.0), GRID)
    least = Evidence.of(image, image, shift).expected_error()
    assert least.unique().numel() == 1
    bent = Evidence.of(image, image, _wave(1.5)).expected_error()
    assert float(bent.min()) > float(least.max())
    apart = Evidence.of(image, image, identity, [identity, shift]).expected_error()
    assert float(apart.max()) == pytest.approx((float(least.max()) ** 2 + 3.0) ** 0.5)


def test_noise_between_edges_is_no_mismatch() -> None:
    """Two scans with the same edges, and noise of their own: without an edge nothing tells that they disagree."""
    edges = torch.zeros((1, 1, *GRID.shape))
    edges[..., 10:14, :] = 500.0
    fixed, warped = (edges + _noise(seed, 0.7) for seed in (3, 4))
    mismatch = Evidence.of(fixed, warped, fields.identity(GRID)).mismatch
    between = mismatch[..., 4:-4, 7, :]
    assert float(between.max()) < 2 * float(mismatch[..., 4:-4, 11, :].mean())


def test_errors_are_expected_where_they_are() -> None:
    """One half of the moving scan is another texture, so that nothing there is found again."""
    image, other = 1000 * _noise(1, 1.5), 1000 * _noise(2, 1.5)
    true = _wave(3.0)
    half = torch.zeros_like(image)
    half[..., GRID.size[0] // 2 :] = 1
    moving = image * (1 - half) + other * half
    fixed = fields.warp(image, GRID, true, padding="border")
    ones = torch.ones_like(image)
    pair = AlignedPair(GRID, AlignedScan(image=fixed, covered=ones), AlignedScan(image=moving, covered=ones))
    plan = RefinementPlan(levels=(RefinementLevel(2, 60, 0.5),), diffusion=0.03, volume_change=0.01)
    found = fields.resample(refine(pair, fields.identity(GRID), plan).field, GRID)
    error = (found.displacement - true.displacement).norm(dim=1, keepdim=True)
    warped = fields.warp(moving, GRID, found, padding="border")
    expected = Evidence.of(fixed, warped, found).expected_error()
    inner = (..., slice(3, -3), slice(3, -3), slice(3, -3))
    rank = spearmanr(expected[inner].ravel(), error[inner].ravel())[0]
    assert rank > 0.5
    assert float(expected[half == 1].median()) > 1.3 * float(expected[half == 0].median())
