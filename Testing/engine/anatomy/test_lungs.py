"""Lungs by thresholds, on made-up chests whose lungs are known exactly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import Volume
from DeepLargeDeformRegLib.engine.anatomy.lungs import LEFT, RIGHT, find_body, find_lungs, lungs_of

GRID = ImageGrid.axis_aligned((100, 80, 60), (3.0, 3.0, 3.0))


def chest(lung_hu: float = -850.0) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """A body of ellipses in air, on a table of foam, with noise; two lungs and a gas bubble below the left one."""
    z, y, x = np.meshgrid(*(np.arange(n, dtype=float) for n in GRID.shape), indexing="ij")
    generator = np.random.default_rng(0)
    values = np.full(GRID.shape, -1000.0)
    body = ((x - 50) / 42) ** 2 + ((y - 36) / 28) ** 2 < 1
    values[body] = 40.0
    truth = np.zeros(GRID.shape, np.uint8)
    for side, middle in ((RIGHT, 30), (LEFT, 70)):
        lung = ((x - middle) / 13) ** 2 + ((y - 36) / 18) ** 2 + ((z - 35) / 24) ** 2 < 1
        truth[lung] = side
    values[truth > 0] = lung_hu
    gas = ((x - 70) / 9) ** 2 + ((y - 36) / 9) ** 2 + ((z - 5) / 4) ** 2 < 1
    values[gas & (truth == 0)] = -1000.0
    values[(y > 68) & (y < 75) & ~body] = -700.0  # foam
    return (values + generator.normal(0, 15, GRID.shape)).astype(np.float32), truth


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
