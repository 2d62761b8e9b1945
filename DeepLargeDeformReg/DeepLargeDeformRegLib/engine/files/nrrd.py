"""Uncompressed NRRD straight from memory, for files that are read once and removed.

SimpleITK copies an array twice before it writes it, which for a displacement field on every voxel takes longer than
the writing itself; and it does not tell why a write failed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from ..geometry import ImageGrid

_SLAB_BYTES = 1 << 20  # rearranged at a time: fits into a processor's cache


def write_raw_nrrd(array: npt.NDArray[np.float32], grid: ImageGrid, path: Path) -> None:
    """Write float32 voxels ``(D, H, W)``, or vectors ``(D, H, W, 3)``, of any memory layout.

    Raises:
        OSError: if it cannot be written whole; what was written is left to the caller.
    """
    with path.open("wb", buffering=0) as stream:
        _write(stream, memoryview(_header(grid, array.ndim == 4).encode("ascii")))
        if array.flags.c_contiguous and array.dtype == np.float32:
            _write(stream, array.data.cast("B"))
            return
        planes = max(1, _SLAB_BYTES // max(array[0].nbytes, 1))
        for start in range(0, len(array), planes):
            slab = np.ascontiguousarray(array[start : start + planes], dtype=np.float32)
            _write(stream, slab.data.cast("B"))


def _write(stream: BinaryIO, data: memoryview) -> None:
    while data:
        data = data[stream.write(data) :]


def _header(grid: ImageGrid, is_vector: bool) -> str:
    columns = (grid.index_to_physical[:3, :3].T).tolist()
    directions = [_vector(column) for column in columns]
    kinds, sizes = ["domain"] * 3, [str(number) for number in grid.size]
    if is_vector:
        directions, kinds, sizes = ["none", *directions], ["vector", *kinds], ["3", *sizes]
    lines = (
        "NRRD0004",
        "type: float",
        f"dimension: {len(sizes)}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(sizes)}",
        f"space directions: {' '.join(directions)}",
        f"kinds: {' '.join(kinds)}",
        f"endian: {sys.byteorder}",
        "encoding: raw",
        f"space origin: {_vector(list(grid.origin))}",
    )
    return "\n".join(lines) + "\n\n"


def _vector(values: list[float]) -> str:
    return "(" + ",".join(repr(float(value)) for value in values) + ")"
