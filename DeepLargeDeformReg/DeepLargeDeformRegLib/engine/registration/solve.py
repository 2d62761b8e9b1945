"""One solution of one aligned pair: choose where to start, then refine."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ...core.plans import RefinementPlan, SearchLevel
from ...core.progress import Monitor
from .. import fields
from ..fields import DisplacementField
from ..losses.mind import mind_ssc
from .refine import AlignedPair, refine
from .search import global_search

LINEAR, SEARCH, GIVEN = "linear alignment", "global search", "given transform"


@dataclass(frozen=True, eq=False)
class Start:
    """A field to refine, in mm, and where it comes from."""

    origin: str
    field: DisplacementField


@dataclass(frozen=True, eq=False)
class Solved:
    """Field on its own lattice, mm; where it started from; refinement steps of each level; seconds of each stage."""

    field: DisplacementField
    origin: str
    steps: tuple[int, ...]
    seconds: dict[str, float]


def solve(
    pair: AlignedPair,
    starts: Sequence[Start],
    search: Sequence[SearchLevel],
    plan: RefinementPlan,
    refined: bool = True,
    monitor: Monitor | None = None,
    network_search: Sequence[SearchLevel] = (),
    network_refined: bool = True,
) -> Solved:
    """Start where the scans match best, and refine.

    Args:
        pair: the scans on the working grid.
        starts: candidates; if the linear alignment wins, the global search adds its own.
        search: levels of that search; none skips it.
        plan: the refinement, whose self-similarity also judges the starts.
        refined: False returns the start.
        monitor: progress and cancellation.
        network_search: levels of a search for what a network's field leaves; none skips it.
        network_refined: False returns the start if a network gave it.
    """
    monitor = monitor or Monitor()
    clock = time.perf_counter()
    features = [mind_ssc(image, plan.mind_radius, plan.mind_dilation) for image in (pair.fixed, pair.moving)]
    monitor.check()
    start = _best_start(features, pair, starts)
    if start.origin == LINEAR and search and refined:
        # Without a network that fits these scans the search finds what refinement alone would not reach.
        found = global_search(features[0], features[1], pair.grid, search, monitor.span(0.0, 0.2))
        start = _best_start(features, pair, [start, Start(SEARCH, found)])
        monitor.check()
    elif start.origin not in (LINEAR, GIVEN) and network_search and refined:
        seen = fields.warp(features[1], pair.grid, fields.resample(start.field, pair.grid), padding="border")
        step = global_search(features[0], seen, pair.grid, network_search, monitor.span(0.0, 0.2))
        together = fields.compose(fields.resample(start.field, pair.grid), fields.resample(step, pair.grid))
        start = _best_start(features, pair, [start, Start(start.origin, together)])
        monitor.check()
    seconds = {"start": time.perf_counter() - clock}
    from_network = start.origin not in (LINEAR, SEARCH, GIVEN)
    if not refined or (from_network and not network_refined):
        return Solved(start.field, start.origin, (), seconds)
    clock = time.perf_counter()
    field, steps = _refined(pair, start, plan, monitor.span(0.2, 1.0))
    seconds["refine"] = time.perf_counter() - clock
    return Solved(field, start.origin, steps, seconds)


def _refined(
    pair: AlignedPair, start: Start, plan: RefinementPlan, monitor: Monitor
) -> tuple[DisplacementField, tuple[int, ...]]:
    """The start with its refinement.

    A search finds displacements cell by cell, so refinement replaces its field by a smoother one. What a network or
    the user gives is smooth and more than the images show, so each level of refinement adds an update to what it is
    given, ``start(update(x))``, and the update alone pays for its roughness: greedy composition, as in the cascades
    of Hering et al. 2021 and in demons.
    """
    if start.origin in (LINEAR, SEARCH):
        refined = refine(pair, start.field, plan, monitor)
        return refined.field, refined.steps
    field = fields.resample(start.field, pair.grid)
    steps: list[int] = []
    still = fields.identity(pair.grid, device=pair.fixed.device)
    total = sum(level.steps for level in plan.levels)
    for number, level in enumerate(plan.levels):
        done = sum(earlier.steps for earlier in plan.levels[:number])
        span = monitor.span(done / total, (done + level.steps) / total)
        refined = refine(_warped(pair, field, span), still, dataclasses.replace(plan, levels=(level,)), span)
        field = fields.compose(field, fields.resample(refined.field, pair.grid))
        steps.extend(refined.steps)
    return field, tuple(steps)


def _warped(pair: AlignedPair, field: DisplacementField, monitor: Monitor) -> AlignedPair:
    """The pair with its moving side seen through a field."""
    masks, landmarks = pair.moving_masks, pair.moving_landmarks
    return dataclasses.replace(
        pair,
        moving=fields.warp(pair.moving, pair.grid, field, padding="border"),
        valid=fields.warp(pair.valid, pair.grid, field),
        moving_masks=None if masks is None else fields.warp(masks, pair.grid, field),
        moving_landmarks=None
        if landmarks is None
        else fields.transform_points(fields.invert(field, monitor=monitor).field, landmarks),
    )


def _best_start(features: Sequence[Tensor], pair: AlignedPair, candidates: Sequence[Start]) -> Start:
    """The candidate under which the self-similarities agree best where both scans have data."""
    if len(candidates) == 1:
        return candidates[0]
    fixed, moving = (F.avg_pool3d(tensor, 2) for tensor in features)
    inside, valid = F.avg_pool3d(pair.inside, 2), F.avg_pool3d(pair.valid, 2)
    coarse = pair.grid.coarser(2)

    def mismatch(candidate: Start) -> float:
        field = fields.resample(candidate.field, coarse)
        weight = inside * fields.warp(valid, coarse, field)
        difference = (fields.warp(moving, coarse, field, padding="border") - fixed).square().mean(dim=1, keepdim=True)
        return float((difference * weight).sum() / weight.sum().clamp(min=1.0))

    return min(candidates, key=mismatch)
