"""The deformable part of the pipeline on one linearly aligned pair, in one direction or in both."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ...core.geometry import ImageGrid
from ...core.images import Pair
from ...core.progress import Monitor
from ...core.sentences import marked as _
from .. import fields
from ..anatomy.structures import Structures
from ..fields import DisplacementField
from ..fields.bspline import control_lattice, resample_smoothly
from ..models import RegistrationModel
from .aligned import AlignedPair, align
from .intensities import Scalings
from .plan import RegistrationPlan
from .prediction import predict, predict_backward
from .solve import INITIAL, LINEAR, Candidate, solve
from .uncertainty import FEATURES, Evidence, symmetrized

LEAST_VOXELS = 32  # along the longest edge of a working grid, where the scans have as many
BYTES_PER_VOXEL = 250  # measured peak of refinement: 2 x 13 feature channels, their making, the warped scan
BYTES_PER_NODE = 72  # of a spline: three numbers each of nodes, gradient, both moments, step, smoothed nodes


@dataclass(frozen=True, eq=False, kw_only=True)
class DeformInput:
    """What the deformable part needs to know, all on the CPU.

    Args:
        pair: both scans, with segmentations and with the landmarks that guide.
        scalings: how the scans become the intensities in which they are compared; a network takes them as they are.
        linear: homogeneous matrix (4, 4), fixed to moving, LPS mm.
        region: part of the fixed grid that matters.
        initial: field to begin with instead of a network's or a search's; or None.
        structures: of both scans, found automatically; or None.
    """

    pair: Pair
    scalings: Scalings
    linear: npt.NDArray[np.float64]
    region: ImageGrid
    initial: DisplacementField | None = None
    structures: tuple[Structures, Structures] | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Deformed:
    """What the deformable part found.

    Args:
        field: in mm, on the CPU, linear part not included.
        origin: which initial field was refined: a network's name, or one of those of ``solve.py``.
        steps: refinement steps of each level.
        seconds: per stage.
        evidence: what tells where the field errs, on its grid; None unless the plan asks for it.
        round_trip_mm: mean distance by which forward and backward run missed each other before they were made to
            agree; None without a symmetric run.
        backward: the run in the other direction as it ended, like the field; None if there was none.
        lattice: of which the field is a cubic B-spline; None where it is no smoother than its voxels, as a network's
            own map, or one that slides along a surface.
    """

    field: DisplacementField
    origin: str
    steps: tuple[int, ...]
    seconds: dict[str, float]
    evidence: Evidence | None = None
    round_trip_mm: float | None = None
    backward: DisplacementField | None = None
    lattice: ImageGrid | None = None


def voxels_that_fit(free_bytes: float, plan: RegistrationPlan) -> int:
    """Voxels of a working grid that leave a quarter of the memory free, with the nodes of the finest lattice."""
    finest = min((level.factor for level in plan.deformation.refinement.levels), default=None)
    splines = 2 if plan.preset.sliding and plan.guide else 1
    nodes = 0.0 if finest is None else splines / finest**3  # for each voxel
    return max(int(0.75 * free_bytes / (BYTES_PER_VOXEL + BYTES_PER_NODE * nodes)), 32**3)


def working_spacing(region: ImageGrid, wanted_mm: float, most_voxels: int) -> float:
    """The wanted spacing (mm), or the finest one at which the region has at most ``most_voxels``."""
    spacing = wanted_mm
    while np.prod(region.with_spacing(spacing).size) > most_voxels:
        spacing *= 1.1
    return spacing


def wanted_spacing(region: ImageGrid, scans: Sequence[ImageGrid], preset_mm: float) -> float:
    """The preset's spacing (mm), a finer one for a small region, as of an inner ear or a mouse, or a coarser one.

    Args:
        region: part of the fixed grid that matters.
        scans: grids of both scans. For a small region nothing finer than their voxels is wanted, and nowhere less
            than a third of a voxel of the finer scan, which would take long and tell nothing.
        preset_mm: spacing for a region of ordinary size.
    """
    voxels = [min(scan.spacing) for scan in scans]
    return max(min(preset_mm, max(max(region.extent) / LEAST_VOXELS, *voxels)), min(voxels) / 3)


def deform(
    data: DeformInput,
    plan: RegistrationPlan,
    spacing_mm: float,
    model: RegistrationModel | None,
    device: torch.device,
    monitor: Monitor,
) -> Deformed:
    """Begin with the field of a network, of a search or of the user, whichever matches best, and refine.

    Args:
        data: scans and guidance.
        plan: what to do.
        spacing_mm: of the working grid.
        model: network for the initial field, or None.
        device: where to compute.
        monitor: progress and cancellation.
    """
    grid = data.region.with_spacing(spacing_mm)
    deformation = plan.deformation.at_spacing(min(1.0, spacing_mm / plan.preset.spacing_mm))
    pair = align(
        data.pair, data.scalings, data.linear, grid, plan.guide, plan.preset.sliding, data.structures, device
    )
    monitor.check()
    first = monitor.span(0.0, 0.5 if plan.symmetric else 1.0)
    clock = time.perf_counter()
    candidates = _forward(data, grid, model, device, first.span(0.0, 0.2))
    seconds = {"network": time.perf_counter() - clock}
    solved = solve(pair, candidates, deformation, first.span(0.2, 1.0))
    seconds.update(solved.seconds)
    field, round_trip, backward = resample_smoothly(solved.field, grid), None, None
    solutions: list[DisplacementField] = []
    if plan.symmetric:
        clock = time.perf_counter()
        second = monitor.span(0.5, 1.0)
        candidates = _backward(data, grid, model, device, second.span(0.0, 0.2))
        opposite = solve(pair.swapped(), candidates, deformation, second.span(0.2, 1.0))
        backward = resample_smoothly(opposite.field, grid)
        round_trip = float(fields.lengths(fields.compose(backward, field).displacement).mean())
        mean = symmetrized(field, backward, monitor)
        solutions = [field, DisplacementField(2 * mean.displacement - field.displacement, grid)]
        field = mean
        seconds["backward"] = time.perf_counter() - clock
    evidence = None
    if plan.uncertainty and solved.steps:  # the law was fitted to refined maps and holds for no other
        clock = time.perf_counter()
        monitor.check()
        evidence = _evidence(pair, field, solutions)
        seconds["uncertainty"] = time.perf_counter() - clock
    return Deformed(
        field=field.detach().to("cpu"),
        origin=solved.origin,
        steps=solved.steps,
        seconds=seconds,
        evidence=evidence,
        round_trip_mm=round_trip,
        backward=None if backward is None else backward.detach().to("cpu"),
        lattice=control_lattice(grid, 1) if solved.steps and pair.sliding_mask is None else None,
    )


def _evidence(pair: AlignedPair, field: DisplacementField, solutions: list[DisplacementField]) -> Evidence:
    warped = fields.warp(pair.moving.image, pair.grid, field, padding="border")
    left_out, counted = None, pair.counted
    if counted is not None:
        left_out = 1 - counted[0] * fields.warp(counted[1], pair.grid, field, padding="border")
    features = pair.fixed.self_similarity(*FEATURES)
    return Evidence.of(pair.fixed.image, warped, field, solutions, left_out, features).to("cpu")


def _forward(
    data: DeformInput, grid: ImageGrid, model: RegistrationModel | None, device: torch.device, monitor: Monitor
) -> list[Candidate]:
    """Initial fields from the fixed to the moving scan: the user's; or else the identity, and the network's."""
    if data.initial is not None:
        return [Candidate(INITIAL, data.initial.to(device))]
    return _proposals(predict, data, grid, model, device, monitor)


def _backward(
    data: DeformInput, grid: ImageGrid, model: RegistrationModel | None, device: torch.device, monitor: Monitor
) -> list[Candidate]:
    """Likewise from the moving scan, as it is aligned, to the fixed one."""
    if data.initial is not None:
        return [Candidate(INITIAL, fields.invert(data.initial.to(device), monitor=monitor).field)]
    return _proposals(predict_backward, data, grid, model, device, monitor)


def _proposals(
    predict_one: Callable[..., DisplacementField],
    data: DeformInput,
    grid: ImageGrid,
    model: RegistrationModel | None,
    device: torch.device,
    monitor: Monitor,
) -> list[Candidate]:
    candidates = [Candidate(LINEAR, fields.identity(grid, device=device))]
    if model is not None:
        monitor.report("network", 0.0, _("Running the network"))
        field = predict_one(data.pair, data.linear, grid, model, monitor)
        candidates.append(Candidate(model.card.name, field.to(device)))
    return candidates
