"""Fold-free fields: find where a field folds and repair it with as little change as possible.

The determinant of central differences, which everybody reports, is the mean of the eight determinants that take the
forward or backward difference along each axis (the determinant is linear in each column). The repair therefore
works on the smallest of the eight: once that is positive everywhere, so is the reported one, and so is the
determinant at the corners of every cell of the trilinear field.

Nearly all folds are shallow, and moving their points a little unfolds them (``corner_projection``). Where that fails,
the field is low-passed.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.progress import Monitor
from .corner_projection import project_corners
from .field import DisplacementField, determinant, from_voxels, jacobian_determinant, lengths, to_voxels

SMOOTHING_ROUNDS = 60
DEEP_FOLD_MARGIN = 3  # voxels around what projection leaves, in which its moves are taken back
SLAB_VOXELS = 1 << 18


@dataclass(frozen=True, eq=False)
class Repair:
    """A repaired field, how many voxels folded before, and the largest change of a displacement in mm."""

    field: DisplacementField
    folded_voxels: int
    largest_change_mm: float


def smallest_corner_determinant(field: DisplacementField, monitor: Monitor | None = None) -> Tensor:
    """Smallest of the eight one-sided determinants at each voxel, ``(N, 1, D, H, W)``."""
    return _smallest_determinant(to_voxels(field), monitor or Monitor())


def repair_folds(field: DisplacementField, minimum: float = 0.01, monitor: Monitor | None = None) -> Repair:
    """Change a field until det J >= ``minimum`` > 0 at every voxel.

    First the points of folded corners are moved as little as unfolds them. Where folds persist, the field as it was
    and a rim around are replaced by its low-pass, again and again with a rim that grows; displacements elsewhere are
    untouched. Should that not end (a field of noise), the whole field is relaxed towards its mean displacement, which
    is fold-free, until the last fold is gone.

    Args:
        field: displacement in mm, ``(1, 3, D, H, W)``.
        minimum: smallest determinant that is left standing.
        monitor: progress and cancellation.
    """
    if minimum <= 0:
        raise ValueError("minimum must be positive")
    monitor = monitor or Monitor()
    monitor.report("repair", 0.0, "Looking for folds")
    voxels = to_voxels(field)
    bad = _smallest_determinant(voxels, monitor) < minimum
    if not bool(bad.any()):
        return Repair(field, 0, 0.0)
    folded = int((jacobian_determinant(field) <= 0).sum())
    current = project_corners(voxels, bad, minimum, monitor)
    left = _smallest_determinant(current, monitor) < minimum
    if not bool(left.any()):
        return _repaired(field, current, folded)
    around = F.max_pool3d(left.to(voxels.dtype), 2 * DEEP_FOLD_MARGIN + 1, 1, DEEP_FOLD_MARGIN) > 0
    current = torch.where(around, voxels, current)
    bad = _smallest_determinant(current, monitor) < minimum
    for number in range(SMOOTHING_ROUNDS):
        monitor.report("repair", number / SMOOTHING_ROUNDS, "Removing folds")
        rim = 1 + number // 6
        # Only around folds: smoothing changes rim + 1 voxels around them and looks at 4 more, so that nothing that
        # changes is near the region's edge, where differences are one-sided.
        region = _around(bad, rim + 7)
        part = _smooth_around(current[region], bad[region], rim)
        current[region] = part
        bad[region] = _smallest_determinant(part, monitor) < minimum
        if not bool(bad.any()):
            return _repaired(field, current, folded)
    return _repaired(field, _relax(current, field, minimum), folded)


def _smallest_determinant(voxels: Tensor, monitor: Monitor) -> Tensor:
    """Of a displacement in voxels; slab by slab, which fits into a processor's cache and can be cancelled."""
    depth = voxels.shape[2]
    planes = max(4, SLAB_VOXELS // (voxels.shape[3] * voxels.shape[4]))
    parts = []
    for start in range(0, depth, planes):
        monitor.check()
        low, high = max(start - 1, 0), min(start + planes + 1, depth)
        sides = [_one_sided(voxels[:, :, low:high], dim) for dim in (4, 3, 2)]
        smallest: Tensor | None = None
        for dx, dy, dz in itertools.product(*sides):
            value = determinant(dx, dy, dz)
            smallest = value if smallest is None else torch.minimum(smallest, value)
        assert smallest is not None
        parts.append(smallest[:, :, start - low : start - low + planes])
    return torch.cat(parts, dim=2)


def _around(bad: Tensor, margin: int) -> tuple[slice, ...]:
    """The box around all bad voxels ``(1, 1, D, H, W)``, larger by a margin on each side."""
    where = torch.nonzero(bad[0, 0])
    low, high = where.amin(dim=0) - margin, where.amax(dim=0) + margin + 1
    box = [slice(max(int(first), 0), int(last)) for first, last in zip(low, high, strict=True)]
    return (slice(None), slice(None), *box)


def _repaired(field: DisplacementField, voxels: Tensor, folded: int) -> Repair:
    repaired = from_voxels(voxels, field.grid)
    change = lengths(repaired.displacement - field.displacement).max()
    return Repair(repaired, folded, float(change))


def _smooth_around(voxels: Tensor, bad: Tensor, rim: int) -> Tensor:
    """Blend a low-pass into the bad voxels and a soft rim of ``rim`` voxels around them."""
    size = 2 * rim + 1
    weight = F.max_pool3d(bad.to(voxels.dtype), size, 1, rim)
    weight = F.avg_pool3d(F.pad(weight, (1,) * 6, mode="replicate"), 3, 1)
    low_pass = F.avg_pool3d(F.pad(voxels, (1,) * 6, mode="replicate"), 3, 1)
    for _ in range(min(rim, 4) - 1):
        low_pass = F.avg_pool3d(F.pad(low_pass, (1,) * 6, mode="replicate"), 3, 1)
    return voxels + weight * (low_pass - voxels)


def _relax(voxels: Tensor, field: DisplacementField, minimum: float) -> Tensor:
    """Scale the field towards its mean; det(I + s G) is positive for small s, so halving s ends."""
    mean = voxels.mean(dim=(2, 3, 4), keepdim=True)
    scale = 1.0
    while True:
        scale *= 0.8
        relaxed = mean + scale * (voxels - mean)
        if bool((smallest_corner_determinant(from_voxels(relaxed, field.grid)) >= minimum).all()):
            return relaxed


def _one_sided(values: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Forward and backward differences, each with its border value repeated."""
    length = values.shape[dim]
    if length == 1:
        zero = torch.zeros_like(values)
        return zero, zero
    steps = values.narrow(dim, 1, length - 1) - values.narrow(dim, 0, length - 1)
    forward = torch.cat([steps, steps.narrow(dim, length - 2, 1)], dim=dim)
    backward = torch.cat([steps.narrow(dim, 0, 1), steps], dim=dim)
    return forward, backward
