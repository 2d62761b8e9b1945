"""Fold-free fields: find where a field folds and repair it with as little change as possible.

The determinant of central differences, which everybody reports, is the mean of the eight determinants that take the
forward or backward difference along each axis (the determinant is linear in each column). The repair therefore
works on the smallest of the eight: once that is positive everywhere, so is the reported one, and so is the
determinant at the corners of every cell of the trilinear field.

Nearly all folds are shallow, and moving their points a little unfolds them (``corner_projection``). A field that is a
spline is moved by its coefficients (``spline_moves``), so that det J stays as smooth as it was where it is repaired;
what folds then is moved voxel by voxel. Where that fails, the field is low-passed.

Folds are few, and what repairs one reaches little farther than itself. Groups of them that lie apart are repaired one
by one, each in its own box, so that the cost is that of the folds and not that of the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...core.geometry import ImageGrid
from ...core.progress import Monitor
from ...core.sentences import marked as _
from .boxes import around, box_of, crop, groups
from .corner_determinants import central_at, smallest_at, too_small
from .corner_projection import project_corners
from .dilation import largest_around
from .field import DisplacementField, from_voxels, lengths, to_voxels
from .spline_moves import Spline, move_coefficients

SMOOTHING_ROUNDS = 60
DEEP_FOLD_MARGIN = 3  # voxels around what projection leaves, in which its moves are taken back
REACH = 32  # voxels around folds that a repair of single voxels may look at and change, in all its rounds
PROJECTIONS = 5  # one after the other, as long as each leaves less than half of the folds
PASSES = 4  # over what is left where the repair of one group of folds has folded the place of another


@dataclass(frozen=True, eq=False)
class Repair:
    """A repaired field, how many voxels folded before, and the largest change of a displacement in mm."""

    field: DisplacementField
    folded_voxels: int
    largest_change_mm: float


def repair_folds(
    field: DisplacementField,
    minimum: float = 0.01,
    monitor: Monitor | None = None,
    lattice: ImageGrid | None = None,
    in_place: bool = False,
) -> Repair:
    """Change a field until det J >= ``minimum`` > 0 at every voxel.

    First the coefficients of the spline, if it is one, then the points of folded corners are moved as little as
    unfolds them. Where folds persist, the field as it was and a rim around are replaced by its low-pass, again and
    again with a rim that grows; displacements elsewhere are untouched. Should that not end (a field of noise), the
    whole field is relaxed towards its mean displacement, which is fold-free, until the last fold is gone. At the end
    all voxels are looked at once more.

    Args:
        field: displacement in mm, ``(1, 3, D, H, W)``.
        minimum: smallest determinant that is left standing.
        monitor: progress and cancellation.
        lattice: of which the field is a cubic B-spline, with its axes; None moves single voxels alone.
        in_place: the result may take the memory of the field.
    """
    if minimum <= 0:
        raise ValueError("minimum must be positive")
    monitor = monitor or Monitor()
    monitor.report("repair", 0.0, _("Looking for folds"))
    bad = too_small(field.displacement, minimum, monitor, field.grid)
    if not bool(bad.any()):
        return Repair(field, 0, 0.0)
    result = field if in_place else DisplacementField(field.displacement.clone(), field.grid)
    spline = None if lattice is None else Spline.of(field.grid, lattice)
    reach = [REACH] * 3 if spline is None else spline.reach
    margin = [REACH] * 3 if spline is None else [REACH + count for count in spline.reach]
    folded, changes = 0, [0.0]
    for number in range(PASSES):
        unfolded, parts = True, groups(bad, reach, margin)
        for places in parts:
            done = _repair_group(result, bad, places, margin, minimum, spline, monitor)
            changes.append(done.largest_change_mm)
            folded += done.folded_voxels if number == 0 else 0
            unfolded &= done.unfolded
        bad = too_small(result.displacement, minimum, monitor, result.grid)
        if not bool(bad.any()):
            return Repair(result, folded, max(changes))
        if not unfolded and len(parts) == 1:
            break
    relaxed = from_voxels(_relax(to_voxels(result), minimum, monitor), field.grid)
    changes.append(float(lengths(relaxed.displacement - field.displacement).max()))
    return Repair(relaxed, folded, max(changes))


@dataclass(frozen=True)
class _Done:
    """How many voxels of a group folded, the largest change, and whether none folds any more."""

    folded_voxels: int
    largest_change_mm: float
    unfolded: bool


def _repair_group(
    field: DisplacementField,
    bad: Tensor,
    places: Tensor,
    margin: Sequence[int],
    minimum: float,
    spline: Spline | None,
    monitor: Monitor,
) -> _Done:
    """Repair, in place, one group of folds (n, 3); what folds of other groups is left to them."""
    box = box_of(places, margin, bad.shape[2:])
    here = crop(field, box)
    voxels = to_voxels(here)
    ours = torch.zeros_like(bad[box])
    z, y, x = (at - part.start for at, part in zip(places.unbind(1), box[2:], strict=True))
    ours[0, 0, z, y, x] = True
    bad[box] &= ~ours
    counted = ~bad[box]
    flat = ours.flatten().nonzero()[:, 0]
    folded = int((central_at(voxels, flat) <= 0).sum())
    ours.view(-1)[flat] = smallest_at(voxels, flat) < minimum  # another group's repair may have held some of them
    if not bool(ours.any()):
        return _Done(folded, 0.0, True)
    before = voxels.clone()
    unfolded = _unfold(voxels, ours, counted, minimum, spline and spline.within(box), monitor)
    change = from_voxels(voxels.sub_(before), here.grid).displacement
    here.displacement.add_(change)
    return _Done(folded, float(lengths(change).max()), unfolded)


def _unfold(
    voxels: Tensor, bad: Tensor, counted: Tensor, minimum: float, spline: Spline | None, monitor: Monitor
) -> bool:
    """Remove, in place, the folds of a displacement in voxels; whether that worked. As :func:`move_coefficients`."""
    if spline is not None:
        bad = move_coefficients(voxels, bad, counted, minimum, spline, monitor)
        if not bool(bad.any()):
            return True
    region = around(bad, (REACH,) * 3)
    part, left = voxels[region], bad[region]
    for _attempt in range(PROJECTIONS):
        current, before = project_corners(part, left, minimum, monitor), int(left.sum())
        after = too_small(current, minimum, monitor) & counted[region]
        if int(after.sum()) > before / 2:  # deep folds, which moves of single corners only spread
            deep = largest_around(after.to(voxels.dtype), DEEP_FOLD_MARGIN) > 0
            part = torch.where(deep, part, current)
            left = too_small(part, minimum, monitor) & counted[region]
            break
        part, left = current, after
        if not bool(left.any()):
            break
    voxels[region], bad[region] = part, left
    return not bool(left.any()) or _smooth(voxels, bad, counted, minimum, monitor)


def _smooth(voxels: Tensor, bad: Tensor, counted: Tensor, minimum: float, monitor: Monitor) -> bool:
    """Low-pass, in place, where it folds, with a rim that grows; whether that succeeded."""
    for number in range(SMOOTHING_ROUNDS):
        monitor.report("repair", number / SMOOTHING_ROUNDS, _("Removing folds"))
        rim = 1 + number // 6
        # Only around folds: smoothing changes rim + 1 voxels around them and looks at 4 more, so that nothing that
        # changes is near the region's edge, where differences are one-sided.
        region = around(bad, (rim + 7,) * 3)
        part = _smooth_around(voxels[region], bad[region], rim)
        voxels[region] = part
        bad[region] = too_small(part, minimum, monitor) & counted[region]
        if not bool(bad.any()):
            return True
    return False


def _smooth_around(voxels: Tensor, bad: Tensor, rim: int) -> Tensor:
    """Blend a low-pass into the bad voxels and a soft rim of ``rim`` voxels around them."""
    weight = _low_pass(largest_around(bad.to(voxels.dtype), rim))
    low_pass = voxels
    for _round in range(min(rim, 4)):
        low_pass = _low_pass(low_pass)
    return voxels + weight * (low_pass - voxels)


def _low_pass(values: Tensor) -> Tensor:
    """Means over 3 x 3 x 3 voxels, axis by axis, the border repeated."""
    for dim in (2, 3, 4):
        length = values.shape[dim]
        wide = torch.cat([values.narrow(dim, 0, 1), values, values.narrow(dim, length - 1, 1)], dim=dim)
        sums = wide.narrow(dim, 0, length) + wide.narrow(dim, 1, length)
        values = sums.add_(wide.narrow(dim, 2, length)).mul_(1 / 3)
    return values


def _relax(voxels: Tensor, minimum: float, monitor: Monitor) -> Tensor:
    """Scale the field towards its mean; det(I + s G) is positive for small s, so halving s ends."""
    mean = voxels.mean(dim=(2, 3, 4), keepdim=True)
    scale = 1.0
    while True:
        scale *= 0.8
        relaxed = mean + scale * (voxels - mean)
        if not bool(too_small(relaxed, minimum, monitor).any()):
            return relaxed
