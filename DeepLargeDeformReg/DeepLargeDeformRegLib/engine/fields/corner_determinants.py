"""Where the corners of a field fold.

A corner is a voxel with one neighbor along each axis; its determinant is that of the three differences, each with its
sign. A voxel has eight. For a large scan they take longer than all the rest of a repair, so they are taken for parts
that stay in a processor's cache, or for single voxels.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from ...core.geometry import ImageGrid
from ...core.progress import Monitor
from .field import DisplacementField, determinant, to_voxels

PLANES = 16  # that are looked at together
CHUNK_VOXELS = 1 << 17  # that are looked at together

Sides = Sequence[tuple[Tensor, Tensor]]
"""Differences forward and backward along x, y and z, ``(N, 3, ...)`` each, voxels."""


def smallest_corner_determinant(field: DisplacementField) -> Tensor:
    """Smallest of the eight one-sided determinants at each voxel, ``(N, 1, D, H, W)``."""
    return _smallest(_all_sides(to_voxels(field)))


def too_small(
    displacement: Tensor, minimum: float, monitor: Monitor | None = None, grid: ImageGrid | None = None
) -> Tensor:
    """Where the smallest corner determinant is less than ``minimum``, ``(1, 1, D, H, W)``, boolean.

    Args:
        displacement: ``(1, 3, D, H, W)``, in voxels unless a grid is given.
        minimum: smallest determinant that is not too small.
        monitor: cancellation.
        grid: of a displacement in mm.
    """
    shape = displacement.shape[2:]
    depth, height, width = shape
    result = torch.zeros((1, 1, *shape), dtype=torch.bool, device=displacement.device)
    rows = max(4, CHUNK_VOXELS // (PLANES * width))
    for first, top in itertools.product(range(0, depth, PLANES), range(0, height, rows)):
        if monitor is not None:
            monitor.check()
        inner = (slice(first, min(first + PLANES, depth)), slice(top, min(top + rows, height)))
        outer = [slice(max(at.start - 1, 0), min(at.stop + 1, n)) for at, n in zip(inner, shape, strict=False)]
        part = displacement[:, :, outer[0], outer[1]]
        if grid is not None:
            size = (width, part.shape[3], part.shape[2])
            part = to_voxels(DisplacementField(part, grid.cropped((0, outer[1].start, outer[0].start), size)))
        local = [slice(at.start - out.start, at.stop - out.start) for at, out in zip(inner, outer, strict=True)]
        result[:, :, inner[0], inner[1]] = (_smallest(_all_sides(part)) < minimum)[:, :, local[0], local[1]]
    return result


def smallest_at(voxels: Tensor, places: Tensor) -> Tensor:
    """Smallest corner determinant ``(n,)`` at places (n,), flat indices, of a displacement ``(1, 3, D, H, W)``."""
    return _smallest(_sides_at(voxels, places))[0, 0]


def central_at(voxels: Tensor, places: Tensor) -> Tensor:
    """Determinant of central differences ``(n,)``, the mean of the corners', as :func:`smallest_at`."""
    dx, dy, dz = ((forward + backward) / 2 for forward, backward in _sides_at(voxels, places))
    return determinant(dx, dy, dz)[0, 0]


def neighbors(
    places: Tensor, signs: tuple[int, ...], shape: tuple[int, int, int]
) -> tuple[list[Tensor], list[Tensor]]:
    """Flat indices of the neighbors along x, y, z, and whether each is the next (1) or the last (-1).

    Args:
        places: flat indices of voxels (n,).
        signs: whether the next (1) or the last (-1) is wanted along x, y and z; at the border it is the one there is.
        shape: D, H, W.
    """
    depth, height, width = shape
    positions = (places % width, places // width % height, places // (width * height))
    found, steps = [], []
    for position, sign, size, stride in zip(
        positions, signs, (width, height, depth), (1, width, width * height), strict=True
    ):
        beyond = (position + sign < 0) | (position + sign >= size)
        step = torch.where(beyond, -sign, sign) if size > 1 else torch.zeros_like(places)
        found.append(places + step * stride)
        steps.append(step.float()[:, None])
    return found, steps


def _steps(values: Tensor, dim: int) -> Tensor:
    """The step before each voxel and one more behind the last; at the border the one that there is, ``n + 1``."""
    length = values.shape[dim]
    if length == 1:
        return torch.zeros_like(values).repeat_interleave(2, dim=dim)
    steps = values.narrow(dim, 1, length - 1) - values.narrow(dim, 0, length - 1)
    return torch.cat([steps.narrow(dim, 0, 1), steps, steps.narrow(dim, length - 2, 1)], dim=dim)


def _all_sides(voxels: Tensor) -> Sides:
    sides = []
    for dim in (4, 3, 2):
        steps = _steps(voxels, dim)
        sides.append((steps.narrow(dim, 1, voxels.shape[dim]), steps.narrow(dim, 0, voxels.shape[dim])))
    return sides


def _sides_at(voxels: Tensor, places: Tensor) -> Sides:
    shape = (voxels.shape[2], voxels.shape[3], voxels.shape[4])
    values = voxels[0].flatten(1)
    at = values[:, places]
    both = []
    for sign in (1, -1):
        found, steps = neighbors(places, (sign,) * 3, shape)
        both.append([(values[:, one] - at) * step[:, 0] for one, step in zip(found, steps, strict=True)])
    return [(forward[None], backward[None]) for forward, backward in zip(*both, strict=True)]


def _smallest(sides: Sides) -> Tensor:
    """Smallest determinant over the sides; its expansion along the first column takes each product once."""
    smallest: Tensor | None = None
    for dy, dz in itertools.product(sides[1], sides[2]):
        b, e, h = dy[:, 0:1], 1 + dy[:, 1:2], dy[:, 2:3]
        c, f, i = dz[:, 0:1], dz[:, 1:2], 1 + dz[:, 2:3]
        minors = (e * i - f * h, c * h - b * i, b * f - c * e)
        for dx in sides[0]:
            value = ((1 + dx[:, 0:1]) * minors[0]).addcmul_(dx[:, 1:2], minors[1]).addcmul_(dx[:, 2:3], minors[2])
            smallest = value if smallest is None else torch.minimum(smallest, value)
    assert smallest is not None
    return smallest
