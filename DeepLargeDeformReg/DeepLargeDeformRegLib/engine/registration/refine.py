"""Instance optimization: refine a displacement field on one pair of scans.

The field is a cubic B-spline on a lattice coarser than the scans (``control.py``); the similarity is evaluated at
random voxels of the structure of interest, which costs a fraction of a dense evaluation and finds the same field, and
regularity on the voxels of the nodes. Terms: similarity (MIND, NGF or local NCC), diffusion or curvature, volume
change with its barrier (``cnn-lung-registration-2021``, section 3.2), masks and landmarks. It starts from any field:
a network's, the global search's, or the identity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...core.plans import RefinementLevel, RefinementPlan
from ...core.progress import Monitor
from ...core.sentences import marked as _
from .. import fields
from ..device import constant
from ..fields import DisplacementField, determinant
from ..fields.dilation import largest_around
from ..losses.mind import CHANNELS
from ..losses.regularity import curvature, threshold_at_level, volume_change_penalty
from ..losses.similarity import local_ncc, ngf
from .adam import Adam
from .aligned import AlignedPair
from .control import ControlLattice, RandomVoxels, all_of
from .pointwise import PointwiseDifference, rows_of

STOPPING_WINDOW = 15  # steps over which the smoothed objective must still fall
STOPPING_DECREASE = 2e-3  # of its value, over one window
READ_EVERY = 8  # steps on a GPU, which waits for the processor while that reads the objective
SMOOTHING = 0.9  # of the objective that the stopping rule watches; random points make single values noisy


@dataclass(frozen=True, eq=False)
class Refined:
    """The refined field on the working grid, and the steps taken per level."""

    field: DisplacementField
    steps: tuple[int, ...]


Term = Callable[[ControlLattice, Tensor], Tensor]
"""What is minimized, of nodes on their lattice."""


def refine(
    pair: AlignedPair, initial: DisplacementField, plan: RefinementPlan, monitor: Monitor | None = None
) -> Refined:
    """Minimize the plan's objective, level by level, from an initial field.

    Args:
        pair: linearly aligned scans on a working grid.
        initial: field in mm on any grid.
        plan: levels, terms and weights.
        monitor: progress and cancellation.

    Returns:
        The field on the working grid, in mm.
    """
    monitor = monitor or Monitor()
    similarity = _similarity(pair, plan)
    monitor.check()
    supervision = _supervision(pair, plan)
    monitor.check()
    taken: list[int] = []
    total = sum(level.steps for level in plan.levels)
    done = 0
    control, nodes = None, None
    for number, level in enumerate(plan.levels):
        span = monitor.span(done / total, (done + level.steps) / total)
        finer = ControlLattice(pair.grid, level.factor, pair.sliding_mask)
        known = initial if control is None or nodes is None else control.each(nodes, finer.on_nodes)
        control, nodes = finer, finer.nodes(known)
        terms = [similarity, *supervision, *_organs(pair, plan, level), *_regularity(pair, plan, number)]
        nodes, steps = _optimize(control, nodes, level, terms, span)
        taken.append(steps)
        done += level.steps
    field = initial if control is None or nodes is None else control.on(nodes, all_of(pair.grid))
    return Refined(field, tuple(taken))


def _optimize(
    control: ControlLattice, initial: Tensor, level: RefinementLevel, terms: list[Term], monitor: Monitor
) -> tuple[Tensor, int]:
    """The nodes after a level's steps, and how many there were."""
    nodes = initial.requires_grad_(True)
    optimizer = Adam(nodes, level.rate_mm, level.steps)
    watched: list[float] = []
    unread: list[Tensor] = []
    every = 1 if nodes.device.type == "cpu" else READ_EVERY
    for step in range(level.steps):
        monitor.report("refine", step / level.steps, _("Refining the alignment"))
        objective = torch.stack([term(control, nodes) for term in terms]).sum()
        objective.backward()
        optimizer.step()
        unread.append(objective.detach())
        if len(unread) == every or step == level.steps - 1:
            if _has_settled(watched, torch.stack(unread).tolist()):
                break
            unread.clear()
    return nodes.detach(), len(watched)


def _has_settled(watched: list[float], values: list[float]) -> bool:
    """Add the objective's next values to the smoothed ones; whether it had stopped falling at one of them."""
    settled = False
    for value in values:
        watched.append(value if not watched else SMOOTHING * watched[-1] + (1 - SMOOTHING) * value)
        if len(watched) > 2 * STOPPING_WINDOW:
            earlier = watched[-1 - STOPPING_WINDOW]
            settled |= earlier - watched[-1] < STOPPING_DECREASE * abs(earlier)
    return settled


def _similarity(pair: AlignedPair, plan: RefinementPlan) -> Term:
    if plan.similarity == "mind":
        fixed, moving = (
            scan.similarity_rows(plan.mind_radius, plan.mind_dilation) for scan in (pair.fixed, pair.moving)
        )
        return PointwiseDifference(pair.grid, fixed, moving, CHANNELS, pair.fixed.covered, plan.points)
    if plan.similarity not in ("ngf", "ncc"):
        raise ValueError(f"similarity must be 'mind', 'ngf' or 'ncc', not {plan.similarity!r}")

    everywhere = all_of(pair.grid)

    def dense(control: ControlLattice, nodes: Tensor) -> Tensor:
        on_grid = control.on(nodes, everywhere)
        warped = fields.warp(pair.moving.image, pair.grid, on_grid, padding="border")
        with torch.no_grad():
            weight = pair.fixed.covered * fields.warp(pair.moving.covered, pair.grid, on_grid)
        if plan.similarity == "ngf":
            return ngf(pair.fixed.image, warped, pair.grid, weight)
        return local_ncc(pair.fixed.image, warped, mask=weight)

    return dense


def _supervision(pair: AlignedPair, plan: RefinementPlan) -> list[Term]:
    terms: list[Term] = []
    fixed_masks, moving_masks = pair.fixed.masks, pair.moving.masks
    if plan.masks > 0 and fixed_masks is not None and moving_masks is not None:
        near = _around(fixed_masks, moving_masks)
        rows = rows_of(fixed_masks), rows_of(moving_masks, torch.ones_like(near))
        difference = PointwiseDifference(pair.grid, *rows, fixed_masks.shape[1], near, plan.points // 2)
        terms.append(_weighted(difference, plan.masks, fixed_masks))
    fixed, moving = pair.fixed.landmarks, pair.moving.landmarks
    if plan.landmarks > 0 and fixed is not None and moving is not None and len(fixed):
        terms.append(lambda control, nodes: plan.landmarks * _landmark_distance(control, nodes, fixed, moving))
    return terms


def _landmark_distance(control: ControlLattice, nodes: Tensor, fixed: Tensor, moving: Tensor) -> Tensor:
    """Mean squared distance of the fixed landmarks (n, 3), moved, to the moving ones, mm^2."""
    return (fixed + control.at(nodes, fixed) - moving).square().sum(dim=1).mean()


def _organs(pair: AlignedPair, plan: RefinementPlan, level: RefinementLevel) -> list[Term]:
    """Organs that were found automatically, where both scans have data."""
    fixed, moving = pair.fixed.organs, pair.moving.organs
    if level.organs <= 0 or fixed is None or moving is None:
        return []
    near = _around(fixed, moving) * pair.fixed.covered
    if not bool((near > 0.5).any()):
        return []
    rows = rows_of(fixed), rows_of(moving, pair.moving.covered)
    difference = PointwiseDifference(pair.grid, *rows, fixed.shape[1], near, plan.points // 2)
    return [_weighted(difference, level.organs, fixed)]


def _around(fixed: Tensor, moving: Tensor) -> Tensor:
    """Masks and their surroundings, ``(1, 1, D, H, W)``: deep inside and far outside there is no gradient."""
    return largest_around(torch.maximum(fixed, moving).amax(dim=1, keepdim=True), 4)


def _weighted(difference: PointwiseDifference, weight: float, masks: Tensor) -> Term:
    """Half the sum over the masks ``(1, K, D, H, W)`` of their squared differences, times a weight."""
    return lambda control, nodes: weight * 0.5 * difference(control, nodes) * masks.shape[1]


def _regularity(pair: AlignedPair, plan: RefinementPlan, level: int) -> list[Term]:
    """Diffusion and volume change from the spline's derivatives at random voxels, curvature at the nodes."""
    terms: list[Term] = []
    if plan.diffusion > 0 or plan.volume_change > 0:
        terms.append(_FirstOrder(pair, plan, threshold_at_level(level)))
    if plan.curvature > 0:
        terms.append(lambda control, nodes: plan.curvature * curvature(control.on(nodes, control.on_nodes)))
    return terms


class _FirstOrder:
    """Diffusion, the mean of ``|grad u|^2``, and volume change, the mean of the penalty on det J.

    Where something slides, diffusion is that of each side by itself, so that a slip along its surface costs nothing.
    """

    def __init__(self, pair: AlignedPair, plan: RefinementPlan, threshold: float) -> None:
        self._plan, self._threshold = plan, threshold
        self._random = RandomVoxels(pair.grid, plan.points // 2)  # these terms vary less from voxel to voxel
        # Derivatives are in voxels per voxel: component i along axis j times spacing i / spacing j is without unit.
        spacing = np.array(pair.grid.spacing)
        self._units = constant(spacing / spacing[:, None], pair.fixed.image).reshape(3, 1, 3, 1, 1, 1)

    def __call__(self, control: ControlLattice, nodes: Tensor) -> Tensor:
        voxels = self._random.draw()
        each, whole = control.gradients(nodes, voxels)
        total = nodes.new_zeros(())
        if self._plan.diffusion > 0:
            squares = (each * self._units).square().sum(dim=(0, 2))
            if control.inside is not None:
                inside = (voxels.among(control.inside)[:, 0] > 0.5).to(squares.dtype)
                squares = squares * torch.cat((inside, 1 - inside))
            total = total + self._plan.diffusion * squares.sum() / squares[0].numel()
        if self._plan.volume_change > 0:
            penalty = volume_change_penalty(determinant(whole[0], whole[1], whole[2]), self._threshold)
            total = total + self._plan.volume_change * penalty.mean()
        return total
