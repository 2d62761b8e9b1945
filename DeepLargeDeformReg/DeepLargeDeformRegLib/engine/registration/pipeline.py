"""The registration: RegistrationRequest -> RegistrationResult, with progress and cancellation."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import torch

from ... import __version__
from ...core.errors import BadInputError, MemoryExhaustedError, is_out_of_memory
from ...core.geometry import ImageGrid
from ...core.images import LabelMap, Pair, Scan, Volume
from ...core.labels import shared_structures
from ...core.metrics import Provenance
from ...core.presets import Preset, Window, find_preset
from ...core.progress import Monitor
from ...core.sentences import marked as _
from ...core.settings import RegistrationSettings
from .. import fields, metrics
from ..anatomy.find import FoundAnatomy, find_anatomy, overlaps
from ..anatomy.structures import Structures
from ..cuda_graphs import forget_graphs
from ..device import choose_device, describe_device, free_bytes, give_memory_back
from ..evaluation import Evaluation, warped_labels
from ..fields import DisplacementField, linear_matrix, to_field, warp_volume
from ..fields.bspline import compose_smoothly, resample_smoothly
from ..fields.folding import repair_folds
from ..heap import reused_memory
from ..models import RegistrationModel
from ..models.warm import warm_model
from .checks import check_initial, check_inputs, check_working_region
from .deform import Deformed, DeformInput, deform, voxels_that_fit, wanted_spacing, working_spacing
from .intensities import Scalings, scaled, scalings_of
from .padding import without_padding
from .plan import RegistrationPlan, plan_registration
from .prealign import prealign
from .prediction import warnings_of_modality, warnings_of_sight
from .uncertainty import Evidence

COARSER = 1.3  # factor on the spacing when a plan did not fit into memory
ATTEMPTS = 3
LARGE_VOXELS = 1 << 25  # of a scan whose output takes as much memory as its features did
MARGIN_MM = 15.0  # around a mask: what its surface needs to see of its surroundings


@dataclass(frozen=True, eq=False, kw_only=True)
class RegistrationRequest:
    """Everything that a registration depends on. Inputs are never modified.

    Args:
        pair: the scans, with the segmentations and landmarks that there are.
        settings: what the user chose.
        preset: the preset that the settings name with other numbers, for an ablation; None takes it as it is.
        initial_transform: from fixed to moving points, instead of a pre-alignment; or None.
        region: mask of the part of the fixed scan that matters; or None.
    """

    pair: Pair
    settings: RegistrationSettings = field(default_factory=RegistrationSettings)
    preset: Preset | None = None
    initial_transform: sitk.Transform | None = None
    region: LabelMap | None = None

    @cached_property
    def plan(self) -> RegistrationPlan:
        """What will be done."""
        preset = self.preset if self.preset is not None else find_preset(self.settings.preset)
        return plan_registration(self.settings, preset, self.pair)


@dataclass(frozen=True, eq=False, kw_only=True)
class RegistrationResult(Evaluation):
    """What came out, measured.

    Args:
        linear: the linear part of the field, homogeneous (4, 4), LPS mm.
        uncertainty: expected distance from the truth, mm, on the working grid, beyond whose border it goes on; None
            unless asked for.
        evidence: what that rests on, on the working grid; None unless asked for.
        anatomy: what was found automatically in both scans; None if nothing was.
    """

    linear: npt.NDArray[np.float64]
    uncertainty: Volume | None = None
    evidence: Evidence | None = None
    anatomy: FoundAnatomy | None = None


@reused_memory()
def register(request: RegistrationRequest, monitor: Monitor | None = None) -> RegistrationResult:
    """Register the moving to the fixed scan.

    Raises:
        BadInputError: if the inputs cannot be used.
        MemoryExhaustedError: if no plan fits.
        CancelledError: if the monitor says so.
    """
    monitor = monitor or Monitor()
    settings, plan = request.settings, request.plan
    check_inputs(request.pair, request.region, settings.output_spacing_mm)
    warnings: list[str] = []
    seconds: dict[str, float] = {}
    device = choose_device(settings.device)
    model = _model(plan, device)
    labels = (request.pair.fixed.labels, request.pair.moving.labels)
    if None not in labels and not shared_structures(request.pair):
        warnings.append(_("The two segmentations have no structure of the same name or value; they guide nothing."))
    monitor.check()
    clock = time.perf_counter()
    anatomy = None
    if plan.anatomy is not None:
        anatomy = find_anatomy(_unpadded(request.pair), plan.anatomy, monitor.span(0.0, 0.04))
    seconds["anatomy"] = time.perf_counter() - clock
    guided = _guided(request, anatomy)
    clock = time.perf_counter()
    data = _aligned(guided, anatomy, monitor.span(0.04, 0.2))
    seconds["prealign"] = time.perf_counter() - clock
    deformed, device = _deform(data, guided, model, device, warnings, monitor.span(0.2, 0.85))
    seconds.update(deformed.seconds)
    is_large = np.prod(request.pair.fixed.grid.size) > LARGE_VOXELS
    if is_large:
        give_memory_back()  # what the features took would not be used again

    clock = time.perf_counter()
    field = _output_field(deformed, data.linear, request, monitor.span(0.85, 0.9))
    if settings.fold_free:
        seconds["repair"] = time.perf_counter() - clock

    if is_large:
        give_memory_back()
    monitor.report("measure", 0.9, _("Measuring the result"))
    clock = time.perf_counter()
    result = _measured(request, field, data.linear, deformed, anatomy, monitor.span(0.9, 1.0))
    seconds["measure"] = time.perf_counter() - clock
    used = deformed.origin if model is not None and deformed.origin == model.card.name else None
    measured = result.metrics
    made = replace(
        measured,
        deformation=replace(measured.deformation, round_trip_before_mm=deformed.round_trip_mm),
        seconds=seconds,
        device=describe_device(device),
        model=used,
        linear_lps=tuple(tuple(row) for row in data.linear.tolist()),
        warnings=tuple(warnings),
        provenance=_provenance(settings, deformed, model),
    )
    monitor.report("measure", 1.0, _("Done"))
    return replace(result, metrics=made)


def _model(plan: RegistrationPlan, device: torch.device) -> RegistrationModel | None:
    """The network, on the device; on the CPU if its weights do not even fit there: :func:`_deform` tries again."""
    if plan.model is None:
        return None
    try:
        return warm_model(plan.model, device)
    except RuntimeError as error:
        if device.type == "cpu" or not is_out_of_memory(error):
            raise
    return warm_model(plan.model)


def _guided(request: RegistrationRequest, anatomy: FoundAnatomy | None) -> RegistrationRequest:
    """The request with outlines that were found where they guide as a user's do."""
    if anatomy is None or anatomy.structures is not None:
        return request
    fixed, moving = request.pair.fixed, request.pair.moving
    pair = Pair(replace(fixed, labels=anatomy.fixed), replace(moving, labels=anatomy.moving))
    return replace(request, pair=pair)


def _aligned(request: RegistrationRequest, anatomy: FoundAnatomy | None, monitor: Monitor) -> DeformInput:
    """The scans in the preset's intensities with their linear alignment, ready to be deformed."""
    plan, pair = request.plan, request.pair
    if not plan.landmarks_guide:
        pair = pair.with_landmarks(None)
    pair = _unpadded(pair)
    scalings, windows = scalings_of(pair, plan.preset)
    monitor.check()
    structures = None if anatomy is None else anatomy.structures
    initial = None
    if request.initial_transform is not None:
        matrix = linear_matrix(request.initial_transform)
        if matrix is None:
            initial = to_field(request.initial_transform, pair.fixed.grid)
        linear = np.eye(4) if matrix is None else matrix
        check_initial(linear)
    else:
        linear = _linear(pair, scalings, plan, windows, structures, monitor)
    region = _region(pair, request.region, plan, linear)
    check_working_region(region, request.region is not None)
    return DeformInput(
        pair=pair,
        scalings=scalings,
        linear=linear,
        region=region,
        initial=initial,
        structures=structures,
    )


def _unpadded(pair: Pair) -> Pair:
    fixed, moving = (replace(scan, volume=without_padding(scan.volume)) for scan in (pair.fixed, pair.moving))
    return Pair(fixed, moving)


def _linear(
    pair: Pair,
    scalings: Scalings,
    plan: RegistrationPlan,
    windows: tuple[Window, ...],
    structures: tuple[Structures, Structures] | None,
    monitor: Monitor,
) -> npt.NDArray[np.float64]:
    """Linear map from fixed to moving points, found by pre-alignment."""
    if plan.linear == "none":
        return np.eye(4)
    if plan.guide and pair.fixed.labels is not None and pair.moving.labels is not None:
        structures = (
            Structures.union_of(pair.fixed.labels, [values[0] for values in plan.guide]),
            Structures.union_of(pair.moving.labels, [values[1] for values in plan.guide]),
        )
    shown = scaled(pair, scalings)
    return prealign(shown.fixed.volume, shown.moving.volume, windows, plan.linear, structures, monitor)


def _region(
    pair: Pair, region: LabelMap | None, plan: RegistrationPlan, linear: npt.NDArray[np.float64]
) -> ImageGrid:
    """Part of the fixed grid to work in: the region of interest, what the masks hold, or what both scans cover."""
    grid, labels = pair.fixed.grid, pair.fixed.labels
    if region is not None:
        inside = np.argwhere(region.array != 0)[:, ::-1]
        return grid.around(region.grid.to_physical(inside))
    if plan.preset.sliding and plan.guide and labels is not None:
        inside = np.argwhere(labels.union([values[0] for values in plan.guide]))[:, ::-1]
        return grid.around(labels.grid.to_physical(inside), MARGIN_MM)
    inverse = np.linalg.inv(linear)
    covered = pair.moving.grid.corners @ inverse[:3, :3].T + inverse[:3, 3]
    try:
        return grid.around(covered, 2 * MARGIN_MM)
    except BadInputError:
        text = _(
            "The two scans do not overlap; check that both show the same part of the body, or let the "
            "pre-alignment search for the position."
        )
        raise BadInputError(text) from None


def _deform(
    data: DeformInput,
    request: RegistrationRequest,
    model: RegistrationModel | None,
    device: torch.device,
    warnings: list[str],
    monitor: Monitor,
) -> tuple[Deformed, torch.device]:
    """Run the deformable part on the finest grid that fits; coarser, then on the CPU, where memory runs out."""
    megabytes = request.settings.memory_limit_mb
    grids = [scan.grid for scan in (data.pair.fixed, data.pair.moving)]
    wanted = wanted_spacing(data.region, grids, request.plan.preset.spacing_mm)
    limit = megabytes * 2**20 if megabytes is not None else None
    for target in dict.fromkeys((device, torch.device("cpu"))):
        spacing = working_spacing(data.region, wanted, voxels_that_fit(limit or free_bytes(target), request.plan))
        for _attempt in range(ATTEMPTS):
            try:
                usable = model if model is None or model.device == target else warm_model(model.card.name, target)
                deformed = deform(data, request.plan, spacing, usable, target, monitor)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            else:
                if spacing > wanted * 1.01:
                    text = _("Computed at {spacing:.1f} mm instead of {wanted:g} mm to save memory.")
                    warnings.append(text.format(spacing=spacing, wanted=wanted))
                if model is not None and deformed.origin == model.card.name:
                    warnings += warnings_of_modality(request.pair, model.card)
                    warnings += warnings_of_sight(data.region, model.card)
                return deformed, target
            # Only now, as the traceback is gone, do the tensors of the failed plan go.
            forget_graphs()
            give_memory_back()
            spacing *= COARSER
            monitor.report("search", 0.0, _("The memory was not enough; trying again with a smaller plan"))
        warnings.append(_("The memory of {device} was not enough.").format(device=describe_device(target)))
    text = _(
        "The scans do not fit into memory even at a coarse resolution; close other programs or choose a "
        "region of interest."
    )
    raise MemoryExhaustedError(text)


def _output_field(
    deformed: Deformed, linear: npt.NDArray[np.float64], request: RegistrationRequest, monitor: Monitor
) -> DisplacementField:
    """The whole map on the output grid, without folds if that is wanted."""
    grid, spacing = request.pair.fixed.grid, request.settings.output_spacing_mm
    field = resample_smoothly(deformed.field, grid if spacing is None else grid.with_spacing(spacing), linear)
    monitor.check()
    if not request.settings.fold_free:
        return field
    return repair_folds(field, monitor=monitor, lattice=deformed.lattice, in_place=True).field


def _measured(
    request: RegistrationRequest,
    field: DisplacementField,
    linear: npt.NDArray[np.float64],
    deformed: Deformed,
    anatomy: FoundAnatomy | None,
    monitor: Monitor,
) -> RegistrationResult:
    """Apply the map to the moving scan, and measure it."""
    pair, settings = request.pair, request.settings
    uncertainty = None
    if deformed.evidence is not None:
        uncertainty = Volume(deformed.evidence.expected_error()[0, 0].numpy(), deformed.evidence.grid)
    backward = _backward(deformed, linear, pair.moving.grid)
    labels = warped_labels(pair, field)
    measured = metrics.measure(
        metrics.MeasureInput(
            field=field,
            pair=pair,
            warped_labels=labels,
            backward=backward,
            uncertainty=uncertainty,
            found_organs=None if anatomy is None else overlaps(anatomy, field),
            guided_by_labels=settings.guide_with_segmentations,
            guided_by_landmarks=settings.guide_with_landmarks,
        ),
        monitor,
    )
    return RegistrationResult(
        pair=pair,
        field=field,
        warped=Scan(warp_volume(pair.moving.volume, field, pair.fixed.grid), labels),
        maps=measured.maps,
        metrics=measured.metrics,
        linear=linear,
        uncertainty=uncertainty,
        evidence=deformed.evidence,
        anatomy=anatomy,
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
    return compose_smoothly(deformed.backward, fields.from_affine(np.linalg.inv(linear), grid))


def _provenance(settings: RegistrationSettings, deformed: Deformed, model: RegistrationModel | None) -> Provenance:
    return Provenance(
        version=__version__,
        torch=torch.__version__,
        simpleitk=sitk.Version_VersionString(),
        python=platform.python_version(),
        settings=settings.to_json(),
        initial_field=deformed.origin,
        refinement_steps=tuple(deformed.steps),
        model_sha256=None if model is None else model.card.weights_sha256,
    )
