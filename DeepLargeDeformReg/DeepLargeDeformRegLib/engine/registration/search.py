"""Global search without training: all displacements within a radius, selected by messages and made smooth.

Every displacement of a dense lattice of candidates is scored at every coarse voxel, and messages along the axes of
these voxels tell each what its candidates cost the others (``messages.py``). Then, after Siebert, Hansen and
Heinrich, "Fast 3D registration with accurate optimisation and little learning for Learn2Reg 2021" (convexAdam), which
follows Steinbruecker et al. (ICCV 2009), the best candidate near a smooth field and the smooth field near the best
candidates are found in turn, with a coupling that closes. Searched again on finer cells, over what the coarser search
left, as deeds does (Heinrich et al., IEEE TMI 2013).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.geometry import ImageGrid
from ...core.plans import SearchLevel
from ...core.progress import Monitor
from ...core.sentences import marked as _
from .. import fields
from ..fields import DisplacementField
from .messages import LEVELS, as_integers, pass_messages

TIE = 1e-4  # times a typical cost, for the farthest candidate
TINY = 1e-6  # a typical cost of scans that are the same everywhere
LEAST_TRUST = 1e-3  # in what does not count, so that deep within it there is something to take a mean of
STIFFNESS = 0.2  # what neighbors pay per squared step between them, times a typical cost
COUPLING = (0.0, 0.03, 0.3, 3.0)  # times a typical cost, per squared step

Counted = tuple[Tensor, Tensor]
"""Where fixed and moving features count, 0..1, ``(1, 1, D, H, W)`` each."""


def global_search(
    fixed: Tensor,
    moving: Tensor,
    grid: ImageGrid,
    levels: Sequence[SearchLevel],
    monitor: Monitor | None = None,
    counted: Counted | None = None,
) -> DisplacementField:
    """Displacement field by coupled-convex searches, coarse to fine, each on the moving features warped so far.

    Args:
        fixed: features ``(1, C, D, H, W)`` on ``grid``.
        moving: features of the linearly aligned moving scan on the same grid.
        grid: working grid.
        levels: coarse to fine.
        monitor: progress and cancellation.
        counted: where the fixed and the moving features count; None where all do.

    Returns:
        Field in mm on the cells of the last level.
    """
    monitor = monitor or Monitor()
    found: DisplacementField | None = None
    for number, level in enumerate(levels):
        factor = min(level.factor, *grid.size)
        # Averaged before they are warped: an eighth or less of the voxels to interpolate.
        cells = grid.coarser(factor)
        reference, warped = F.avg_pool3d(fixed, factor), F.avg_pool3d(moving, factor)
        counts: Counted | None = None
        if counted is not None:
            counts = F.avg_pool3d(counted[0], factor), F.avg_pool3d(counted[1], factor)
        if found is not None:
            so_far = fields.resample(found, cells)
            warped = fields.warp(warped, cells, so_far, padding="border")
            if counts is not None:
                counts = counts[0], fields.warp(counts[1], cells, so_far, padding="border")
        span = monitor.span(number / len(levels), (number + 1) / len(levels))
        step = coupled_convex(reference, warped, cells, level.radius, span, counts)
        found = step if found is None else fields.compose(found, step)
    return found if found is not None else fields.identity(grid, device=fixed.device)


def coupled_convex(
    fixed: Tensor,
    moving: Tensor,
    grid: ImageGrid,
    radius: int,
    monitor: Monitor | None = None,
    counted: Counted | None = None,
) -> DisplacementField:
    """Displacement field by exhaustive search, messages between neighbors and coupled-convex smoothing.

    Args:
        fixed: features ``(1, C, D, H, W)`` on ``grid``.
        moving: features of the moving scan on the same grid (after linear alignment).
        grid: coarse grid; one of its voxels is the step of the search.
        radius: search radius in voxels; ``(2 radius + 1)^3`` candidates a voxel.
        monitor: progress and cancellation.
        counted: where the fixed and the moving features count; None where all do. What does not count has no vote,
            and its displacement follows from around it.

    Returns:
        Field in mm on ``grid``.
    """
    monitor = monitor or Monitor()

    def report(share: float) -> None:
        monitor.report("search", share, _("Searching for large displacements"))

    candidates = _candidates(radius, fixed)
    cost = _costs(fixed, moving, radius, report)
    trust = None
    if counted is not None:
        _leave_out(cost, counted, radius)
        trust = counted[0].clamp(min=LEAST_TRUST)
    cost = as_integers(cost.div_(cost.mean().clamp(min=TINY)))
    cost = pass_messages(cost, radius, STIFFNESS, lambda share: report(0.4 + 0.3 * share))
    # Where all candidates fit alike, as in constant background, the smallest wins and not the first, the farthest.
    ties = TIE * candidates.square().sum(dim=1) / max(3 * radius**2, 1)
    field = fixed.new_zeros((1, 3, *grid.shape))
    for number, coupling in enumerate(COUPLING):
        report(0.7 + 0.3 * number / len(COUPLING))
        near = [_near(cost[z], candidates, ties, field[0, :, z], coupling) for z in range(cost.shape[0])]
        field = _smooth(torch.stack(near).permute(3, 0, 1, 2)[None], trust)
    return fields.from_voxels(field, grid)


def _candidates(radius: int, like: Tensor) -> Tensor:
    """All displacements in voxels ``((2 radius + 1)^3, 3)``, components (x, y, z)."""
    steps = torch.arange(-radius, radius + 1, dtype=like.dtype, device=like.device)
    z, y, x = torch.meshgrid(steps, steps, steps, indexing="ij")
    return torch.stack((x, y, z), dim=-1).reshape(-1, 3)


def _costs(fixed: Tensor, moving: Tensor, radius: int, report: Callable[[float], None]) -> Tensor:
    """Squared feature difference ``(D, K, H, W)`` of every candidate; plane by plane to stay in cache."""
    depth, height, width = fixed.shape[2:]
    side = 2 * radius + 1
    padded = F.pad(moving, (radius,) * 6, mode="replicate")[0]
    cost = fixed.new_empty((depth, side**3, height, width))
    for z in range(depth):
        report(0.4 * z / depth)
        reference = fixed[0, :, z, None]
        for dy in range(side):
            for dx in range(side):
                window = padded[:, z : z + side, dy : dy + height, dx : dx + width]
                difference = (window - reference).square().sum(dim=0)
                cost[z, dy * side + dx :: side * side] = difference
    return cost


def _leave_out(cost: Tensor, counted: Counted, radius: int) -> None:
    """Take the vote from what does not count: such a candidate costs what the others cost on average."""
    side = 2 * radius + 1
    fixed, moving = counted[0][0, 0], F.pad(counted[1], (radius,) * 6, mode="replicate")[0, 0]
    for z in range(cost.shape[0]):
        windows = moving[z : z + side].unfold(1, side, 1).unfold(2, side, 1)
        counts = windows.permute(0, 3, 4, 1, 2).reshape(cost[z].shape)
        average = (cost[z] * counts).sum(dim=0) / counts.sum(dim=0).clamp(min=TINY)
        cost[z] = fixed[z] * torch.lerp(average.expand_as(counts), cost[z], counts)


def _near(cost: Tensor, candidates: Tensor, ties: Tensor, field: Tensor, coupling: float) -> Tensor:
    """Best candidate near a field for one plane: cost (K, H, W), ties (K,), field (3, H, W) -> (H, W, 3)."""
    # |c - u|^2 without |u|^2, which is the same for all candidates; one product of matrices adds it to the costs.
    lengths = coupling * candidates.square().sum(dim=1) + ties
    weights = LEVELS * torch.cat((-2 * coupling * candidates, lengths[:, None]), dim=1)
    values = torch.cat((field, torch.ones_like(field[:1]))).flatten(1)
    near = torch.addmm(cost.flatten(1).to(field.dtype), weights, values).min(dim=0).indices
    return candidates[near].reshape(*cost.shape[1:], 3)


def _smooth(field: Tensor, trust: Tensor | None = None) -> Tensor:
    """Two box filters of 3 voxels, about a Gaussian of 1.2 voxels; weighted by trust (Knutsson and Westin 1993)."""
    if trust is not None:
        return _smooth(field * trust) / _smooth(trust)
    padded = F.pad(field, (2,) * 6, mode="replicate")
    return F.avg_pool3d(F.avg_pool3d(padded, 3, 1), 3, 1)
