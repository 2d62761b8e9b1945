"""``deeplargedeformreg register``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from . import options as o

if TYPE_CHECKING:
    from ..core.settings import RegistrationSettings
    from ..engine.job import ReportWriter
    from .terminal import Terminal

# Names of settings that the command line calls by shorter names, those of Slicer's panel.
_SETTINGS = {
    "guide": "guide_with_segmentations",
    "smoothness": "regularity",
    "steps": "iterations",
    "grid_spacing": "output_spacing_mm",
    "memory_limit": "memory_limit_mb",
}


@o.takes_settings()
def register(
    context: typer.Context,
    fixed: o.Fixed,
    moving: o.Moving,
    output_transform: o.OutputTransform = None,
    output_inverse: o.OutputInverse = None,
    output_volume: o.OutputVolume = None,
    output_segmentation: o.OutputSegmentation = None,
    output_jacobian: o.OutputJacobian = None,
    output_maps: o.OutputMaps = None,
    output_uncertainty: o.OutputUncertainty = None,
    output_fixed_organs: o.OutputFixedOrgans = None,
    output_moving_organs: o.OutputMovingOrgans = None,
    output_warped_organs: o.OutputWarpedOrgans = None,
    output_dicom: o.OutputDicom = None,
    metrics: o.Metrics = None,
    report: o.Report = None,
    report_title: o.ReportTitle = None,
    fixed_segmentation: o.FixedSegmentation = None,
    moving_segmentation: o.MovingSegmentation = None,
    match: o.Match = None,
    landmarks: o.Landmarks = None,
    fixed_landmarks: o.FixedLandmarks = None,
    moving_landmarks: o.MovingLandmarks = None,
    fixed_mask: o.FixedMask = None,
    moving_mask: o.MovingMask = None,
    initial_transform: o.InitialTransform = None,
    region: o.Region = None,
    json_progress: o.JsonProgress = False,
    quiet: o.Quiet = False,
    log_file: o.LogFile = None,
    verbose: o.Verbose = False,
    **_settings: Any,
) -> None:
    """Register a moving scan to a fixed one.

    The transform maps points of FIXED to points of MOVING.
    """
    from .terminal import session

    with session(quiet, verbose, log_file) as terminal:
        _run(context.params, terminal, json_progress)


def _run(values: dict[str, Any], terminal: Terminal, json_progress: bool) -> None:
    """Run the job that the options of the command describe, and show its measures."""
    from pathlib import Path

    from ..core.errors import BadInputError

    names = [name for name in values if name.startswith("output_") or name in ("metrics", "report")]
    if not any(values[name] for name in names):
        raise BadInputError(
            "Name at least one output, --output-volume warped.nii.gz for example; nothing was computed."
        )
    from ..engine.job import RegistrationJob, run_job
    from .summary import summarize

    job = RegistrationJob(settings=settings_from(values), **_files(values))
    organs = [Path(values[name]) for name in names if name.endswith("_organs") and values[name]]
    earlier = {path: path.stat().st_ino for path in organs if path.exists()}  # a file that is replaced is another
    with terminal.progress(json_progress) as monitor:
        numbers = run_job(job, monitor, compress=True, write_report=_report_writer(bool(values["report"])))
    summarize(numbers, terminal, table=not json_progress)
    for path in organs:
        if not path.exists() or path.stat().st_ino == earlier.get(path):
            left = "; the file of this name is of an earlier run" if path in earlier else ""
            terminal.note(
                f"{path.name} was not written: no organs were found automatically (not all presets look for them, "
                f"and none does where outlines of both scans are given){left}."
            )


def _report_writer(wanted: bool) -> ReportWriter | None:
    """What writes reports; it takes a while to import."""
    if not wanted:
        return None
    from ..report import write_report

    return write_report


def settings_from(values: dict[str, Any]) -> RegistrationSettings:
    """Settings from the options of a command, by their names."""
    import dataclasses

    from ..core.settings import RegistrationSettings

    known = {field.name for field in dataclasses.fields(RegistrationSettings)}
    renamed = {_SETTINGS.get(name, name): value for name, value in values.items()}
    return RegistrationSettings(**{name: value for name, value in renamed.items() if name in known})


def _files(values: dict[str, Any]) -> dict[str, Any]:
    import dataclasses

    from ..engine.job import RegistrationJob

    names = {field.name for field in dataclasses.fields(RegistrationJob)} - {"settings"}
    files = {name: value for name, value in values.items() if name in names}
    return files | {"match": tuple(values["match"] or ())}
