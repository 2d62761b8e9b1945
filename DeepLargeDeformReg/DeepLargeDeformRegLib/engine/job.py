"""Jobs: a registration, a warp or an evaluation from files to files, the same for the command line and the worker."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ..core import files
from ..core.errors import BadInputError, reading
from ..core.files.common import write_text
from ..core.files.dicom_reference import notice_of_patients
from ..core.images import LabelMap
from ..core.metrics import Metrics
from ..core.presets import Preset
from ..core.progress import Monitor
from ..core.sentences import marked as _
from ..core.settings import RegistrationSettings
from . import fields
from .anatomy.find import FoundAnatomy, not_reviewed
from .dicom_output import dicom_series, write_dicom_objects
from .evaluation import Evaluation, evaluate
from .fields import warp_labels, warp_volume
from .job_files import check_job_files, map_paths, report_problem
from .job_inputs import field_of, read_pair
from .metrics import load_limits
from .metrics.maps import all_maps, on_grid
from .registration.pipeline import RegistrationRequest, RegistrationResult, register

JobT = TypeVar("JobT", "RegistrationJob", "WarpJob", "EvaluateJob")


class ReportWriter(Protocol):
    """Writes the report of a transform on its pair; see :func:`report.write_report`."""

    def __call__(
        self,
        path: Path,
        evaluation: Evaluation,
        *,
        title: str | None = None,
        preset: Preset | None = None,
        region: LabelMap | None = None,
        monitor: Monitor | None = None,
    ) -> None:
        """Write it, whole or not at all."""


@dataclass(frozen=True)
class RegistrationJob:
    """Files of a registration; inputs that are None are not there, outputs that are None are not written."""

    fixed: str
    moving: str
    _: dataclasses.KW_ONLY
    settings: RegistrationSettings = field(default_factory=RegistrationSettings)
    fixed_segmentation: str | None = None
    moving_segmentation: str | None = None
    landmarks: str | None = None
    fixed_landmarks: str | None = None
    moving_landmarks: str | None = None
    initial_transform: str | None = None
    region: str | None = None
    fixed_mask: str | None = None  # what it marks is left out of the similarity
    moving_mask: str | None = None
    output_transform: str | None = None
    output_inverse: str | None = None
    output_volume: str | None = None
    output_segmentation: str | None = None
    output_jacobian: str | None = None
    output_maps: str | None = None  # folder for the maps of display.MAPS, each NAME.nrrd; made if it is not there
    output_uncertainty: str | None = None
    output_fixed_organs: str | None = None  # what was found automatically in both scans, if anything was
    output_moving_organs: str | None = None
    output_warped_organs: str | None = None
    output_dicom: str | None = None  # folder for the transform and the propagated structures as DICOM objects
    match: tuple[str, ...] = ()  # FIXED=MOVING each: structures that belong together, by name or value
    metrics: str | None = None
    report: str | None = None
    report_title: str | None = None  # what the user calls the case; by itself the report names nobody

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RegistrationJob:
        """Job from a dictionary; unknown entries are refused."""
        entries = dict(values)
        entries["settings"] = RegistrationSettings.from_json(entries.get("settings") or {})
        return _from_json(cls, entries)

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class WarpJob:
    """Files of a warp: a scan or a segmentation through a transform onto the grid of a reference scan."""

    transform: str
    reference: str
    volume: str | None = None
    segmentation: str | None = None
    output_volume: str | None = None
    output_segmentation: str | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> WarpJob:
        """Job from a dictionary; unknown entries are refused."""
        return _from_json(cls, dict(values))


@dataclass(frozen=True, kw_only=True)
class EvaluateJob:
    """Files of an evaluation: what a transform, made here or elsewhere, does on scans, labels and landmarks."""

    transform: str
    fixed: str
    moving: str
    fixed_segmentation: str | None = None
    moving_segmentation: str | None = None
    landmarks: str | None = None
    fixed_landmarks: str | None = None
    moving_landmarks: str | None = None
    fixed_mask: str | None = None
    moving_mask: str | None = None
    metrics: str | None = None
    report: str | None = None
    report_title: str | None = None
    match: tuple[str, ...] = ()
    backward_transform: str | None = None  # from moving to fixed points, of a registration of its own

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> EvaluateJob:
        """Job from a dictionary; unknown entries are refused."""
        return _from_json(cls, dict(values))


@files.written_together()
def run_job(
    job: RegistrationJob,
    monitor: Monitor | None = None,
    compress: bool = False,
    write_report: ReportWriter | None = None,
) -> Metrics:
    """Read, register, write. Outputs are checked before the work and appear whole or not at all.

    Args:
        job: files and settings.
        monitor: progress and cancellation.
        compress: compress what is written; slower by half a second a scan.
        write_report: writes the report, if the job names one; passed in, since the engine knows no report.

    Returns:
        The metrics.
    """
    monitor = monitor or Monitor()
    _check_outputs(job)
    load_limits()  # a site's table with a mistake is refused before the work
    monitor.report("read", 0.0, _("Reading the scans"))
    clock = time.perf_counter()
    warnings: list[str] = []
    series = dicom_series(job.output_dicom, job.fixed, job.moving) if job.output_dicom else None
    request = _read(job, warnings, monitor)
    if job.output_uncertainty and not request.plan.estimates_error:
        raise BadInputError(
            _("The error to expect is estimated after a refinement only; refine, or leave its map out.")
        )
    reading = time.perf_counter() - clock
    result = register(request, monitor.span(0.03, 0.95))
    monitor.report("write", 0.95, _("Writing the results"))
    clock = time.perf_counter()
    _write(job, request, result, compress, monitor)
    if job.output_dicom and series is not None:
        write_dicom_objects(job.output_dicom, result, series)
        warnings += [notice for notice in (notice_of_patients(*series),) if notice]
        monitor.check()
    found = result.metrics
    seconds = {"read": reading, **found.seconds, "write": time.perf_counter() - clock}
    result = replace(result, metrics=replace(found, warnings=(*warnings, *found.warnings), seconds=seconds))
    if job.report is not None and write_report is not None:
        monitor.report("write", 0.98, _("Writing the report"))
        write = partial(write_report, Path(job.report), result, title=job.report_title, monitor=monitor)
        problem = report_problem(partial(write, preset=request.plan.preset, region=request.region))
        result = replace(result, metrics=result.metrics.with_warning(problem))
    monitor.check()
    if job.metrics is not None:
        write_text(json.dumps(result.metrics.to_json(), indent=2) + "\n", job.metrics)
    monitor.report("write", 1.0, _("Done"))
    return result.metrics


@files.written_together()
def run_warp(job: WarpJob, monitor: Monitor | None = None, compress: bool = True) -> dict[str, Any]:
    """Apply a transform; returns no metrics. Without compression a scan is written half a second sooner."""
    monitor = monitor or Monitor()
    wanted = ((job.volume, job.output_volume), (job.segmentation, job.output_segmentation))
    if not any(source and target for source, target in wanted):
        raise BadInputError(_("Nothing to warp: name a volume or a segmentation, and where the result shall go."))
    if any(bool(source) != bool(target) for source, target in wanted):
        raise BadInputError(
            _("What is to be warped and where the result shall go belong together; name both, for each of them.")
        )
    check_job_files(job)
    monitor.report("read", 0.0, _("Reading"))
    grid = files.read_volume(job.reference).grid
    with reading("transform", job.transform):
        deformation = fields.read_sampler(job.transform)
    monitor.report("write", 0.3, _("Resampling"))
    if job.volume and job.output_volume:
        warped = warp_volume(files.read_volume(job.volume), deformation, grid)
        monitor.report("write", 0.6, _("Writing the results"))
        files.write_volume(warped, job.output_volume, compress)
        monitor.check()
    if job.segmentation and job.output_segmentation:
        labels = files.read_label_map(job.segmentation)
        files.write_label_map(warp_labels(labels, deformation, grid), job.output_segmentation)
    monitor.report("write", 1.0, _("Done"))
    return {}


@files.written_together()
def run_evaluate(
    job: EvaluateJob, monitor: Monitor | None = None, write_report: ReportWriter | None = None
) -> Metrics:
    """Apply a transform and measure it on scans, labels and landmarks; returns the metrics."""
    monitor = monitor or Monitor()
    check_job_files(job)
    load_limits()
    monitor.report("read", 0.0, _("Reading"))
    notices: list[str] = []
    pair = read_pair(job, lambda _: None, notices.append, monitor)
    field = field_of(job.transform, pair.fixed.grid)
    backward = field_of(job.backward_transform, pair.moving.grid) if job.backward_transform else None
    monitor.report("measure", 0.1, _("Resampling the moving scan"))
    evaluation = evaluate(field, pair, backward, monitor)
    evaluation = replace(evaluation, metrics=replace(evaluation.metrics, warnings=tuple(notices)))
    if job.report is not None and write_report is not None:
        write = partial(write_report, Path(job.report), evaluation, title=job.report_title, monitor=monitor)
        problem = report_problem(write)
        evaluation = replace(evaluation, metrics=evaluation.metrics.with_warning(problem))
    if job.metrics is not None:
        write_text(json.dumps(evaluation.metrics.to_json(), indent=2) + "\n", job.metrics)
    monitor.report("measure", 1.0, _("Done"))
    return evaluation.metrics


def _from_json(kind: type[JobT], entries: dict[str, Any]) -> JobT:
    names = {entry.name for entry in dataclasses.fields(kind)}
    unknown = sorted(set(entries) - names)
    if unknown:
        raise BadInputError(_("Unknown entry of the job: {unknown}.").format(unknown=", ".join(unknown)))
    needed = {entry.name for entry in dataclasses.fields(kind) if _is_needed(entry)}
    missing = sorted(needed - set(entries))
    if missing:
        raise BadInputError(_("The job does not say: {missing}.").format(missing=", ".join(missing)))
    if "match" in entries:
        entries["match"] = tuple(entries["match"])
    return kind(**entries)


def _is_needed(entry: dataclasses.Field[Any]) -> bool:
    return entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING


def _check_outputs(job: RegistrationJob) -> None:
    check_job_files(job)
    if job.output_segmentation and not job.moving_segmentation:
        raise BadInputError(_("A propagated segmentation was asked for, but there is no moving segmentation."))


def _read(job: RegistrationJob, warnings: list[str], monitor: Monitor) -> RegistrationRequest:
    pair = read_pair(job, warnings.append, warnings.append, monitor)
    initial, region = None, None
    if job.initial_transform:
        with reading("initial transform", job.initial_transform):
            initial = fields.read_transform(job.initial_transform)
    if job.region:
        with reading("region of interest", job.region):
            region = files.read_label_map(job.region, what="region of interest")
    return RegistrationRequest(pair=pair, settings=job.settings, initial_transform=initial, region=region)


def _write(
    job: RegistrationJob, request: RegistrationRequest, result: RegistrationResult, compress: bool, monitor: Monitor
) -> None:
    if job.output_transform:
        fields.write_transform(result.field, job.output_transform, compress)
        monitor.check()
    if job.output_inverse:
        inverse = fields.invert(result.field, request.pair.moving.grid, monitor=monitor)
        monitor.check()
        fields.write_transform(inverse.field, job.output_inverse, compress)
        monitor.check()
    if job.output_volume:
        files.write_volume(result.warped.volume, job.output_volume, compress)
        monitor.check()
    if job.output_jacobian:
        files.write_volume(result.jacobian, job.output_jacobian, compress)
        monitor.check()
    if job.output_uncertainty and result.uncertainty is not None:
        files.write_volume(on_grid(result.uncertainty, result.field.grid, "border"), job.output_uncertainty, compress)
        monitor.check()
    if job.output_maps:
        paths = map_paths(job.output_maps)
        for name, volume in all_maps(result.field, result.maps, request.pair.fixed.grid, monitor):
            files.write_volume(volume, paths[name], compress)
            monitor.check()
    if job.output_segmentation and result.warped.labels is not None:
        files.write_label_map(result.warped.labels, job.output_segmentation)
        monitor.check()
    if result.anatomy is not None:
        _write_organs(job, result.anatomy, result)
        monitor.check()


def _write_organs(job: RegistrationJob, anatomy: FoundAnatomy, result: RegistrationResult) -> None:
    """The automatic outlines of both scans, and the moving ones on the fixed grid."""
    fixed, moving = result.pair.fixed.grid, result.pair.moving.grid
    if job.output_fixed_organs:
        files.write_label_map(not_reviewed(anatomy.fixed, fixed), job.output_fixed_organs)
    if job.output_moving_organs:
        files.write_label_map(not_reviewed(anatomy.moving, moving), job.output_moving_organs)
    if job.output_warped_organs:
        warped = warp_labels(not_reviewed(anatomy.moving, anatomy.moving.grid), result.field, fixed)
        files.write_label_map(warped, job.output_warped_organs)
