"""Tensors on large grids, made slab by slab: temporary ones stay small, and within the cache of a processor."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...core.geometry import ImageGrid

CPU_VOXELS, GPU_VOXELS = 1 << 19, 1 << 24


def by_slabs(grid: ImageGrid, like: Tensor, make: Callable[[ImageGrid, slice], Tensor]) -> Tensor:
    """A tensor on a grid whose planes along z do not depend on each other.

    Args:
        grid: where the result is.
        like: on the device of the result. If gradients are taken through it, all is made at once.
        make: makes the tensor ``(N, C, d, H, W)`` on some planes, given their grid and their place along z.

    Returns:
        ``(N, C, D, H, W)``.
    """
    result: Tensor | None = None
    for place in slabs(grid.shape, like):
        part = grid.planes(place.start, place.stop - place.start)
        made = make(part, place)
        if part.size == grid.size:
            return made
        if result is None:
            result = made.new_empty((*made.shape[:2], *grid.shape))
        result[:, :, place] = made
    assert result is not None
    return result


def slabs(shape: tuple[int, ...], like: Tensor) -> list[slice]:
    """Planes of a lattice (D, H, W) that are made together; all of them if gradients are taken through ``like``."""
    depth, height, width = shape
    count = max(1, (CPU_VOXELS if like.device.type == "cpu" else GPU_VOXELS) // (width * height))
    if count >= depth or (like.requires_grad and torch.is_grad_enabled()):
        return [slice(0, depth)]
    return [slice(start, min(start + count, depth)) for start in range(0, depth, count)]
