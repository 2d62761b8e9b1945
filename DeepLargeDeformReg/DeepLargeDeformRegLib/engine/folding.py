"""Fold-free fields: find where a field folds and repair it with as little change as possible.

The determinant of central differences, which everybody reports, is the mean of the eight determinants that take the
forward or backward difference along each axis (the determinant is linear in each column). The repair therefore
works on the smallest of the eight: once that is positive everywhere, so is the reported one, and so is the
determinant at the corners of every cell of the trilinear field.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from . import field as fields
from .field import DisplacementField, determinant
from .progress import Monitor

SMOOTHING_ROUNDS = 60


@dataclass(frozen=True, eq=False)
class Repair:
    """A repaired field, how many voxels folded before, and the largest change of a displacement in mm."""

    field: DisplacementField
    folded_voxels: int
    largest_change_mm: float


def smallest_corner_determinant(field: DisplacementField) -> Tensor:
    """Smallest of the eight one-sided determinants at each voxel, ``(N, 1, D, H, W)``."""
    voxels = fields.to_voxels(field)
    sides = [_one_sided(voxels, dim) for dim in (4, 3, 2)]
    smallest: Tensor | None = None
    for dx in sides[0]:
        for dy in sides[1]:
            for dz in sides[2]:
                value = determinant(dx, dy, dz)
                smallest = value if smallest is None else torch.minimum(smallest, value)
    assert smallest is not None
    return smallest


def repair_folds(field: DisplacementField, minimum: float = 0.01, monitor: Monitor | None = None) -> Repair:
    """Change a field until det J >= ``minimum`` > 0 at every voxel.

    Folded regions and a rim around them are replaced by a low-pass of the field, again and again with a rim that
    grows where folds persist; displacements elsewhere are untouched. Should that not end (a field of noise), the
    whole field is relaxed towards its mean displacement, which is fold-free, until the last fold is gone.

    Args:
        field: displacement in mm, ``(1, 3, D, H, W)``.
        minimum: smallest determinant that is left standing.
        monitor: progress and cancellation.
    """
    if minimum <= 0:
        raise ValueError("minimum must be positive")
    monitor = monitor or Monitor()
    voxels = fields.to_voxels(field)
    folded = int((fields.jacobian_determinant(field) <= 0).sum())
    current = voxels
    for number in range(SMOOTHING_ROUNDS):
        monitor.report("repair", number / SMOOTHING_ROUNDS, "Removing folds")
        bad = smallest_corner_determinant(fields.from_voxels(current, field.grid)) < minimum
        if not bool(bad.any()):
            return _repaired(field, current, folded)
        current = _smooth_around(current, bad, rim=1 + number // 6)
    return _repaired(field, _relax(current, field, minimum), folded)


def _repaired(field: DisplacementField, voxels: Tensor, folded: int) -> Repair:
    repaired = fields.from_voxels(voxels, field.grid) if folded or voxels is not field.displacement else field
    change = (repaired.displacement - field.displacement).norm(dim=1).max()
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
        if bool((smallest_corner_determinant(fields.from_voxels(relaxed, field.grid)) >= minimum).all()):
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
