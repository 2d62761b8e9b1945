"""Lungs by thresholds, on made-up chests whose lungs are known exactly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from DeepLargeDeformRegLib.core.images import Volume
from DeepLargeDeformRegLib.engine.anatomy.lungs import LEFT, RIGHT, find_body, find_lungs, lungs_of

from ._chest import GRID, chest


def dice(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    """Dice overlap."""
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


@pytest.mark.parametrize("lung_hu", [-940.0, -850.0, -700.0])
def test_both_lungs_are_found_and_told_apart(lung_hu: float) -> None:
    values, truth = chest(lung_hu)
    found = find_lungs(values, GRID)
    # A voxel of rim on ellipses of this size is 0.05 of Dice.
    assert dice(found == RIGHT, truth == RIGHT) > 0.95
    assert dice(found == LEFT, truth == LEFT) > 0.95


def test_a_crop_to_one_lung_that_lays_it_open_is_no_special_case() -> None:
    values, truth = chest()
    kept = (slice(10, 50), slice(0, 60), slice(0, 38))  # ends within the right lung at the top, below and at a side
    grid = GRID.cropped((0, 0, 10), (38, 60, 40))
    found = find_lungs(values[kept], grid)
    assert dice(found > 0, truth[kept] > 0) > 0.95


@pytest.mark.parametrize("lung_hu", [-850.0, -700.0])
def test_the_windpipe_is_no_lung(lung_hu: float) -> None:
    values, truth = chest(lung_hu)
    z, y, x = np.ogrid[: GRID.shape[0], : GRID.shape[1], : GRID.shape[2]]
    pipe = ((y - 36) ** 2 + (x - 50) ** 2 < 4**2) & (z > 38)
    bronchi = ((y - 36) ** 2 + (z - 39) ** 2 < 3**2) & (np.abs(x - 50) < 10)
    values[(pipe | bronchi) & (truth == 0)] = -960.0
    where = pipe & (z > 44)
    found = find_lungs(values, GRID)
    assert (found[where] > 0).mean() < 0.1
    assert dice(found > 0, truth > 0) > 0.95


def test_the_body_has_neither_table_nor_holes() -> None:
    values, truth = chest()
    body = find_body(values, GRID)
    assert body[truth > 0].all()
    assert not body[:, 70:].any()


def test_a_scan_without_lungs_has_none() -> None:
    values, truth = chest()
    values[truth > 0] = 40.0
    assert lungs_of(Volume(values, GRID)) is None


def test_names_and_sides_come_with_the_label_map() -> None:
    values, truth = chest()
    found = lungs_of(Volume(values, GRID))
    assert found is not None
    assert [label.name for label in found.labels] == ["right lung", "left lung"]
    volumes = [(found.array == side).sum() * found.grid.voxel_volume for side in (RIGHT, LEFT)]
    expected = [(truth == side).sum() * GRID.voxel_volume for side in (RIGHT, LEFT)]
    assert volumes == pytest.approx(expected, rel=0.1)
