"""The deformable part of the pipeline on one linearly aligned pair: start, refinement, and their memory plan."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from . import field as fields
from .field import DisplacementField
from .geometry import ImageGrid
from .images import LabelMap, LandmarkPairs, Volume
from .losses.mind import mind_ssc
from .models import RegistrationModel
from .presets import Preset
from .progress import Monitor
from .refine import AlignedPair, RefinementLevel, RefinementPlan, refine
from .start import global_search

BYTES_PER_VOXEL = 250  # measured peak of refinement: 2 x 13 feature channels, their making, the warped scan
MARGIN_MM = 15.0  # around an organ: what its surface needs to see of its surroundings
OUTSIDE_HU = -1000.0


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
    iterations: int | None
    regularity: float


@dataclass(frozen=True, eq=False)
class Deformed:
    """Field in mm (linear part not included), where it started from, refinement steps, seconds per stage."""

    field: DisplacementField
    origin: str
    steps: tuple[int, ...]
    seconds: dict[str, float]


@dataclass(frozen=True, eq=False)
class Start:
    """A field to refine, in mm, and where it comes from."""

    origin: str
    field: DisplacementField


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
    seconds: dict[str, float] = {}
    clock = time.perf_counter()
    grid = given.region.with_spacing(plan.spacing_mm)
    pair = _aligned_pair(given, grid, plan.preset, device)
    candidates = [Start("linear alignment", fields.identity(grid, device=device))]
    if given.start is not None:
        candidates = [Start("given transform", given.start.to(device))]
    elif model is not None:
        monitor.report("network", 0.0, "Running the network")
        candidates.append(Start(model.card.name, _predict(given, grid, model, monitor.span(0.0, 0.2)).to(device)))
    seconds["network"] = time.perf_counter() - clock

    clock = time.perf_counter()
    features = _features(pair, plan.preset)
    start = _best_start(features, pair, candidates)
    if start is candidates[0] and given.start is None and plan.refine:
        # Without a network that fits these scans the search finds what refinement alone would not reach.
        found = global_search(*features, grid, plan.preset.search, monitor.span(0.2, 0.35))
        start = _best_start(features, pair, [start, Start("global search", found)])
    seconds["start"] = time.perf_counter() - clock

    clock = time.perf_counter()
    field, steps = start.field, ()
    if plan.refine:
        field, steps = _refined(pair, start, _refinement(plan, given), monitor.span(0.35, 1.0))
    seconds["refine"] = time.perf_counter() - clock
    return Deformed(DisplacementField(field.displacement.detach().cpu(), field.grid), start.origin, steps, seconds)


def _refined(
    pair: AlignedPair, start: Start, plan: RefinementPlan, monitor: Monitor
) -> tuple[DisplacementField, tuple[int, ...]]:
    """The start with its refinement.

    A search finds displacements cell by cell, so refinement replaces its field by a smoother one. What a network or
    the user gives is smooth and more than the images show, so refinement adds to it: ``start(update(x))``, where the
    update alone pays for its roughness.
    """
    if start.origin in ("linear alignment", "global search"):
        refined = refine(pair, start.field, plan, monitor)
        return refined.field, refined.steps
    given = fields.resample(start.field, pair.grid)
    refined = refine(_warped(pair, given), fields.identity(pair.grid, device=pair.fixed.device), plan, monitor)
    return fields.compose(given, fields.resample(refined.field, pair.grid)), refined.steps


def _warped(pair: AlignedPair, field: DisplacementField) -> AlignedPair:
    """The pair with its moving side seen through a field."""
    masks, landmarks = pair.moving_masks, pair.moving_landmarks
    return dataclasses.replace(
        pair,
        moving=fields.warp(pair.moving, pair.grid, field, padding="border"),
        valid=fields.warp(pair.valid, pair.grid, field),
        moving_masks=None if masks is None else fields.warp(masks, pair.grid, field),
        moving_landmarks=None
        if landmarks is None
        else fields.transform_points(fields.invert(field).field, landmarks),
    )


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


def _aligned_pair(given: DeformInput, grid: ImageGrid, preset: Preset, device: torch.device) -> AlignedPair:
    still = fields.identity(grid, device=device)
    aligned = fields.from_affine(given.linear, grid, device=device)
    fixed = fields.warp(given.fixed.tensor(device), given.fixed.grid, still, padding="border")
    moving_source = given.moving.tensor(device)
    moving = fields.warp(moving_source, given.moving.grid, aligned, padding="border")
    inside = fields.warp(torch.ones_like(given.fixed.tensor(device)), given.fixed.grid, still)
    valid = (fields.warp(torch.ones_like(moving_source), given.moving.grid, aligned) > 0.99).float()
    fixed_masks = moving_masks = None
    if given.shared_labels and given.fixed_labels is not None and given.moving_labels is not None:
        fixed_masks = _masks(given.fixed_labels, [pair[0] for pair in given.shared_labels], still)
        moving_masks = _masks(given.moving_labels, [pair[1] for pair in given.shared_labels], aligned)
        if preset.organ:
            organ = (fixed_masks.amax(dim=1, keepdim=True) > 0.5).float()
            inside = inside * F.max_pool3d(organ, 5, 1, 2)
    fixed_points = moving_points = None
    if given.landmarks is not None:
        inverse = np.linalg.inv(given.linear)
        back = given.landmarks.moving @ inverse[:3, :3].T + inverse[:3, 3]
        fixed_points = torch.as_tensor(given.landmarks.fixed, dtype=torch.float32, device=device)
        moving_points = torch.as_tensor(back, dtype=torch.float32, device=device)
    return AlignedPair(grid, fixed, moving, inside, valid, fixed_masks, moving_masks, fixed_points, moving_points)


def _masks(labels: LabelMap, values: Sequence[int], field: DisplacementField) -> Tensor:
    """One channel a structure, ``(1, K, D, H, W)``, resampled with linear weights so that rims are soft."""
    channels = []
    for value in values:
        mask = torch.from_numpy((labels.array == value).astype(np.float32))[None, None].to(field.displacement.device)
        channels.append(fields.warp(mask, labels.grid, field))
    return torch.cat(channels, dim=1)


def _predict(given: DeformInput, region: ImageGrid, model: RegistrationModel, monitor: Monitor) -> DisplacementField:
    """The network's field; its input is axis-aligned at the card's spacing and covers the working region."""
    spacing = np.array(model.card.spacing_mm)
    corners = region.corners
    low, high = corners.min(axis=0), corners.max(axis=0)
    size = np.maximum(np.ceil((high - low) / spacing).astype(int) + 1, model.card.minimum_size)
    origin = (low + high) / 2 - (size - 1) / 2 * spacing
    grid = ImageGrid.axis_aligned(size.tolist(), spacing.tolist(), origin.tolist())
    inputs = []
    for volume, field in (
        (given.fixed_raw, fields.identity(grid)),
        (given.moving_raw, fields.from_affine(given.linear, grid)),
    ):
        inputs.append(fields.warp(volume.tensor(), volume.grid, field, fill=model.card.outside))
    return model.predict(inputs[0], inputs[1], grid, monitor)


def _features(pair: AlignedPair, preset: Preset) -> tuple[Tensor, Tensor]:
    radius, dilation = preset.refinement.mind_radius, preset.refinement.mind_dilation
    return mind_ssc(pair.fixed, radius, dilation), mind_ssc(pair.moving, radius, dilation)


def _best_start(features: tuple[Tensor, Tensor], pair: AlignedPair, candidates: Sequence[Start]) -> Start:
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
