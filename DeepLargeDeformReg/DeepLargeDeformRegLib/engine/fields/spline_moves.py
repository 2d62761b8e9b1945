"""Unfold a field that is a cubic B-spline by moving its coefficients, so that det J stays as smooth as it was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ...core.geometry import ImageGrid
from ...core.progress import Monitor
from .boxes import Box, around
from .bspline import COMPOSITION_ROUGHNESS, AxisMatrices, along_axes, fitting_matrices, separable
from .corner_determinants import smallest_at, too_small
from .corner_projection import project_corners

ROUNDS = 40  # a deep fold on a fine grid takes many
PROJECTIONS = 3  # rounds of projection for one round of the spline
# Determinants that a move of the spline shall reach, in units of the smallest that is left standing; the next where
# one has folded more than it unfolds, as where much is squeezed to little more than that.
AIMS = (10.0, 3.0, 1.5, 1.25, 1.1)
LONGEST_STEP = 6.0
REACH = 6  # nodes: beyond, a spline that was fitted to a move is next to nothing


@dataclass(frozen=True, eq=False)
class Spline:
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
    def of(cls, grid: ImageGrid, lattice: ImageGrid) -> Spline:
        """Of a field on a grid and the lattice of its nodes."""
        values, fits = fitting_matrices(grid, lattice, COMPOSITION_ROUGHNESS)
        return cls(values, fits, [-(-REACH * len(one) // one.shape[1]) for one in values])

    def within(self, box: Box) -> Spline:
        """The same for a box of the field, with the nodes that act nowhere else: what they move ends within it."""
        values, fits = [], []
        for value, fit, at in zip(self.values, self.fits, box[:1:-1], strict=True):
            beyond = value[: at.start].any(axis=0) | value[at.stop :].any(axis=0)
            nodes = np.flatnonzero(value[at].any(axis=0) & ~beyond)
            values.append(value[at][:, nodes])
            fits.append(fit[nodes][:, at])
        return Spline(values, fits, self.reach)

    def fitted(self, move: Tensor) -> Tensor:
        """The spline closest to a move ``(1, 3, D, H, W)`` of the voxels."""
        return separable(separable(move, along_axes(self.fits, move)), along_axes(self.values, move))


def move_coefficients(
    voxels: Tensor, bad: Tensor, counted: Tensor, minimum: float, spline: Spline, monitor: Monitor
) -> Tensor:
    """Undo, in place, the folds that the coefficients of a spline can undo; returns what is left of them.

    What the projection would do to single voxels is fitted by a spline and added, again and again: projections in
    turn onto fields that do not fold and onto splines.

    Args:
        voxels: displacement in voxels ``(1, 3, D, H, W)``.
        bad: where a corner's determinant is below ``minimum``, ``(1, 1, D, H, W)``, boolean.
        counted: where folds count, as ``bad``.
        minimum: smallest determinant that is left as it is.
        spline: that the field is.
        monitor: cancellation.
    """
    left = bad.clone()
    aims = list(AIMS)
    for _round in range(ROUNDS):
        region = around(left, spline.reach)
        part, folded = voxels[region], left[region]
        aim = aims[0] * minimum
        move = project_corners(part, folded, minimum, monitor, PROJECTIONS, 2 * aim) - part
        if not bool(move.any()):
            break
        smooth = spline.within(region).fitted(move)
        if not bool(smooth.any()):
            break
        smooth *= (smooth * move).sum() / smooth.square().sum()
        places = folded.flatten().nonzero()[:, 0]
        here, moved = smallest_at(part, places), smallest_at(part + smooth, places)
        # A spline follows what is narrower than its nodes by less: as far as half of the folds need it.
        steps = (aim - here) / (moved - here).clamp(min=aim / LONGEST_STEP)
        part = smooth.mul_(steps.median().clamp(1.0, LONGEST_STEP)).add_(part)
        folds = too_small(part, minimum, monitor) & counted[region]
        after = int(folds.sum())
        if after >= len(places):
            aims.pop(0)
        else:
            voxels[region], left[region] = part, folds
        if after == 0 or not aims:
            break
    return left
