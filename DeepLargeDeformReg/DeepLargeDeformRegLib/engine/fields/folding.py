"""Fold-free fields: find where a field folds and repair it with as little change as possible.

The determinant of central differences, which everybody reports, is the mean of the eight determinants that take the
forward or backward difference along each axis (the determinant is linear in each column). The repair therefore
works on the smallest of the eight: once that is positive everywhere, so is the reported one, and so is the
determinant at the corners of every cell of the trilinear field.

Nearly all folds are shallow, and moving their points a little unfolds them (``corner_projection``). A field that is a
spline is moved by its coefficients, so that det J stays as smooth as it was where it is repaired; what folds then is
moved voxel by voxel. Where that fails, the field is low-passed.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from ...core.geometry import ImageGrid
from ...core.progress import Monitor
from ...core.sentences import marked as _
from ..device import constant
from .bspline import COMPOSITION_ROUGHNESS, AxisMatrices, along_axes, fitting_matrices, separable
from .corner_projection import project_corners
from .dilation import largest_around
from .field import DisplacementField, determinant, from_voxels, jacobian_determinant, lengths, to_voxels
from .slabs import by_slabs

SMOOTHING_ROUNDS = 60
DEEP_FOLD_MARGIN = 3  # voxels around what projection leaves, in which its moves are taken back
SLAB_VOXELS = 1 << 18
SPLINE_ROUNDS = 8
SPLINE_PROJECTIONS = 3  # rounds of projection for one round of the spline
SPLINE_AIM = 0.1  # determinant that a move of the spline shall reach
LONGEST_STEP = 6.0
SPLINE_REACH = 6  # nodes: beyond, a spline that was fitted to a move is next to nothing
REACH = 32  # voxels around folds that the repair may look at and change, in all its rounds
MOST_AT_ONCE = 1 << 24  # voxels of a box of folds; where it has more, parts that lie apart are repaired one by one

Box = tuple[slice, ...]
"""Batch, channels, and some planes, lines and columns."""


@dataclass(frozen=True, eq=False)
class _Spline:
    """A field that is a spline, axis by axis (x, y, z).

    Args:
        values: at its voxels, from coefficients, ``(voxels, nodes)`` each.
        fits: coefficients from values, ``(nodes, voxels)`` each.
        reach: voxels that the fit to a move reaches.
    """

    values: AxisMatrices
    fits: AxisMatrices
    reach: list[int]

    @classmethod
    def of(cls, grid: ImageGrid, lattice: ImageGrid) -> _Spline:
        """Of a field on a grid and the lattice of its nodes."""
        values, fits = fitting_matrices(grid, lattice, COMPOSITION_ROUGHNESS)
        return cls(values, fits, [-(-SPLINE_REACH * len(one) // one.shape[1]) for one in values])

    def within(self, box: Box) -> _Spline:
        """The same for a box of the field."""
        places = box[:1:-1]
        values = [one[at] for one, at in zip(self.values, places, strict=True)]
        return _Spline(values, [one[:, at] for one, at in zip(self.fits, places, strict=True)], self.reach)


@dataclass(frozen=True, eq=False)
class Repair:
    """A repaired field, how many voxels folded before, and the largest change of a displacement in mm."""

    field: DisplacementField
    folded_voxels: int
    largest_change_mm: float


def smallest_corner_determinant(field: DisplacementField, monitor: Monitor | None = None) -> Tensor:
    """Smallest of the eight one-sided determinants at each voxel, ``(N, 1, D, H, W)``."""
    return _smallest_determinant(to_voxels(field), monitor or Monitor())


def repair_folds(
    field: DisplacementField,
    minimum: float = 0.01,
    monitor: Monitor | None = None,
    lattice: ImageGrid | None = None,
    in_place: bool = False,
) -> Repair:
    """Change a field until det J >= ``minimum`` > 0 at every voxel.

    First the coefficients of the spline, if it is one, then the points of folded corners are moved as little as
    unfolds them. Where folds persist, the field as it was
    and a rim around are replaced by its low-pass, again and again with a rim that grows; displacements elsewhere are
    untouched. Should that not end (a field of noise), the whole field is relaxed towards its mean displacement, which
    is fold-free, until the last fold is gone.

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
    bad = _too_small(field, minimum, monitor)
    if not bool(bad.any()):
        return Repair(field, 0, 0.0)
    result = field if in_place else DisplacementField(field.displacement.clone(), field.grid)
    folded, changes, unfolded = 0, [0.0], True
    spline = None if lattice is None else _Spline.of(field.grid, lattice)
    reach = [REACH] * 3 if spline is None else [REACH + 2 * count for count in spline.reach]
    boxes = _boxes(bad, reach)
    for box in boxes:
        here = _crop(result, box)
        folded += int((jacobian_determinant(here) <= 0).sum())
        voxels = to_voxels(here)
        small = bad[box]
        if len(boxes) > 1:  # another box may have held some of them
            small = _smallest_determinant(voxels, monitor) < minimum
        if not bool(small.any()):
            continue
        voxels, whole = _unfolded(voxels, small, minimum, spline and spline.within(box), monitor)
        repaired = from_voxels(voxels, here.grid).displacement
        changes.append(float(lengths(repaired - here.displacement).max()))
        result.displacement[box] = repaired
        unfolded &= whole
    if not unfolded:
        relaxed = from_voxels(_relax(to_voxels(result), field, minimum), field.grid)
        changes.append(float(lengths(relaxed.displacement - field.displacement).max()))
        return Repair(relaxed, folded, max(changes))
    return Repair(result, folded, max(changes))


def _unfolded(
    voxels: Tensor, bad: Tensor, minimum: float, spline: _Spline | None, monitor: Monitor
) -> tuple[Tensor, bool]:
    """A displacement in voxels without folds, and whether that succeeded; as :func:`_move_coefficients`."""
    if spline is not None:
        voxels, bad = _move_coefficients(voxels, bad, minimum, spline, monitor)
        if not bool(bad.any()):
            return voxels, True
    current = project_corners(voxels, bad, minimum, monitor)
    left = _smallest_determinant(current, monitor) < minimum
    if not bool(left.any()):
        return current, True
    around = largest_around(left.to(voxels.dtype), DEEP_FOLD_MARGIN) > 0
    current = torch.where(around, voxels, current)
    bad = _smallest_determinant(current, monitor) < minimum
    for number in range(SMOOTHING_ROUNDS):
        monitor.report("repair", number / SMOOTHING_ROUNDS, _("Removing folds"))
        rim = 1 + number // 6
        # Only around folds: smoothing changes rim + 1 voxels around them and looks at 4 more, so that nothing that
        # changes is near the region's edge, where differences are one-sided.
        region = _around(bad, (rim + 7,) * 3)
        part = _smooth_around(current[region], bad[region], rim)
        current[region] = part
        bad[region] = _smallest_determinant(part, monitor) < minimum
        if not bool(bad.any()):
            return current, True
    return current, False


def _too_small(field: DisplacementField, minimum: float, monitor: Monitor) -> Tensor:
    """Where the smallest corner determinant is too small, ``(1, 1, D, H, W)``, boolean; slab by slab."""
    u, depth = field.displacement, field.grid.size[2]

    def small(_: ImageGrid, place: slice) -> Tensor:
        first, stop = max(place.start - 1, 0), min(place.stop + 1, depth)
        part = DisplacementField(u[:, :, first:stop], field.grid.planes(first, stop - first))
        smallest = _smallest_determinant(to_voxels(part), monitor)
        return (smallest < minimum)[:, :, place.start - first : place.stop - first]

    return by_slabs(field.grid, u, small)


def _boxes(bad: Tensor, reach: Sequence[int]) -> list[Box]:
    """The box of all bad voxels and what their repair may reach; where it is large, those of parts that lie apart."""
    box = _around(bad, reach)
    if bad[box].numel() <= MOST_AT_ONCE:
        return [box]
    blocks = bad[0, 0]
    steps = [2 * voxels for voxels in reversed(reach)]
    for axis, step in enumerate(steps):
        blocks = torch.stack([part.any(dim=axis) for part in blocks.split(step, dim=axis)], dim=axis)
    boxes = []
    for place in ndimage.find_objects(ndimage.label(blocks.numpy(), np.ones((3, 3, 3)))[0]):
        ends = [
            (at.start * step - step // 2, at.stop * step + step // 2) for at, step in zip(place, steps, strict=True)
        ]
        boxes.append((slice(None), slice(None), *(slice(max(low, 0), high) for low, high in ends)))
    return boxes


def _crop(field: DisplacementField, box: Box) -> DisplacementField:
    """A box of a field; a view."""
    part = field.displacement[box]
    depth, height, width = part.shape[2:]
    start = [at.start for at in reversed(box[2:])]
    return DisplacementField(part, field.grid.cropped(start, (width, height, depth)))


def _move_coefficients(
    voxels: Tensor, bad: Tensor, minimum: float, spline: _Spline, monitor: Monitor
) -> tuple[Tensor, Tensor]:
    """The field with the folds that the coefficients of a spline can undo undone, and what is left of them.

    What the projection would do to single voxels is fitted by a spline and added, again and again: projections in
    turn onto fields that do not fold and onto splines.

    Args:
        voxels: displacement in voxels ``(1, 3, D, H, W)``.
        bad: where a corner's determinant is below ``minimum``, ``(1, 1, D, H, W)``, boolean.
        minimum: smallest determinant that is left as it is.
        spline: that the field is.
        monitor: cancellation.
    """
    current, left = voxels.clone(), bad.clone()
    count = int(left.sum())
    for _round in range(SPLINE_ROUNDS):
        region = _around(left, spline.reach)
        part = current[region]
        move = project_corners(part, left[region], minimum, monitor, SPLINE_PROJECTIONS) - part
        if not bool(move.any()):
            break
        local = spline.within(region)
        smooth = separable(separable(move, along_axes(local.fits, move)), along_axes(local.values, move))
        smooth *= (smooth * move).sum() / smooth.square().sum()
        smallest = _smallest_determinant(torch.stack((part, part + smooth)).flatten(0, 1), monitor)
        here, moved = (values[left[region][0]] for values in smallest)
        # A spline follows what is narrower than its nodes by less: as far as half of the folds need it.
        steps = (SPLINE_AIM - here) / (moved - here).clamp(min=SPLINE_AIM / LONGEST_STEP)
        part = part + steps.median().clamp(1.0, LONGEST_STEP) * smooth
        folds = _smallest_determinant(part, monitor) < minimum
        before, after = int(left[region].sum()), int(folds.sum())
        if after >= before:
            break
        current[region], left[region] = part, folds
        if after == 0:
            break
    return (current, left) if int(left.sum()) < count else (voxels, bad)


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


def _around(bad: Tensor, margin: Sequence[int]) -> tuple[slice, ...]:
    """The box around all bad voxels ``(1, 1, D, H, W)``, larger by a margin along x, y and z on each side."""
    where = torch.nonzero(bad[0, 0])
    rim = constant(margin[::-1], where)
    low, high = where.amin(dim=0) - rim, where.amax(dim=0) + rim + 1
    box = [slice(max(int(first), 0), int(last)) for first, last in zip(low, high, strict=True)]
    return (slice(None), slice(None), *box)


def _smooth_around(voxels: Tensor, bad: Tensor, rim: int) -> Tensor:
    """Blend a low-pass into the bad voxels and a soft rim of ``rim`` voxels around them."""
    weight = largest_around(bad.to(voxels.dtype), rim)
    weight = F.avg_pool3d(F.pad(weight, (1,) * 6, mode="replicate"), 3, 1)
    low_pass = F.avg_pool3d(F.pad(voxels, (1,) * 6, mode="replicate"), 3, 1)
    for _round in range(min(rim, 4) - 1):
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
