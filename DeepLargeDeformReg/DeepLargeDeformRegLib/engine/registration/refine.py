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

STOPPING_WINDOW = 15  # steps over which the smoothed objective must still fall
STOPPING_DECREASE = 2e-3  # of its value, over one window
SMOOTHING = 0.9  # of the objective that the stopping rule watches; random points make single values noisy


@dataclass(frozen=True, eq=False)
class AlignedPair:
    """A linearly aligned pair on one working grid, all ``(1, C, D, H, W)``.

    Args:
        grid: working grid.
        fixed: fixed intensities.
        moving: moving intensities, resampled through the linear alignment.
        inside: where the similarity counts in the fixed scan (0..1).
        valid: where the moving scan has data (0..1).
        fixed_masks: one channel a structure, 0..1; or None.
        moving_masks: the same structures of the moving scan; or None.
        fixed_landmarks: LPS mm (n, 3); or None.
        moving_landmarks: partners, mapped back through the linear alignment, LPS mm (n, 3); or None.
        organ: the fixed organ whose surface slides along its surroundings, 0..1; or None.
    """

    grid: ImageGrid
    fixed: Tensor
    moving: Tensor
    inside: Tensor
    valid: Tensor
    fixed_masks: Tensor | None = None
    moving_masks: Tensor | None = None
    fixed_landmarks: Tensor | None = None
    moving_landmarks: Tensor | None = None
    organ: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Refined:
    """The refined field on the finest lattice, the objective at each step, and the steps taken per level."""

    field: DisplacementField
    history: tuple[float, ...]
    steps: tuple[int, ...]


Term = Callable[[DisplacementField], Tensor]


def refine(
    pair: AlignedPair, start: DisplacementField, plan: RefinementPlan, monitor: Monitor | None = None
) -> Refined:
    """Minimize the plan's objective, level by level, from a starting field.

    Args:
        pair: linearly aligned scans on a working grid.
        start: field in mm on any grid.
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
    current, history, taken = start, [], []
    total = sum(level.steps for level in plan.levels)
    done = 0
    for number, level in enumerate(plan.levels):
        span = monitor.span(done / total, (done + level.steps) / total)
        lattice = pair.grid.coarser(level.factor)
        organ = None if pair.organ is None else _on_lattice(pair.organ, pair.grid, lattice)
        terms = [similarity, *supervision, *_regularity(plan, number, organ)]
        current, values = _optimize(lattice, current, level, _Spline(organ), terms, span)
        history.extend(values)
        taken.append(len(values))
        done += level.steps
    return Refined(current, tuple(history), tuple(taken))


def _optimize(
    lattice: ImageGrid,
    start: DisplacementField,
    level: RefinementLevel,
    spline: _Spline,
    terms: list[Term],
    monitor: Monitor,
) -> tuple[DisplacementField, list[float]]:
    nodes = fields.resample(start, lattice).displacement.detach().clone().requires_grad_(True)
    optimizer = torch.optim.Adam([nodes], lr=level.rate_mm)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, level.steps)
    values: list[float] = []
    watched: list[float] = []
    for step in range(level.steps):
        monitor.report("refine", step / level.steps, "Refining the alignment")
        objective = torch.stack([term(DisplacementField(spline(nodes), lattice)) for term in terms]).sum()
        optimizer.zero_grad(set_to_none=True)
        objective.backward()
        optimizer.step()
        schedule.step()
        values.append(objective.item())
        watched.append(values[-1] if not watched else SMOOTHING * watched[-1] + (1 - SMOOTHING) * values[-1])
        if len(watched) > 2 * STOPPING_WINDOW:
            earlier = watched[-1 - STOPPING_WINDOW]
            if earlier - watched[-1] < STOPPING_DECREASE * abs(earlier):
                break
    return DisplacementField(spline(nodes.detach()), lattice), values


class _Spline:
    """Two box filters of 3 nodes: a quadratic-like kernel that keeps the field smooth between the nodes.

    With an organ (1 at nodes in it, 0 elsewhere) the filters do not reach across its surface: each side is smoothed
    with its own nodes alone (normalized convolution), so that the organ may slide along its surroundings.
    """

    def __init__(self, organ: Tensor | None) -> None:
        self._sides = [] if organ is None else [(side, self._filtered(side)) for side in (organ, 1 - organ)]

    def __call__(self, nodes: Tensor) -> Tensor:
        if not self._sides:
            return self._filtered(nodes)
        parts = [side * self._filtered(side * nodes) / total.clamp(min=1e-6) for side, total in self._sides]
        return parts[0] + parts[1]

    @staticmethod
    def _filtered(nodes: Tensor) -> Tensor:
        padded = F.pad(nodes, (2,) * 6, mode="replicate")
        return box_sum(box_sum(padded, 3), 3)[..., 2:-2, 2:-2, 2:-2] / 27**2


def _on_lattice(organ: Tensor, grid: ImageGrid, lattice: ImageGrid) -> Tensor:
    inside = fields.warp(organ, grid, fields.identity(lattice, device=organ.device), padding="border")
    return (inside > 0.5).to(organ.dtype)


def _similarity(pair: AlignedPair, plan: RefinementPlan) -> Term:
    if plan.similarity == "mind":
        fixed = mind_ssc(pair.fixed, plan.mind_radius, plan.mind_dilation)
        moving = mind_ssc(pair.moving, plan.mind_radius, plan.mind_dilation)
        return _PointwiseDifference(pair.grid, fixed, moving, pair.inside, pair.valid, plan.points)
    if plan.similarity not in ("ngf", "ncc"):
        raise ValueError(f"similarity must be 'mind', 'ngf' or 'ncc', not {plan.similarity!r}")

    def dense(field: DisplacementField) -> Tensor:
        on_grid = fields.resample(field, pair.grid)
        warped = fields.warp(pair.moving, pair.grid, on_grid, padding="border")
        with torch.no_grad():
            weight = pair.inside * fields.warp(pair.valid, pair.grid, on_grid)
        if plan.similarity == "ngf":
            return ngf(pair.fixed, warped, pair.grid, weight)
        return local_ncc(pair.fixed, warped, mask=weight)

    return dense


def _supervision(pair: AlignedPair, plan: RefinementPlan) -> list[Term]:
    terms: list[Term] = []
    if plan.masks > 0 and pair.fixed_masks is not None and pair.moving_masks is not None:
        # Deep inside and far outside of a structure the masks have no gradient: points near its rim suffice.
        extent = torch.maximum(pair.fixed_masks, pair.moving_masks).amax(dim=1, keepdim=True)
        near = F.max_pool3d(extent, 9, 1, 4)
        difference = _PointwiseDifference(
            pair.grid, pair.fixed_masks, pair.moving_masks, near, torch.ones_like(near), plan.points
        )
        terms.append(lambda field: plan.masks * 0.5 * difference(field) * pair.fixed_masks.shape[1])  # type: ignore[union-attr]
    if plan.landmarks > 0 and pair.fixed_landmarks is not None and pair.moving_landmarks is not None:
        fixed, moving = pair.fixed_landmarks, pair.moving_landmarks
        terms.append(lambda field: plan.landmarks * keypoint(field, fixed, moving))
    return terms


def _regularity(plan: RefinementPlan, level: int, organ: Tensor | None) -> list[Term]:
    terms: list[Term] = []
    if plan.diffusion > 0:
        terms.append(lambda field: plan.diffusion * _diffusion(field, organ))
    if plan.curvature > 0:
        terms.append(lambda field: plan.curvature * curvature(field))
    if plan.volume_change > 0:
        threshold = threshold_at_level(level)
        terms.append(lambda field: plan.volume_change * volume_change(field, threshold))
    return terms


def _diffusion(field: DisplacementField, organ: Tensor | None) -> Tensor:
    """Diffusion; with an organ that of each side by itself, so that a slip along its surface costs nothing."""
    if organ is None:
        return diffusion(field)
    share = organ.mean()
    return share * diffusion(field, organ) + (1 - share) * diffusion(field, 1 - organ)


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
