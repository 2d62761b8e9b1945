"""Scans in the shapes of others, by the shipped hippocampus network."""

from __future__ import annotations

import pytest
import torch
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.engine.models import load_model
from DeepLargeDeformRegLib.resources import MODELS
from torch import Tensor

from training.config import AugmentationConfig, GridConfig
from training.pairs.augmentation import Augmented
from training.pairs.phases import centered
from training.pairs.samples import Scan, SubjectPairs, training_grid
from training.pairs.shapes import OtherShapes

GRID = GridConfig((48, 64, 48), (1.0, 1.0, 1.0))  # larger than that of the network


def _blob(radii: tuple[float, float, float]) -> Scan:
    """A dark ellipsoid in bright tissue, as a hippocampus is, with two halves; radii along (z, y, x) in mm."""
    axes = torch.meshgrid(*(torch.arange(n) - (n - 1) / 2 for n in (48, 64, 48)), indexing="ij")
    inside = ((sum((a / r) ** 2 for a, r in zip(axes, radii, strict=True)) < 1) * 1.0)[None]
    front = (axes[1] < 0)[None] * inside
    return Scan(0.8 - 0.4 * inside, torch.cat((front, inside - front)))


def _overlap(first: Tensor, second: Tensor) -> float:
    return float(2 * (first * second).sum() / (first.square().sum() + second.square().sum()))


def _pairs(shape: float, blend: float) -> SubjectPairs:
    shapes = OtherShapes(load_model("hippocampus-mr-lapirn", "cpu", [MODELS]), training_grid(GRID), shape, blend)
    return SubjectPairs([_blob((7, 16, 9)), _blob((10, 21, 6))], vary=shapes.vary)


def test_a_scan_and_its_structures_take_on_the_shape_of_another_together() -> None:
    pairs = _pairs(shape=1.0, blend=0.0)
    augmented = Augmented(pairs, AugmentationConfig(), training_grid(GRID))
    gains, apart = [], []
    for seed in range(6):
        raw = pairs.draw(torch.Generator().manual_seed(seed))
        drawn = augmented.draw(torch.Generator().manual_seed(seed))
        assert raw.fixed.labels is not None
        assert raw.moving.labels is not None
        assert drawn.fixed.labels is not None
        gains.append(_overlap(drawn.fixed.labels, raw.moving.labels) - _overlap(raw.fixed.labels, raw.moving.labels))
        apart.append(_overlap(drawn.fixed.labels.sum(dim=0), ((0.8 - drawn.fixed.image[0]) / 0.4).clamp(0, 1)))
    # The way is a random share of the whole, so single gains are small; two ellipsoids that start at 0.66.
    assert min(gains) > 0
    assert max(gains) > 0.1
    # Image and structures are moved by one field; only their rims are interpolated in two ways.
    assert min(apart) > 0.95


def test_a_phase_on_the_middle_of_the_grid_takes_on_the_same_shapes() -> None:
    augmented = Augmented(_pairs(shape=1.0, blend=0.0), AugmentationConfig(), training_grid(GRID))
    whole = augmented.draw(torch.Generator().manual_seed(1)).fixed.image
    middle = centered(augmented, (40, 56, 40), GRID).draw(torch.Generator().manual_seed(1)).fixed.image
    inner = (slice(None), slice(8, 40), slice(8, 56), slice(8, 40))
    torch.testing.assert_close(middle[:, 4:-4, 4:-4, 4:-4], whole[inner], atol=1e-4, rtol=0)


def test_a_blended_scan_keeps_its_shape_and_has_structures_of_both() -> None:
    drawn = _pairs(shape=0.0, blend=0.5).draw(torch.Generator().manual_seed(3)).fixed
    own = min((_blob((7, 16, 9)), _blob((10, 21, 6))), key=lambda scan: float((scan.image - drawn.image).abs().sum()))
    assert drawn.labels is not None
    assert own.labels is not None
    assert 0.85 < _overlap(drawn.labels, own.labels) < 1
    mixed = drawn.labels.sum(dim=0)
    assert bool(((mixed > 0.1) & (mixed < 0.9)).any())


def test_without_shapes_a_draw_takes_the_numbers_that_it_took_before() -> None:
    scans = [_blob((7, 16, 9)), _blob((10, 21, 6))]
    left = torch.Generator().manual_seed(0)
    SubjectPairs(scans).draw(left)
    right = torch.Generator().manual_seed(0)
    torch.randint(2, (), generator=right)
    torch.randint(1, (), generator=right)
    assert torch.equal(left.get_state(), right.get_state())


def test_a_configuration_names_the_model_that_registers() -> None:
    with pytest.raises(BadInputError, match="shapes_by"):
        AugmentationConfig(shape=1.0)
    with pytest.raises(BadInputError, match="shapes_by"):
        AugmentationConfig(shapes_by="hippocampus-mr-lapirn")
    settings = AugmentationConfig(shape=1.0, blend=0.3, shapes_by="hippocampus-mr-lapirn", noise=0.1)
    weaker = settings.weaker(0.5)
    assert (weaker.shape, weaker.blend, weaker.noise) == (1.0, 0.3, 0.05)
