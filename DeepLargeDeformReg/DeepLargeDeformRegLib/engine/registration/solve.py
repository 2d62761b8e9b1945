"""One solution of one aligned pair: choose the best initial field, search for what it leaves, refine."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.plans import DeformationPlan, RefinementPlan
from ...core.progress import Monitor
from .. import fields
from ..fields import DisplacementField
from ..fields.bspline import compose_smoothly, resample_smoothly
from .aligned import AlignedPair, AlignedScan
from .refine import refine
from .search import global_search

LINEAR, SEARCH, INITIAL = "linear alignment", "global search", "initial transform"


@dataclass(frozen=True, eq=False)
class Candidate:
    """A field from which a refinement may begin, in mm, and where it comes from: a network's name, or as above."""

    origin: str
    field: DisplacementField


@dataclass(frozen=True, eq=False)
class Solved:
    """Field on its own lattice, mm; which initial field it refines; steps of each level; seconds of each stage."""

    field: DisplacementField
    origin: str
    steps: tuple[int, ...]
    seconds: dict[str, float]


def solve(
    pair: AlignedPair, candidates: Sequence[Candidate], plan: DeformationPlan, monitor: Monitor | None = None
) -> Solved:
    """Begin where the scans match best, and refine.

    Args:
        pair: the scans on the working grid.
        candidates: initial fields; if the linear alignment wins, the global search adds its own.
        plan: searches and refinement; the refinement's self-similarity also judges the candidates.
        monitor: progress and cancellation.
    """
    monitor = monitor or Monitor()
    clock = time.perf_counter()
    radius, dilation = plan.refinement.mind_radius, plan.refinement.mind_dilation
    features = [_features(scan, radius, dilation, plan.organs) for scan in (pair.fixed, pair.moving)]
    monitor.check()
    best = _best(features, pair, candidates)
    if plan.refine:
        best = _searched(features, pair, best, plan, monitor.span(0.0, 0.2))
    del features  # gigabytes of large scans, which the refinement has in another form
    seconds = {"search": time.perf_counter() - clock}
    from_network = best.origin not in (LINEAR, SEARCH, INITIAL)
    if not plan.refine or (from_network and not plan.refine_network):
        return Solved(best.field, best.origin, (), seconds)
    clock = time.perf_counter()
    field, steps = _refined(pair, best, plan.refinement, monitor.span(0.2, 1.0))
    seconds["refine"] = time.perf_counter() - clock
    return Solved(field, best.origin, steps, seconds)


def _features(scan: AlignedScan, radius: int, dilation: int, organs: float) -> Tensor:
    """Self-similarity, and the organs beside it so that a sum of squares over the channels weighs both."""
    similarity = scan.self_similarity(radius, dilation)
    if scan.organs is None or organs <= 0:
        return similarity
    return torch.cat((similarity, scan.organs * organs**0.5), dim=1)


def _searched(
    features: Sequence[Tensor], pair: AlignedPair, best: Candidate, plan: DeformationPlan, monitor: Monitor
) -> Candidate:
    """The candidate, or what searches find from it and from the linear alignment if the scans match better there."""
    found = [best]
    # Outlines and organs keep a network's field right, and it is smoother: less of it folds.
    beside = plan.search_beside_network and pair.fixed.masks is None and pair.fixed.organs is None
    if plan.search and best.origin != INITIAL and (best.origin == LINEAR or beside):
        # Without a network that fits these scans the search finds what refinement alone would not reach.
        span = monitor.span(0.0, 0.7)
        searched = global_search(features[0], features[1], pair.grid, plan.search, span, pair.counted)
        found.append(Candidate(SEARCH, searched))
    if plan.network_search and best.origin not in (LINEAR, INITIAL):
        field = fields.resample(best.field, pair.grid)
        warped = fields.warp(features[1], pair.grid, field, padding="border")
        counted = pair.counted
        if counted is not None:
            counted = counted[0], fields.warp(counted[1], pair.grid, field, padding="border")
        step = global_search(features[0], warped, pair.grid, plan.network_search, monitor.span(0.7, 1.0), counted)
        together = fields.compose(field, fields.resample(step, pair.grid))
        found.append(Candidate(best.origin, together))
    monitor.check()
    return _best(features, pair, found)


def _refined(
    pair: AlignedPair, initial: Candidate, plan: RefinementPlan, monitor: Monitor
) -> tuple[DisplacementField, tuple[int, ...]]:
    """The candidate with its refinement.

    A search finds displacements cell by cell, so within a patient refinement replaces its field by a smoother one.
    What a network or the user gives is smooth and more than the images show, and maps between patients are never as
    smooth as a refinement wants them. There each level adds an update to what it began with, ``field(update(x))``,
    and the update alone pays for its roughness: greedy composition, as in the cascades of Hering et al. 2021 and in
    demons.
    """
    if initial.origin == LINEAR or (initial.origin == SEARCH and not plan.updates):
        refined = refine(pair, initial.field, plan, monitor)
        return refined.field, refined.steps
    field = resample_smoothly(initial.field, pair.grid)
    steps: list[int] = []
    identity = fields.identity(pair.grid, device=pair.fixed.image.device)
    total = sum(level.steps for level in plan.levels)
    for number, level in enumerate(plan.levels):
        done = sum(earlier.steps for earlier in plan.levels[:number])
        span = monitor.span(done / total, (done + level.steps) / total)
        refined = refine(_warped(pair, field, span), identity, dataclasses.replace(plan, levels=(level,)), span)
        field = compose_smoothly(field, refined.field)
        steps.extend(refined.steps)
    return field, tuple(steps)


def _warped(pair: AlignedPair, field: DisplacementField, monitor: Monitor) -> AlignedPair:
    """The pair with its moving scan warped by a field."""
    moving = pair.moving
    masks = None if moving.masks is None else fields.warp(moving.masks, pair.grid, field)
    landmarks = moving.landmarks
    if landmarks is not None:
        landmarks = fields.transform_points(fields.invert(field, monitor=monitor).field, landmarks)
    image = fields.warp(moving.image, pair.grid, field, padding="border")
    covered = fields.warp(moving.covered, pair.grid, field)
    organs = None if moving.organs is None else fields.warp(moving.organs, pair.grid, field)
    return dataclasses.replace(
        pair, moving=AlignedScan(image=image, covered=covered, masks=masks, landmarks=landmarks, organs=organs)
    )


def _best(features: Sequence[Tensor], pair: AlignedPair, candidates: Sequence[Candidate]) -> Candidate:
    """The candidate under which the self-similarities agree best where both scans have data."""
    if len(candidates) == 1:
        return candidates[0]
    fixed, moving = (F.avg_pool3d(tensor, 2) for tensor in features)
    inside, valid = F.avg_pool3d(pair.fixed.covered, 2), F.avg_pool3d(pair.moving.covered, 2)
    coarse = pair.grid.coarser(2)

    def mismatch(candidate: Candidate) -> Tensor:
        field = fields.resample(candidate.field, coarse)
        weight = inside * fields.warp(valid, coarse, field)
        difference = (fields.warp(moving, coarse, field, padding="border") - fixed).square().mean(dim=1, keepdim=True)
        return (difference * weight).sum() / weight.sum().clamp(min=1.0)

    # Read together, as a GPU idles while the processor reads.
    mismatches = torch.stack([mismatch(candidate) for candidate in candidates]).tolist()
    return candidates[mismatches.index(min(mismatches))]
