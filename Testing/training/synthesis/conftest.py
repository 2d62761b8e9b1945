"""Shapes for synthesis that need no data: livers and lungs made of ellipsoids."""

from __future__ import annotations

import numpy as np
import pytest
from DeepLargeDeformRegLib.core.geometry import ImageGrid

from training.synthesis.scanner import ScannerSettings
from training.synthesis.shapes import Shape

GRID = ImageGrid.axis_aligned((64, 48, 48), (6.0, 6.0, 6.0))
COARSE = ImageGrid.axis_aligned((32, 24, 24), (12.0, 12.0, 12.0))
"""Of the same extent, for what does not depend on the size of a voxel: a pair is made in an eighth of the time."""
PLAIN = ScannerSettings(slice_mm=(1.0, 1.0), noise_hu=(0.0, 0.0), cut=0.0, circle=0.0)
"""A scanner without noise that sees everything."""


def liver_shape(number: int) -> Shape:
    """An ellipsoid cut into eight segments by planes, as Couinaud's are."""
    half = (100.0 + 5 * number, 75.0, 80.0 + 4 * number)
    grid = ImageGrid.axis_aligned((56, 40, 48), (4.0, 4.5, 4.2), (-110.0, -88.0, -99.0))
    index = np.indices(grid.shape)[::-1].reshape(3, -1).T
    x, y, z = grid.to_physical(index).T.reshape(3, *grid.shape)
    inside = (x / half[0]) ** 2 + (y / half[1]) ** 2 + (z / half[2]) ** 2 < 1
    right = np.where(y > 0, np.where(z > 0, 7, 6), np.where(z > 0, 8, 5))
    left = np.where(x < 60, np.where(y > 10, 1, 4), np.where(z > 0, 2, 3))
    return Shape(f"liver {number}", (np.where(x < 10, right, left) * inside).astype(np.uint8), grid)


def lung_shape(number: int) -> Shape:
    """Two half ellipsoids with hollow bases: 1 the right lung, 2 the left one."""
    grid = ImageGrid.axis_aligned((64, 44, 50), (4.5, 4.5, 4.6), (-142.0, -97.0, -113.0))
    index = np.indices(grid.shape)[::-1].reshape(3, -1).T
    x, y, z = grid.to_physical(index).T.reshape(3, *grid.shape)
    result = np.zeros(grid.shape, np.uint8)
    for value, center in ((1, -75.0), (2, 75.0)):
        lung = ((x - center) / (50 + number)) ** 2 + (y / 80) ** 2 + ((z + 60) / 160) ** 2 < 1
        dome = ((x - center) / 60) ** 2 + (y / 70) ** 2 + ((z + 120) / 70) ** 2 < 1
        result[lung & ~dome & (z > -100)] = value
    return Shape(f"lungs {number}", result, grid)


@pytest.fixture(scope="session")
def livers() -> list[Shape]:
    return [liver_shape(number) for number in range(3)]


@pytest.fixture(scope="session")
def lungs() -> list[Shape]:
    return [lung_shape(number) for number in range(2)]
