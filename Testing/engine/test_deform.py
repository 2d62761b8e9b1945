"""The deformable part: on which grid a network works."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from DeepLargeDeformRegLib.engine import field as fields
from DeepLargeDeformRegLib.engine.deform import DeformInput, _predict, warnings_of_sight
from DeepLargeDeformRegLib.engine.geometry import ImageGrid
from DeepLargeDeformRegLib.engine.images import Volume
from DeepLargeDeformRegLib.engine.progress import Monitor


class Recorder:
    """A model that remembers its input and moves nothing."""

    card = SimpleNamespace(
        spacing_mm=(1.0, 1.0, 1.0), minimum_size=(8, 8, 8), maximum_size=(16, 12, 16), outside=-9.0
    )

    def predict(self, fixed: torch.Tensor, moving: torch.Tensor, grid: ImageGrid, monitor: Monitor) -> Any:
        self.fixed, self.grid = fixed, grid
        return fields.identity(grid)


def test_a_network_sees_no_larger_grid_than_its_card_says() -> None:
    region = ImageGrid.axis_aligned((25, 11, 5), (1.0, 1.0, 1.0), (3.0, -2.0, 7.0))
    values = np.random.default_rng(0).normal(size=region.shape).astype(np.float32)
    scan = Volume(values, region)
    model: Any = Recorder()
    _predict(DeformInput(scan, scan, scan, scan, np.eye(4), region), region, model, Monitor(), False)
    assert model.grid.size == (16, 11, 8)  # cut, as the region, filled up
    assert np.abs(np.subtract(model.grid.center, region.center)).max() <= 0.5  # on the scan's voxels
    # What lies outside of the scan is the card's; what lies within is the scan at the same place.
    assert float(model.fixed[0, 0, 0, 0, 0]) == Recorder.card.outside
    index = region.to_index(model.grid.to_physical([7, 5, 3]))
    x, y, z = index.round().astype(int)
    assert np.abs(index - (x, y, z)).max() < 1e-6
    assert float(model.fixed[0, 0, 3, 5, 7]) == float(values[z, y, x])


def test_what_a_network_does_not_see_is_told() -> None:
    card: Any = Recorder.card
    small, large = (ImageGrid.axis_aligned((n, 11, 5), (1.0, 1.0, 1.0)) for n in (16, 32))
    assert not warnings_of_sight(small, card)
    (warning,) = warnings_of_sight(large, card)
    assert "saw 52% of this region" in warning
    assert "region of interest" in warning
