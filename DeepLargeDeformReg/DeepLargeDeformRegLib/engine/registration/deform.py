"""The deformable part of the pipeline on one linearly aligned pair: start, refinement, and their memory plan."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...core.geometry import ImageGrid
from ...core.images import LabelMap, LandmarkPairs, Volume
from ...core.plans import RefinementLevel, RefinementPlan
from ...core.presets import Preset
from ...core.progress import Monitor
from .. import fields
from ..fields import DisplacementField, as_tensor
from ..models import RegistrationModel
from .prediction import predict
from .refine import AlignedPair
from .solve import GIVEN, LINEAR, Solved, Start, solve
from .uncertainty import Evidence, symmetrized

BYTES_PER_VOXEL = 250  # measured peak of refinement: 2 x 13 feature channels, their making, the warped scan
MARGIN_MM = 15.0  # around an organ: what its surface needs to see of its surroundings


@dataclass(frozen=True, eq=False)
class DeformInput:
    """What the deformable part needs to know, all on the CPU.

    Args:
        fixed: fixed scan, in the preset's intensities.
        moving: moving scan, likewise.
        fixed_raw: fixed scan in raw intensities, for a network.
        moving_raw: moving scan in raw intensities.
        linear: homogeneous matrix (4, 4), fixed to moving, LPS mm.
        region: part of the fixed grid that matters.
        fixed_labels: guiding segmentation or None.
        moving_labels: its partner or None.
        shared_labels: pairs of values (fixed, moving) of the structures that both have.
        landmarks: guiding landmarks or None.
        start: field to start from instead of a network or a search; or None.
    """

    fixed: Volume
    moving: Volume
    fixed_raw: Volume
    moving_raw: Volume
    linear: npt.NDArray[np.float64]
    region: ImageGrid
    fixed_labels: LabelMap | None = None
    moving_labels: LabelMap | None = None
    shared_labels: tuple[tuple[int, int], ...] = ()
    landmarks: LandmarkPairs | None = None
    start: DisplacementField | None = None


@dataclass(frozen=True)
class DeformPlan:
    """How much of the deformable part is done, and at which resolution."""

    preset: Preset
    spacing_mm: float
    refine: bool
    iterations: int | None = None
    regularity: float = 1.0
    symmetric: bool = False
    uncertainty: bool = True
    network_refined: bool = True


@dataclass(frozen=True, eq=False)
class Deformed:
    """What the deformable part found.

    Args:
        field: in mm, on the CPU, linear part not included.
        origin: where it started from.
        steps: refinement steps of each level.
        seconds: per stage.
        evidence: what tells where the field errs, on its grid; None unless the plan asks for it.
        round_trip_mm: mean distance by which forward and backward run missed each other before they were made to
            agree; None without a symmetric run.
        backward: the run in the other direction as it ended, like the field; None if there was none.
    """

    field: DisplacementField
    origin: str
    steps: tuple[int, ...]
    seconds: dict[str, float]
    evidence: Evidence | None = None
    round_trip_mm: float | None = None
    backward: DisplacementField | None = None


def voxels_that_fit(free_bytes: float) -> int:
    """Voxels of a working grid that leave a quarter of the memory free."""
    return max(int(0.75 * free_bytes / BYTES_PER_VOXEL), 32**3)


def working_spacing(region: ImageGrid, wanted_mm: float, most_voxels: int) -> float:
    """The wanted spacing (mm), or the finest one at which the region has at most ``most_voxels``."""
    spacing = wanted_mm
    while np.prod(region.with_spacing(spacing).size) > most_voxels:
        spacing *= 1.1
    return spacing


def deform(
    given: DeformInput,
    plan: DeformPlan,
    model: RegistrationModel | None,
    device: torch.device,
    monitor: Monitor,
) -> Deformed:
    """Start from a network, a search or a given field, whichever matches best, and refine.

    Args:
        given: scans and guidance.
        plan: what to do.
        model: network for the start, or None.
        device: where to compute.
        monitor: progress and cancellation.
    """
    grid = given.region.with_spacing(plan.spacing_mm)
    pair = _aligned_pair(given, grid, plan.preset, device)
    monitor.check()
    refinement = _refinement(plan, given)
    runs = 1 + plan.symmetric
    spans = [monitor.span(number / runs, (number + 1) / runs) for number in range(runs)]

    clock = time.perf_counter()
    starts = _starts(given, grid, model, device, spans[0].span(0.0, 0.2))
    seconds = {"network": time.perf_counter() - clock}
    forward = _solve(pair, starts, plan, refinement, spans[0].span(0.2, 1.0))
    seconds.update(forward.seconds)
    field, round_trip, backward = fields.resample(forward.field, grid), None, None
    solutions: list[DisplacementField] = []
    if plan.symmetric:
        clock = time.perf_counter()
        opposite = _aligned_pair(given, grid, plan.preset, device, reverse=True)
        monitor.check()
        starts = _starts(given, grid, model, device, spans[1].span(0.0, 0.2), reverse=True)
        backward = fields.resample(_solve(opposite, starts, plan, refinement, spans[1].span(0.2, 1.0)).field, grid)
        round_trip = float(fields.compose(backward, field).displacement.norm(dim=1).mean())
        mean = symmetrized(field, backward, monitor)
        solutions = [field, DisplacementField(2 * mean.displacement - field.displacement, grid)]
        field = mean
        seconds["backward"] = time.perf_counter() - clock
    evidence = None
    if plan.uncertainty and forward.steps:  # the law was fitted to refined maps and holds for no other
        clock = time.perf_counter()
        monitor.check()
        warped = fields.warp(pair.moving, grid, field, padding="border")
        evidence = Evidence.of(pair.fixed, warped, field, solutions)
        seconds["uncertainty"] = time.perf_counter() - clock
    return Deformed(
        field.detach().to("cpu"),
        forward.origin,
        forward.steps,
        seconds,
        None if evidence is None else evidence.to("cpu"),
        round_trip,
        None if backward is None else backward.detach().to("cpu"),
    )


def _solve(
    pair: AlignedPair, starts: Sequence[Start], plan: DeformPlan, refinement: RefinementPlan, monitor: Monitor
) -> Solved:
    preset = plan.preset
    guided = refinement.masks > 0 or refinement.landmarks > 0
    network_refined = plan.network_refined or guided
    return solve(
        pair, starts, preset.search, refinement, plan.refine, monitor, preset.network_search, network_refined
    )


def _starts(
    given: DeformInput,
    grid: ImageGrid,
    model: RegistrationModel | None,
    device: torch.device,
    monitor: Monitor,
    reverse: bool = False,
) -> list[Start]:
    """The field that the user gave; or else the linear alignment, and the network's field."""
    if given.start is not None:
        known = given.start.to(device)
        return [Start(GIVEN, fields.invert(known, monitor=monitor).field if reverse else known)]
    starts = [Start(LINEAR, fields.identity(grid, device=device))]
    if model is not None:
        monitor.report("network", 0.0, "Running the network")
        field = predict(given.fixed_raw, given.moving_raw, given.linear, grid, model, monitor, reverse)
        starts.append(Start(model.card.name, field.to(device)))
    return starts


def _refinement(plan: DeformPlan, given: DeformInput) -> RefinementPlan:
    base = plan.preset.refinement
    levels = base.levels
    if plan.iterations is not None:
        levels = tuple(RefinementLevel(level.factor, plan.iterations, level.rate_mm) for level in levels)
    return dataclasses.replace(
        base,
        levels=levels,
        diffusion=base.diffusion * plan.regularity,
        curvature=base.curvature * plan.regularity,
        volume_change=base.volume_change * plan.regularity,
        masks=plan.preset.guided_masks if given.shared_labels else 0.0,
        landmarks=plan.preset.guided_landmarks if given.landmarks is not None else 0.0,
    )


def _aligned_pair(
    given: DeformInput, grid: ImageGrid, preset: Preset, device: torch.device, reverse: bool = False
) -> AlignedPair:
    """Both scans on the working grid, the moving one seen through the linear alignment; ``reverse`` swaps them."""
    still = fields.identity(grid, device=device)
    aligned = fields.from_affine(given.linear, grid, device=device)
    images, covered = [], []
    for volume, map_ in ((given.fixed, still), (given.moving, aligned)):
        source = as_tensor(volume, device)
        images.append(fields.warp(source, volume.grid, map_, padding="border"))
        covered.append((fields.warp(torch.ones_like(source), volume.grid, map_) > 0.99).float())
    masks: list[Tensor | None] = [None, None]
    if given.shared_labels and given.fixed_labels is not None and given.moving_labels is not None:
        masks = [
            _masks(given.fixed_labels, [pair[0] for pair in given.shared_labels], still),
            _masks(given.moving_labels, [pair[1] for pair in given.shared_labels], aligned),
        ]
    points: list[Tensor | None] = [None, None]
    if given.landmarks is not None:
        inverse = np.linalg.inv(given.linear)
        back = given.landmarks.moving @ inverse[:3, :3].T + inverse[:3, 3]
        both = (given.landmarks.fixed, back)
        points = [torch.as_tensor(some, dtype=torch.float32, device=device) for some in both]
    f, m = (1, 0) if reverse else (0, 1)
    outline = masks[f]
    organ = outline.amax(dim=1, keepdim=True) if preset.organ and outline is not None else None
    sides = (images[f], images[m], covered[f], covered[m], masks[f], masks[m], points[f], points[m])
    return AlignedPair(grid, *sides, organ)


def _masks(labels: LabelMap, values: Sequence[int], field: DisplacementField) -> Tensor:
    """One channel a structure, ``(1, K, D, H, W)``, resampled with linear weights so that rims are soft."""
    channels = []
    for value in values:
        mask = torch.from_numpy(labels.mask(value).astype(np.float32))[None, None].to(field.displacement.device)
        channels.append(fields.warp(mask, labels.grid, field))
    return torch.cat(channels, dim=1)
