"""A made-up chest whose lungs are known exactly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine.anatomy.lungs import LEFT, RIGHT

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
