"""Grids that are laid on others."""

from __future__ import annotations

import numpy as np
import pytest
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from scipy.spatial.transform import Rotation

SPACING = (1.0, 1.5, 2.0)
DIRECTIONS = {
    "as it is": np.eye(3),
    "mirrored": np.diag([-1.0, -1.0, 1.0]),
    "oblique": Rotation.from_euler("x", 10, degrees=True).as_matrix(),
}


def turned(direction: np.ndarray, size: tuple[int, int, int] = (11, 12, 13)) -> ImageGrid:
    return ImageGrid(size, SPACING, (0.3, 0.7, -5.0), tuple(direction.ravel()))


@pytest.mark.parametrize("name", ["as it is", "mirrored"])
@pytest.mark.parametrize("size", [(10, 12, 14), (11, 13, 15)])
def test_a_grid_is_laid_on_the_voxels_of_one_with_its_spacing(name: str, size: tuple[int, int, int]) -> None:
    scan = turned(DIRECTIONS[name], size)
    grid = ImageGrid.axis_aligned((6, 7, 8), SPACING, np.subtract(scan.center, 4.1).tolist())
    laid = grid.laid_on(scan)
    first = scan.to_index(laid.origin)
    assert np.abs(first - first.round()).max() < 1e-9
    assert np.all(np.abs(np.subtract(laid.origin, grid.origin)) <= np.array(SPACING) / 2 + 1e-5)
    assert (laid.size, laid.spacing, laid.direction) == (grid.size, grid.spacing, grid.direction)
    assert laid.laid_on(scan).same_geometry(laid)


def test_scans_whose_voxels_have_other_names_for_their_axes_count_as_well() -> None:
    scan = ImageGrid((9, 9, 9), (2.0, 1.0, 1.5), (0.25, 0, 0), (0, 1, 0, 0, 0, 1, 1, 0, 0))
    laid = ImageGrid.axis_aligned((4, 4, 4), SPACING).laid_on(scan)
    assert laid.origin == pytest.approx((0.25, 0, 0))


def test_a_grid_that_must_interpolate_stays() -> None:
    grid = ImageGrid.axis_aligned((6, 7, 8), SPACING)
    assert grid.laid_on(turned(DIRECTIONS["oblique"])) == grid
    coarser = ImageGrid.axis_aligned((6, 7, 8), (2.0, 3.0, 4.0))
    assert coarser.laid_on(turned(DIRECTIONS["as it is"])) == coarser
