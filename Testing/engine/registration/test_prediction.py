"""What a network is shown of two scans."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import Pair, Scan, Volume
from DeepLargeDeformRegLib.core.progress import Monitor
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.registration.prediction import (
    predict,
    predict_backward,
    warnings_of_modality,
    warnings_of_sight,
)

REGION = ImageGrid.axis_aligned((25, 11, 5), (1.0, 1.0, 1.0), (3.0, -2.0, 7.0))


class Recorder:
    """A model that remembers its input and moves nothing."""

    card: Any = SimpleNamespace(
        spacing_mm=(1.0, 1.0, 1.0), minimum_size=(8, 8, 8), maximum_size=(16, 12, 16), outside=-9.0
    )

    def predict(self, fixed: torch.Tensor, moving: torch.Tensor, grid: ImageGrid, monitor: Monitor) -> Any:
        self.fixed, self.moving, self.grid = fixed, moving, grid
        return fields.identity(grid)


def scan(seed: int) -> Volume:
    return Volume(np.random.default_rng(seed).normal(size=REGION.shape).astype(np.float32), REGION)


def pair_of(fixed: Volume, moving: Volume) -> Pair:
    return Pair(Scan(fixed), Scan(moving))


def translation(*shift: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = shift
    return matrix


def test_a_network_sees_no_larger_grid_than_its_card_says_and_voxels_as_they_are() -> None:
    fixed, moving, model = scan(0), scan(1), Recorder()
    chosen: Any = model
    predict(pair_of(fixed, moving), translation(1.0, 0.0, 0.0), REGION, chosen, Monitor())
    assert model.grid.size == (16, 11, 8)  # cut, as the region, filled up
    assert np.abs(np.subtract(model.grid.center, REGION.center)).max() <= 0.5
    # What lies outside of the scan is the card's; what lies within is the scan at the same place.
    assert float(model.fixed[0, 0, 0, 0, 0]) == Recorder.card.outside
    index = REGION.to_index(model.grid.to_physical([7, 5, 3]))
    x, y, z = index.round().astype(int)
    assert np.abs(index - (x, y, z)).max() < 1e-6
    assert float(model.fixed[0, 0, 3, 5, 7]) == float(fixed.array[z, y, x])
    assert float(model.moving[0, 0, 3, 5, 7]) == float(moving.array[z, y, x + 1])


def test_the_moving_scan_is_not_blurred_by_a_part_of_a_voxel_and_the_field_knows() -> None:
    """A network that moves nothing sees voxel on voxel; its field and the linear part are then that map."""
    fixed, moving, model = scan(0), scan(1), Recorder()
    chosen: Any = model
    linear = translation(2.3, -0.4, 0.0)
    field = predict(pair_of(fixed, moving), linear, REGION, chosen, Monitor())
    whole = fields.compose_affine(linear, field).displacement[0, :, 4, 5, 7]
    assert whole.tolist() == pytest.approx([2.0, 0.0, 0.0], abs=1e-5)
    x, y, z = REGION.to_index(model.grid.to_physical([5, 5, 3])).round().astype(int)
    assert float(model.moving[0, 0, 3, 5, 5]) == float(moving.array[z, y, x + 2])


def test_backward_the_network_goes_from_the_aligned_moving_scan_to_the_fixed_one() -> None:
    fixed, moving, model = scan(0), scan(1), Recorder()
    chosen: Any = model
    field = predict_backward(pair_of(fixed, moving), translation(2.0, 0.0, 0.0), REGION, chosen, Monitor())
    assert float(field.displacement.abs().max()) == 0
    x, y, z = REGION.to_index(model.grid.to_physical([5, 5, 3])).round().astype(int)
    assert float(model.fixed[0, 0, 3, 5, 5]) == float(moving.array[z, y, x + 2])
    assert float(model.moving[0, 0, 3, 5, 5]) == float(fixed.array[z, y, x])


def test_a_turned_moving_scan_is_interpolated_and_the_field_left_alone() -> None:
    model = Recorder()
    chosen: Any = model
    turn = translation(0.5, 0.0, 0.0)
    turn[0, 0] = 1.1
    assert float(predict(pair_of(scan(0), scan(1)), turn, REGION, chosen, Monitor()).displacement.abs().max()) == 0


def test_what_a_network_does_not_see_is_told() -> None:
    small, large = (ImageGrid.axis_aligned((n, 11, 5), (1.0, 1.0, 1.0)) for n in (16, 32))
    assert not warnings_of_sight(small, Recorder.card)
    (warning,) = warnings_of_sight(large, Recorder.card)
    assert "saw 52% of this region" in warning
    assert "region of interest" in warning


def test_scans_of_another_kind_than_the_network_knows_are_told_of() -> None:
    random = np.random.default_rng(3)
    body = np.where(random.random(REGION.shape) < 0.5, random.normal(-100, 20, REGION.shape), 40.0)
    ct = Volume(body.astype(np.float32), REGION)
    mr = Volume(np.abs(random.normal(200, 90, REGION.shape)).astype(np.float32), REGION)

    def said(modality: str, *scans: Volume) -> list[str]:
        card: Any = SimpleNamespace(title="This model", modality=modality)
        return warnings_of_modality(pair_of(*scans), card)

    assert not said("CT", ct, ct)
    assert not said("MR", mr, mr)
    assert not said("any", ct, mr)
    (warning,) = said("CT", ct, mr)
    assert warning.startswith("This model was trained on CT, but")
    (warning,) = said("MR", ct, mr)
    assert warning.startswith("This model was trained on MR, but")
