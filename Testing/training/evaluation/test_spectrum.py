"""The spectrum of det J tells waves that stay from waves that move with the lattice."""

from __future__ import annotations

import numpy as np
import pytest
from DeepLargeDeformRegLib.core.geometry import ImageGrid

from training.evaluation.spectrum import _beginning_later, seen_at, spectrum

GRID = ImageGrid.axis_aligned((60, 12, 90), (1.5, 2.0, 2.0))


def _determinant(moved_mm: float, axis: int) -> np.ndarray:
    """A wave of 26.25 mm that stays and one of 7 mm, half as high, that is moved, with noise."""
    index = np.indices(GRID.shape)[2 - axis] * GRID.spacing[axis]
    waves = 0.1 * np.sin(2 * np.pi * index / 26.25) + 0.05 * np.sin(2 * np.pi * (index - moved_mm) / 7.0)
    return np.exp(waves + np.random.default_rng(0).normal(0, 0.002, GRID.shape))


def test_a_peak_of_the_lattice_moves_with_it_and_others_stay() -> None:
    found = spectrum(_determinant(0.0, 2), _determinant(2.0, 2), GRID, 2)
    tissue, lattice = found.nearest(26.25), found.nearest(7.0)
    assert found.peaks() == [tissue, lattice]
    assert found.power[tissue] > 3 * found.power[lattice], "a quarter of the power"
    for number in (tissue, lattice):
        assert found.over_surroundings(number) > 100
        assert found.coherence[number] > 0.99
    assert found.moved_mm[tissue] == pytest.approx(0.0, abs=0.05)
    assert found.moved_mm[lattice] == pytest.approx(2.0, abs=0.05)


def test_lines_lie_within_the_mask() -> None:
    values = _determinant(0.0, 2)
    mask = np.zeros(GRID.shape, dtype=bool)
    mask[20:80, 3:9, 6:20] = True
    values[~mask] = np.random.default_rng(1).uniform(0.1, 5.0, GRID.shape)[~mask]
    found = spectrum(values, values, GRID, 2, mask)
    assert found.lines == 2 * 5, "every third voxel along y (3, 6) and x (6 to 18)"
    assert found.over_surroundings(found.nearest(7.0)) > 100
    with pytest.raises(ValueError, match="within the mask"):
        spectrum(values, values, GRID, 0, mask)


def test_short_waves_are_sought_where_voxels_show_them() -> None:
    assert seen_at(7.0, 2.5) == 7.0
    assert seen_at(3.5, 2.5) == pytest.approx(8.75)
    assert seen_at(2.5, 2.5) == np.inf, "the same at every voxel"


def test_the_second_region_begins_later() -> None:
    worked = GRID.cropped((4, 2, 10), (40, 8, 60)).with_spacing(1.9)
    first, last = (np.argwhere(_beginning_later(GRID, worked, 4.0).array)[index] for index in (0, -1))
    low, high = GRID.to_physical(first[::-1]), GRID.to_physical(last[::-1])
    for axis in range(3):
        begins = worked.to_physical((-0.5,) * 3)[axis] + 4.0
        assert abs(low[axis] - GRID.spacing[axis] / 2 - begins) <= GRID.spacing[axis] / 2 + 1e-6
        assert abs(high[axis] - worked.to_physical(np.array(worked.size) - 1)[axis]) <= 2 * GRID.spacing[axis]
