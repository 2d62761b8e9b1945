"""Instance optimization: refine a displacement field on one pair of scans.

The field lives on a lattice coarser than the scans and is smoothed by two box filters, so that it bends like a
spline; the similarity is evaluated at random points of the structure of interest, which costs a fraction of a dense
evaluation and finds the same field. Terms: similarity (MIND, NGF or local NCC), diffusion or curvature, volume change
with its barrier (``cnn-lung-registration-2021``, section 3.2), masks and landmarks. It starts from any field: a
network's, the global search's, or the identity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.geometry import ImageGrid
from ...core.plans import RefinementLevel, RefinementPlan
from ...core.progress import Monitor
from .. import fields
from ..fields import DisplacementField
from ..losses.mind import mind_ssc
from ..losses.regularity import curvature, diffusion, threshold_at_level, volume_change
from ..losses.similarity import local_ncc, ngf
from ..losses.stencils import box_sum
from ..losses.supervision import keypoint
from .aligned import AlignedPair

STOPPING_WINDOW = 15  # steps over which the smoothed objective must still fall
STOPPING_DECREASE = 2e-3  # of its value, over one window
SMOOTHING = 0.9  # of the objective that the stopping rule watches; random points make single values noisy


@dataclass(frozen=True, eq=False)
class Refined:
    """The refined field on the finest lattice, and the steps taken per level."""

    field: DisplacementField
    steps: tuple[int, ...]


Term = Callable[[DisplacementField], Tensor]


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
        The field on the lattice of the last level, in mm.
    """
    monitor = monitor or Monitor()
    similarity = _similarity(pair, plan)
    monitor.check()
    supervision = _supervision(pair, plan)
    monitor.check()
    current = initial
    taken: list[int] = []
    total = sum(level.steps for level in plan.levels)
    done = 0
    for number, level in enumerate(plan.levels):
        span = monitor.span(done / total, (done + level.steps) / total)
        lattice = pair.grid.coarser(level.factor)
        mask = pair.sliding_mask
        side = None if mask is None else _on_lattice(mask, pair.grid, lattice)
        organs = _organs(pair, plan, level)
        terms = [similarity, *supervision, *organs, *_regularity(plan, number, side)]
        current, steps = _optimize(lattice, current, level, _Spline(side), terms, span)
        taken.append(steps)
        done += level.steps
    return Refined(current, tuple(taken))


def _optimize(
    lattice: ImageGrid,
    initial: DisplacementField,
    level: RefinementLevel,
    spline: _Spline,
    terms: list[Term],
    monitor: Monitor,
) -> tuple[DisplacementField, int]:
    nodes = fields.resample(initial, lattice).displacement.detach().clone().requires_grad_(True)
    optimizer = torch.optim.Adam([nodes], lr=level.rate_mm)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, level.steps)
    watched: list[float] = []
    for step in range(level.steps):
        monitor.report("refine", step / level.steps, "Refining the alignment")
        objective = torch.stack([term(DisplacementField(spline(nodes), lattice)) for term in terms]).sum()
        optimizer.zero_grad(set_to_none=True)
        objective.backward()
        optimizer.step()
        schedule.step()
        value = objective.item()
        watched.append(value if not watched else SMOOTHING * watched[-1] + (1 - SMOOTHING) * value)
        if len(watched) > 2 * STOPPING_WINDOW:
            earlier = watched[-1 - STOPPING_WINDOW]
            if earlier - watched[-1] < STOPPING_DECREASE * abs(earlier):
                break
    return DisplacementField(spline(nodes.detach()), lattice), len(watched)


class _Spline:
    """Two box filters of 3 nodes: a quadratic-like kernel that keeps the field smooth between the nodes.

    With a mask (1 at nodes in it, 0 elsewhere) the filters do not reach across its surface: each side is smoothed
    with its own nodes alone (normalized convolution), so that the inside may slide along its surroundings.
    """

    def __init__(self, mask: Tensor | None) -> None:
        self._sides = [] if mask is None else [(side, self._filtered(side)) for side in (mask, 1 - mask)]

    def __call__(self, nodes: Tensor) -> Tensor:
        if not self._sides:
            return self._filtered(nodes)
        parts = [side * self._filtered(side * nodes) / total.clamp(min=1e-6) for side, total in self._sides]
        return parts[0] + parts[1]

    @staticmethod
    def _filtered(nodes: Tensor) -> Tensor:
        padded = F.pad(nodes, (2,) * 6, mode="replicate")
        return box_sum(box_sum(padded, 3), 3)[..., 2:-2, 2:-2, 2:-2] / 27**2


def _on_lattice(mask: Tensor, grid: ImageGrid, lattice: ImageGrid) -> Tensor:
    inside = fields.warp(mask, grid, fields.identity(lattice, device=mask.device), padding="border")
    return (inside > 0.5).to(mask.dtype)


def _similarity(pair: AlignedPair, plan: RefinementPlan) -> Term:
    if plan.similarity == "mind":
        fixed = mind_ssc(pair.fixed.image, plan.mind_radius, plan.mind_dilation)
        moving = mind_ssc(pair.moving.image, plan.mind_radius, plan.mind_dilation)
        return _PointwiseDifference(pair.grid, fixed, moving, pair.fixed.covered, pair.moving.covered, plan.points)
    if plan.similarity not in ("ngf", "ncc"):
        raise ValueError(f"similarity must be 'mind', 'ngf' or 'ncc', not {plan.similarity!r}")

    def dense(field: DisplacementField) -> Tensor:
        on_grid = fields.resample(field, pair.grid)
        warped = fields.warp(pair.moving.image, pair.grid, on_grid, padding="border")
        with torch.no_grad():
            weight = pair.fixed.covered * fields.warp(pair.moving.covered, pair.grid, on_grid)
        if plan.similarity == "ngf":
            return ngf(pair.fixed.image, warped, pair.grid, weight)
        return local_ncc(pair.fixed.image, warped, mask=weight)

    return dense


def _supervision(pair: AlignedPair, plan: RefinementPlan) -> list[Term]:
    terms: list[Term] = []
    masks = (pair.fixed.masks, pair.moving.masks)
    if plan.masks > 0 and masks[0] is not None and masks[1] is not None:
        terms.append(_mask_difference(pair.grid, masks[0], masks[1], plan))
    fixed, moving = pair.fixed.landmarks, pair.moving.landmarks
    if plan.landmarks > 0 and fixed is not None and moving is not None:
        terms.append(lambda field: plan.landmarks * keypoint(field, fixed, moving))
    return terms


def _organs(pair: AlignedPair, plan: RefinementPlan, level: RefinementLevel) -> list[Term]:
    """Organs that were found automatically, where both scans have data."""
    fixed, moving = pair.fixed.organs, pair.moving.organs
    if level.organs <= 0 or fixed is None or moving is None:
        return []
    near = F.max_pool3d(torch.maximum(fixed, moving).amax(dim=1, keepdim=True), 9, 1, 4) * pair.fixed.covered
    if not bool((near > 0.5).any()):
        return []
    difference = _PointwiseDifference(pair.grid, fixed, moving, near, pair.moving.covered, plan.points)
    return [lambda field: level.organs * 0.5 * difference(field) * fixed.shape[1]]


def _mask_difference(grid: ImageGrid, fixed: Tensor, moving: Tensor, plan: RefinementPlan) -> Term:
    """Squared difference of the masks; near their rims, as deep inside and far outside they have no gradient."""
    near = F.max_pool3d(torch.maximum(fixed, moving).amax(dim=1, keepdim=True), 9, 1, 4)
    difference = _PointwiseDifference(grid, fixed, moving, near, torch.ones_like(near), plan.points)
    return lambda field: plan.masks * 0.5 * difference(field) * fixed.shape[1]


def _regularity(plan: RefinementPlan, level: int, mask: Tensor | None) -> list[Term]:
    terms: list[Term] = []
    if plan.diffusion > 0:
        terms.append(lambda field: plan.diffusion * _diffusion(field, mask))
    if plan.curvature > 0:
        terms.append(lambda field: plan.curvature * curvature(field))
    if plan.volume_change > 0:
        threshold = threshold_at_level(level)
        terms.append(lambda field: plan.volume_change * volume_change(field, threshold))
    return terms


def _diffusion(field: DisplacementField, mask: Tensor | None) -> Tensor:
    """Diffusion; with a mask that of each side by itself, so that a slip along its surface costs nothing."""
    if mask is None:
        return diffusion(field)
    share = mask.mean()
    return share * diffusion(field, mask) + (1 - share) * diffusion(field, 1 - mask)


class _PointwiseDifference:
    """Mean squared difference of fixed features at x and moving features at x + u(x), at random points x."""

    def __init__(
        self, grid: ImageGrid, fixed: Tensor, moving: Tensor, inside: Tensor, valid: Tensor, count: int
    ) -> None:
        self._grid = grid
        self._count = count
        self._candidates = torch.nonzero(inside.reshape(-1) > 0.5)[:, 0]
        self._fixed = fixed[0].flatten(1).T.contiguous()
        # Features last: the values of one point lie together, which halves the time of sampling on a CPU.
        self._moving = torch.cat((moving, valid), dim=1).contiguous(memory_format=torch.channels_last_3d)
        self._generator = torch.Generator(device=fixed.device).manual_seed(0)

    def __call__(self, field: DisplacementField) -> Tensor:
        chosen = self._candidates
        if self._count < len(chosen):
            pick = torch.randint(len(chosen), (self._count,), generator=self._generator, device=chosen.device)
            chosen = chosen[pick]
        index = self._index_of(chosen)
        displacement = self._displacement_voxels(field, index)
        sampled = fields.sample(self._moving, (index + displacement).reshape(1, 3, 1, 1, -1), padding="border")
        values = sampled[0, :, 0, 0].T
        weight = values[:, -1].detach()
        difference = (values[:, :-1] - self._fixed[chosen]).square().mean(dim=1)
        return (difference * weight).sum() / weight.sum().clamp(min=1.0)

    def _index_of(self, chosen: Tensor) -> Tensor:
        """Voxel indices (3, n), order (x, y, z), of flat positions."""
        width, height, _ = self._grid.size
        return torch.stack((chosen % width, chosen // width % height, chosen // (width * height))).float()

    def _displacement_voxels(self, field: DisplacementField, index: Tensor) -> Tensor:
        """The lattice's displacement at points (3, n) of the working grid, in voxels of the working grid."""
        to_lattice = torch.as_tensor(field.grid.physical_to_index @ self._grid.index_to_physical).to(index)
        nodes = to_lattice[:3, :3] @ index + to_lattice[:3, 3:]
        moved = fields.sample(field.displacement, nodes.reshape(1, 3, 1, 1, -1), padding="border")[0, :, 0, 0]
        return torch.as_tensor(self._grid.physical_to_index[:3, :3]).to(moved) @ moved
