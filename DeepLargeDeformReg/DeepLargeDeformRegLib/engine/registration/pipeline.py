"""The registration: RegistrationRequest -> RegistrationResult, with progress and cancellation."""

from __future__ import annotations

import gc
import platform
import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import torch

from ... import __version__
from ...core.errors import BadInputError, MemoryExhaustedError, is_out_of_memory
from ...core.geometry import ImageGrid
from ...core.images import LabelMap, LandmarkPairs, Volume
from ...core.labels import match_labels
from ...core.presets import Preset, Window, find_preset
from ...core.progress import Monitor
from ...core.settings import RegistrationSettings
from .. import fields, metrics
from ..device import choose_device, describe_device, free_bytes
from ..fields import DisplacementField, linear_matrix, to_field
from ..fields.folding import repair_folds
from ..models import RegistrationModel
from ..models.warm import warm_model
from .deform import MARGIN_MM, Deformed, DeformInput, DeformPlan, deform, voxels_that_fit, working_spacing
from .padding import without_padding
from .prealign import prealign
from .prediction import warnings_of_sight
from .uncertainty import Evidence

COARSER = 1.3  # factor on the spacing when a plan did not fit into memory
ATTEMPTS = 3
NO_MODEL = "none"


@dataclass(frozen=True, eq=False)
class RegistrationRequest:
    """Everything that a registration depends on. Inputs are never modified."""

    fixed: Volume
    moving: Volume
    settings: RegistrationSettings = field(default_factory=RegistrationSettings)
    fixed_labels: LabelMap | None = None
    moving_labels: LabelMap | None = None
    landmarks: LandmarkPairs | None = None
    initial_transform: sitk.Transform | None = None
    region: LabelMap | None = None


@dataclass(frozen=True, eq=False)
class RegistrationResult:
    """What came out.

    Args:
        field: fixed to moving, mm, linear part included, on the output grid.
        linear: the linear part, homogeneous (4, 4), LPS mm.
        warped: moving scan on the fixed grid.
        warped_labels: moving segmentation on the fixed grid, nearest neighbor; None without one.
        jacobian: det J on the output grid.
        metrics: JSON-safe numbers; see docs/metrics.md.
        maps: what was measured at each place, on grids of their own, for :func:`.maps.all_maps`.
        uncertainty: expected distance from the truth, mm, on the output grid; None unless asked for.
        evidence: what that rests on, on the working grid; None unless asked for.
    """

    field: DisplacementField
    linear: npt.NDArray[np.float64]
    warped: Volume
    warped_labels: LabelMap | None
    jacobian: Volume
    metrics: dict[str, Any]
    maps: dict[str, Volume] | None = None
    uncertainty: Volume | None = None
    evidence: Evidence | None = None


def register(request: RegistrationRequest, monitor: Monitor | None = None) -> RegistrationResult:
    """Register the moving to the fixed scan.

    Raises:
        BadInputError: if the inputs cannot be used.
        MemoryExhaustedError: if no plan fits.
        CancelledError: if the monitor says so.
    """
    monitor = monitor or Monitor()
    settings, preset = request.settings, find_preset(request.settings.preset)
    _check(request)
    warnings: list[str] = []
    seconds: dict[str, float] = {}
    device = choose_device(settings.device)
    model = _model(settings, preset, device)
    shared = _shared_labels(request, warnings)
    monitor.check()
    clock = time.perf_counter()
    given = _aligned(request, preset, shared if settings.guide_with_segmentations else (), monitor.span(0.0, 0.2))
    linear = given.linear
    seconds["prealign"] = time.perf_counter() - clock
    deformed, device = _deform(given, settings, preset, model, device, warnings, monitor.span(0.2, 0.85))
    seconds.update(deformed.seconds)

    clock = time.perf_counter()
    field = _output_field(deformed, linear, request, monitor.span(0.85, 0.9))
    if settings.fold_free:
        seconds["repair"] = time.perf_counter() - clock

    monitor.report("measure", 0.9, "Measuring the result")
    clock = time.perf_counter()
    uncertainty = _uncertainty(deformed, field.grid)
    backward = _backward(deformed, linear, request.moving.grid)
    result = _measured(request, field, linear, backward, uncertainty, monitor.span(0.9, 1.0))
    seconds["measure"] = time.perf_counter() - clock
    used = deformed.origin if model is not None and deformed.origin == model.card.name else None
    result.metrics.update(
        seconds=seconds,
        device=describe_device(device),
        model=used,
        linear_lps=linear.tolist(),
        warnings=warnings,
        provenance=_provenance(settings, deformed, model),
    )
    result = replace(result, evidence=deformed.evidence)
    if deformed.round_trip_mm is not None:
        result.metrics["round_trip_before_mm"] = deformed.round_trip_mm
    monitor.report("measure", 1.0, "Done")
    return result


def _aligned(
    request: RegistrationRequest, preset: Preset, guide: tuple[tuple[int, int], ...], monitor: Monitor
) -> DeformInput:
    """The scans in the preset's intensities with their linear alignment, ready to be deformed."""
    request = replace(request, fixed=without_padding(request.fixed), moving=without_padding(request.moving))
    fixed, moving, windows = _intensities(request, preset)
    monitor.check()
    linear, start = _linear(request, preset, fixed, moving, windows, guide, monitor)
    return DeformInput(
        fixed=fixed,
        moving=moving,
        fixed_raw=request.fixed,
        moving_raw=request.moving,
        linear=linear,
        region=_region(request, preset, linear, guide),
        fixed_labels=request.fixed_labels,
        moving_labels=request.moving_labels,
        shared_labels=guide,
        landmarks=request.landmarks if request.settings.guide_with_landmarks else None,
        start=start,
    )


def _output_field(
    deformed: Deformed, linear: npt.NDArray[np.float64], request: RegistrationRequest, monitor: Monitor
) -> DisplacementField:
    """The whole map on the output grid, without folds if that is wanted."""
    grid, spacing = request.fixed.grid, request.settings.output_spacing_mm
    field = fields.resample(deformed.field, grid if spacing is None else grid.with_spacing(spacing))
    monitor.check()
    field = fields.compose_affine(linear, field)
    return repair_folds(field, monitor=monitor).field if request.settings.fold_free else field


def _check(request: RegistrationRequest) -> None:
    for name, volume in (("fixed", request.fixed), ("moving", request.moving)):
        lowest, highest = volume.array.min(), volume.array.max()
        if not (np.isfinite(lowest) and np.isfinite(highest)):  # both hand on what is not finite
            raise BadInputError(f"The {name} scan contains values that are not numbers; repair or re-export it.")
        if lowest == highest:
            raise BadInputError(f"The {name} scan is the same everywhere; it holds nothing to align.")
    if request.region is not None and not request.region.array.any():
        raise BadInputError("The region of interest is empty; draw it again or leave it out.")
    for name, labels in (("fixed", request.fixed_labels), ("moving", request.moving_labels)):
        if labels is not None and not labels.array.any():
            raise BadInputError(f"The {name} segmentation is empty; choose another one or leave it out.")


def _model(settings: RegistrationSettings, preset: Preset, device: torch.device) -> RegistrationModel | None:
    """The network, on the device; on the CPU if its weights do not even fit there: :func:`_deform` tries again."""
    name = settings.model if settings.model is not None else preset.model
    if name is None or name == NO_MODEL:
        return None
    try:
        return warm_model(name, device)
    except RuntimeError as error:
        if device.type == "cpu" or not is_out_of_memory(error):
            raise
    return warm_model(name)


def _shared_labels(request: RegistrationRequest, warnings: list[str]) -> tuple[tuple[int, int], ...]:
    if request.fixed_labels is None or request.moving_labels is None:
        return ()
    shared = match_labels(request.fixed_labels, request.moving_labels)
    if not shared:
        warnings.append("The two segmentations have no structure of the same name or value; they guide nothing.")
    return shared


def _intensities(request: RegistrationRequest, preset: Preset) -> tuple[Volume, Volume, tuple[Window, ...]]:
    """Scans for similarity: clipped to the preset's window, or scaled by their own percentiles to 0..1."""
    if preset.windows:
        low, high = preset.windows[0][0], preset.windows[0][1]
        low = min(low, *(window[0] for window in preset.windows))
        high = max(high, *(window[1] for window in preset.windows))
        clipped = [replace(volume, array=volume.array.clip(low, high)) for volume in (request.fixed, request.moving)]
        return clipped[0], clipped[1], preset.windows
    scaled = []
    for volume in (request.fixed, request.moving):
        low, high = (float(value) for value in np.percentile(volume.array, (1, 99)))
        if high <= low:
            low, high = float(volume.array.min()), float(volume.array.max())
        scaled.append(replace(volume, array=((volume.array - low) / (high - low)).clip(0, 1)))
    return scaled[0], scaled[1], ((0.0, 1.0),)


def _linear(
    request: RegistrationRequest,
    preset: Preset,
    fixed: Volume,
    moving: Volume,
    windows: tuple[Window, ...],
    guide: tuple[tuple[int, int], ...],
    monitor: Monitor,
) -> tuple[npt.NDArray[np.float64], DisplacementField | None]:
    """Linear part, and the field to start from if the user gave one."""
    if request.initial_transform is not None:
        matrix = linear_matrix(request.initial_transform)
        if matrix is not None:
            return matrix, None
        return np.eye(4), to_field(request.initial_transform, request.fixed.grid)
    kind = preset.linear if request.settings.prealign == "auto" else request.settings.prealign
    if kind == "none":
        return np.eye(4), None
    masks: tuple[Volume | None, Volume | None] = (None, None)
    if guide and request.fixed_labels is not None and request.moving_labels is not None:
        masks = (
            _union(request.fixed_labels, [pair[0] for pair in guide]),
            _union(request.moving_labels, [pair[1] for pair in guide]),
        )
    return prealign(fixed, moving, windows, kind, *masks, monitor=monitor).matrix, None


def _union(labels: LabelMap, values: list[int]) -> Volume:
    return Volume(np.isin(labels.array, values).astype(np.float32), labels.grid)


def _region(
    request: RegistrationRequest,
    preset: Preset,
    linear: npt.NDArray[np.float64],
    guide: tuple[tuple[int, int], ...],
) -> ImageGrid:
    """Part of the fixed grid to work in: the region of interest, the organ, or what both scans cover."""
    grid = request.fixed.grid
    if request.region is not None:
        inside = np.argwhere(request.region.array != 0)[:, ::-1]
        return grid.around(request.region.grid.to_physical(inside))
    if preset.organ and guide and request.fixed_labels is not None:
        inside = np.argwhere(np.isin(request.fixed_labels.array, [pair[0] for pair in guide]))[:, ::-1]
        return grid.around(request.fixed_labels.grid.to_physical(inside), MARGIN_MM)
    inverse = np.linalg.inv(linear)
    covered = request.moving.grid.corners @ inverse[:3, :3].T + inverse[:3, 3]
    try:
        return grid.around(covered, 2 * MARGIN_MM)
    except BadInputError:
        raise BadInputError(
            "The two scans do not overlap; check that both show the same part of the body, or let the "
            "pre-alignment search for the position."
        ) from None


def _deform(
    given: DeformInput,
    settings: RegistrationSettings,
    preset: Preset,
    model: RegistrationModel | None,
    device: torch.device,
    warnings: list[str],
    monitor: Monitor,
) -> tuple[Deformed, torch.device]:
    """Run the deformable part on the finest plan that fits; coarser, then on the CPU, where memory runs out."""
    refine = settings.refine if settings.refine is not None else True
    limit = settings.memory_limit_mb * 2**20 if settings.memory_limit_mb is not None else None
    spacing = preset.spacing_mm
    for target in dict.fromkeys((device, torch.device("cpu"))):
        spacing = working_spacing(given.region, preset.spacing_mm, voxels_that_fit(limit or free_bytes(target)))
        for _ in range(ATTEMPTS):
            plan = DeformPlan(
                preset,
                spacing,
                refine,
                settings.iterations,
                settings.regularity,
                settings.symmetric,
                settings.uncertainty,
                network_refined=preset.network_refined or settings.refine is True,
            )
            try:
                usable = model if model is None or model.device == target else warm_model(model.card.name, target)
                deformed = deform(given, plan, usable, target, monitor)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            else:
                if spacing > preset.spacing_mm * 1.01:
                    coarser = f"Computed at {spacing:.1f} mm instead of {preset.spacing_mm:g} mm to save memory."
                    warnings.append(coarser)
                if model is not None and deformed.origin == model.card.name:
                    warnings += warnings_of_sight(given.region, model.card)
                return deformed, target
            # Only now, as the traceback is gone, do the tensors of the failed plan go.
            gc.collect()
            if target.type == "cuda":
                torch.cuda.empty_cache()
            spacing *= COARSER
            monitor.report("start", 0.0, "The memory was not enough; trying again with a smaller plan")
        warnings.append(f"The memory of {describe_device(target)} was not enough.")
    raise MemoryExhaustedError(
        "The scans do not fit into memory even at a coarse resolution; close other programs or choose a region "
        "of interest."
    )


def _measured(
    request: RegistrationRequest,
    field: DisplacementField,
    linear: npt.NDArray[np.float64],
    backward: DisplacementField | None,
    uncertainty: Volume | None,
    monitor: Monitor,
) -> RegistrationResult:
    settings = request.settings
    measured = metrics.measure(
        metrics.MeasureInput(
            field,
            request.fixed,
            request.moving,
            request.fixed_labels,
            request.moving_labels,
            request.landmarks,
            backward=backward,
            uncertainty=uncertainty,
            guided_by_labels=settings.guide_with_segmentations,
            guided_by_landmarks=settings.guide_with_landmarks,
        ),
        monitor,
    )
    assert measured.warped is not None
    return RegistrationResult(
        field,
        linear,
        measured.warped,
        measured.warped_labels,
        measured.jacobian,
        measured.numbers,
        measured.maps,
        uncertainty,
    )


def _backward(
    deformed: Deformed, linear: npt.NDArray[np.float64], moving_grid: ImageGrid
) -> DisplacementField | None:
    """The run in the other direction as a map from moving to fixed points, on what it covers of the moving scan."""
    if deformed.backward is None:
        return None
    worked = deformed.backward.grid
    corners = worked.corners @ linear[:3, :3].T + linear[:3, 3]
    try:
        grid = moving_grid.around(corners).with_spacing(float(np.mean(worked.spacing)))
    except BadInputError:  # the region lies outside of the moving scan: nothing to go back from
        return None
    return fields.compose(deformed.backward, fields.from_affine(np.linalg.inv(linear), grid))


def _uncertainty(deformed: Deformed, grid: ImageGrid) -> Volume | None:
    if deformed.evidence is None:
        return None
    error = deformed.evidence.expected_error()
    on_grid = fields.warp(error, deformed.evidence.grid, fields.identity(grid), padding="border")
    return Volume(on_grid[0, 0].numpy(), grid)


def _provenance(
    settings: RegistrationSettings, deformed: Deformed, model: RegistrationModel | None
) -> dict[str, Any]:
    return {
        "version": __version__,
        "torch": torch.__version__,
        "simpleitk": sitk.Version_VersionString(),
        "python": platform.python_version(),
        "settings": settings.to_json(),
        "start": deformed.origin,
        "refinement_steps": list(deformed.steps),
        "model_sha256": None if model is None else model.card.weights_sha256,
    }
