"""What is made slab by slab, or part by part, is the same as made at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import LabelMap, Volume
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.fields import DisplacementField, slabs
from DeepLargeDeformRegLib.engine.fields.bspline import resample_smoothly
from DeepLargeDeformRegLib.engine.metrics.maps import displacement, on_grid

ROTATED = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)
COARSE = ImageGrid((12, 11, 10), (4.0, 4.0, 5.0), (3.0, -2.0, 7.0), ROTATED)
FINE = ImageGrid((30, 28, 33), (1.5, 1.5, 1.5), (4.0, -1.0, 6.0), ROTATED)
LINEAR = np.array([[1.05, 0.1, 0, 3], [-0.1, 0.98, 0.02, -20], [0, 0.05, 1.1, 9], [0, 0, 0, 1]])


def at_once_and_in_slabs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Two limits, to be set one after the other."""
    monkeypatch.setattr(slabs, "CPU_VOXELS", 1 << 30)
    return [1 << 30, 4 * FINE.size[0] * FINE.size[1]]


def a_field(size_mm: float = 3.0) -> DisplacementField:
    generator = torch.Generator().manual_seed(0)
    return DisplacementField(size_mm * torch.randn((1, 3, *COARSE.shape), generator=generator), COARSE)


def test_the_output_field_and_all_that_is_made_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    scan = Volume(random.normal(size=(20, 30, 40)).astype(np.float32), ImageGrid((40, 30, 20), (1.0, 1.2, 2.5)))
    labels = LabelMap(random.choice([0, 3, 70_000], scan.grid.shape), scan.grid)
    known = np.where(random.random(COARSE.shape) < 0.2, np.nan, random.random(COARSE.shape)).astype(np.float32)
    results = []
    for limit in at_once_and_in_slabs(monkeypatch):
        monkeypatch.setattr(slabs, "CPU_VOXELS", limit)
        field = resample_smoothly(a_field(), FINE, LINEAR)
        results.append(
            [
                field.displacement.numpy(),
                fields.jacobian_determinant(field).numpy(),
                fields.covered(scan.grid, field).numpy(),
                fields.warp_volume(scan, field, FINE).array,
                fields.warp_labels(labels, field, FINE).array,
                displacement(field, FINE).array,
                on_grid(Volume(known, COARSE), FINE, "border").array,
            ]
        )
    composed = fields.compose_affine(LINEAR, resample_smoothly(a_field(), FINE)).displacement.numpy()
    np.testing.assert_allclose(results[0][0], composed, atol=1e-5)
    for whole, parts in zip(*results, strict=True):
        different = ~np.isclose(whole, parts, atol=1e-4)
        assert different.mean() < 1e-3, "but for voxels at a border, which rounding puts on either side"


def test_a_field_covers_a_scan_where_a_scan_of_ones_is_seen() -> None:
    scan = ImageGrid((9, 8, 7), (3.0, 3.0, 3.0), (5.0, 1.0, 9.0), ROTATED)
    seen = fields.warp(torch.ones(1, 1, *scan.shape), scan, a_field()) > 0.5
    assert 0.05 < float(seen.float().mean()) < 0.95
    assert torch.equal(fields.covered(scan, a_field()), seen)


@pytest.mark.parametrize("factors", [(2, 3, 4), (1, 1, 1), (40, 30, 20), (1, 2, 1)])
def test_means_over_cells(factors: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    scan = Volume(
        np.random.default_rng(0).normal(size=(23, 31, 42)).astype(np.float32), ImageGrid((42, 31, 23), (1,) * 3)
    )
    expected = F.avg_pool3d(torch.from_numpy(scan.array)[None, None].clamp(-0.5, 1), factors[::-1])
    for limit in at_once_and_in_slabs(monkeypatch):
        monkeypatch.setattr(slabs, "CPU_VOXELS", limit // 3)
        assert torch.allclose(fields.averaged(scan, factors, (-0.5, 1.0)), expected, atol=1e-6)
