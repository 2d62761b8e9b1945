"""The command ``deeplargedeformreg``."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from .core.errors import MemoryExhaustedError, RegistrationError
from .core.progress import Monitor, ProgressEvent
from .core.settings import RegistrationSettings
from .engine.job import EvaluateJob, RegistrationJob, WarpJob, run_evaluate, run_job, run_warp
from .engine.models import list_models
from .engine.networks import describe_all
from .report import write_report
from .resources import SAMPLE_CASE

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Register 3D scans that differ by a large deformation."
)
_output = Console()
_errors = Console(stderr=True, soft_wrap=True, highlight=False)

COLORS = {"accept": "green", "look": "yellow", "reject": "red"}
MARKS = {"accept": "+", "look": "?", "reject": "x"}  # for terminals without color

File = Annotated[str | None, typer.Option()]
ReportTitle = Annotated[
    str | None, typer.Option(help="Heading of the report; by itself it names no patient and no file.")
]
JsonProgress = Annotated[bool, typer.Option("--json-progress", help="Progress as JSON Lines on standard output.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show the traceback of an error.")]


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("demo-output"),
    verbose: Verbose = False,
) -> None:
    """Register the sample case (two CT scans of one lung) and write a report."""
    with _handled(verbose):
        output.mkdir(parents=True, exist_ok=True)
        job = RegistrationJob(
            fixed=str(SAMPLE_CASE / "fixed.nii.gz"),
            moving=str(SAMPLE_CASE / "moving.nii.gz"),
            fixed_segmentation=str(SAMPLE_CASE / "fixed_mask.nii.gz"),
            moving_segmentation=str(SAMPLE_CASE / "moving_mask.nii.gz"),
            landmarks=str(SAMPLE_CASE / "landmarks_lps.csv"),
            settings=RegistrationSettings(preset="lung-ct", fold_free=True),
            output_transform=str(output / "transform.h5"),
            output_volume=str(output / "warped.nii.gz"),
            output_segmentation=str(output / "warped_mask.nii.gz"),
            output_jacobian=str(output / "jacobian.nii.gz"),
            metrics=str(output / "metrics.json"),
            report=str(output / "report.html"),
        )
        numbers = _run(job, json_progress=False)
        _summarize(numbers)
        _output.print(f"Report: {(output / 'report.html').resolve()}", soft_wrap=True)


@app.command()
def register(
    fixed: Annotated[str, typer.Argument(help="Fixed scan: .nrrd .nii .nii.gz .mha .mhd or a DICOM folder.")],
    moving: Annotated[str, typer.Argument(help="Moving scan.")],
    output_transform: File = None,
    output_inverse: File = None,
    output_volume: File = None,
    output_segmentation: File = None,
    output_jacobian: File = None,
    output_maps: Annotated[str | None, typer.Option(help="Folder for maps: displacement, similarity ...")] = None,
    fixed_segmentation: File = None,
    moving_segmentation: File = None,
    landmarks: Annotated[str | None, typer.Option(help="CSV of pairs: fixed then moving, LPS mm.")] = None,
    fixed_landmarks: File = None,
    moving_landmarks: File = None,
    initial_transform: File = None,
    region: Annotated[str | None, typer.Option(help="Label map of the part that matters.")] = None,
    preset: Annotated[str, typer.Option(help="lung-ct, liver-ct, mr-hippocampus or any.")] = "any",
    model: Annotated[str | None, typer.Option(help="A model's name, or none; the preset's by default.")] = None,
    refine: Annotated[
        bool | None, typer.Option("--refine/--no-refine", help="The preset's choice by default.")
    ] = None,
    fold_free: Annotated[
        bool, typer.Option("--fold-free/--allow-folds", help="Repair the transform until det J > 0 at every voxel.")
    ] = True,
    symmetric: Annotated[
        bool, typer.Option("--symmetric", help="Register in both directions and let them agree; twice the time.")
    ] = False,
    output_uncertainty: Annotated[str | None, typer.Option(help="Map of the error to expect, mm.")] = None,
    guide: Annotated[bool, typer.Option("--guide/--no-guide", help="Let segmentations guide.")] = True,
    guide_with_landmarks: Annotated[bool, typer.Option("--guide-with-landmarks")] = False,
    prealign: Annotated[str, typer.Option(help="auto, none, translation, rigid or affine.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    metrics: File = None,
    report: File = None,
    report_title: ReportTitle = None,
    json_progress: JsonProgress = False,
    verbose: Verbose = False,
) -> None:
    """Register MOVING to FIXED; the transform maps fixed points to moving points."""
    with _handled(verbose):
        job = RegistrationJob(
            fixed=fixed,
            moving=moving,
            settings=RegistrationSettings(
                preset=preset,
                model=model,
                refine=refine,
                fold_free=fold_free,
                symmetric=symmetric,
                device=device,
                prealign=prealign,
                guide_with_segmentations=guide,
                guide_with_landmarks=guide_with_landmarks,
            ),
            fixed_segmentation=fixed_segmentation,
            moving_segmentation=moving_segmentation,
            landmarks=landmarks,
            fixed_landmarks=fixed_landmarks,
            moving_landmarks=moving_landmarks,
            initial_transform=initial_transform,
            region=region,
            output_transform=output_transform,
            output_inverse=output_inverse,
            output_volume=output_volume,
            output_segmentation=output_segmentation,
            output_jacobian=output_jacobian,
            output_maps=output_maps,
            output_uncertainty=output_uncertainty,
            metrics=metrics,
            report=report,
            report_title=report_title,
        )
        numbers = _run(job, json_progress)
        if not json_progress:
            _summarize(numbers)


@app.command()
def warp(
    transform: Annotated[str, typer.Argument(help="Transform from fixed to moving points.")],
    reference: Annotated[str, typer.Argument(help="Scan whose grid the result shall have (the fixed scan).")],
    volume: File = None,
    segmentation: File = None,
    output_volume: File = None,
    output_segmentation: File = None,
    verbose: Verbose = False,
) -> None:
    """Apply a transform to a scan (trilinear) or a segmentation (nearest neighbor)."""
    with _handled(verbose):
        run_warp(WarpJob(transform, reference, volume, segmentation, output_volume, output_segmentation))


@app.command()
def evaluate(
    transform: Annotated[str, typer.Argument(help="Transform from fixed to moving points.")],
    fixed: Annotated[str, typer.Argument(help="Fixed scan.")],
    fixed_segmentation: File = None,
    moving_segmentation: File = None,
    landmarks: File = None,
    fixed_landmarks: File = None,
    moving_landmarks: File = None,
    metrics: File = None,
    moving: Annotated[str | None, typer.Option(help="Moving scan, for the similarity and the report.")] = None,
    report: File = None,
    report_title: ReportTitle = None,
    backward_transform: Annotated[
        str | None, typer.Option(help="Transform of a registration the other way, for the inverse consistency.")
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Measure a transform, made here or elsewhere, on labels, landmarks and scans, and judge it."""
    with _handled(verbose):
        job = EvaluateJob(
            transform,
            fixed,
            fixed_segmentation,
            moving_segmentation,
            landmarks,
            fixed_landmarks,
            moving_landmarks,
            metrics,
            moving,
            report,
            report_title,
            backward_transform,
        )
        _summarize(run_evaluate(job, write_report=write_report))


@app.command()
def models(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """List the installed models."""
    cards = list_models()
    if as_json:
        typer.echo(json.dumps([json.loads(card.to_json()) for card in cards], indent=2))
        return
    table = Table("Model", "Title", "Purpose")
    for card in cards:
        table.add_row(card.name, card.title, card.purpose)
    _output.print(table)


@app.command()
def networks(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """List the buildable networks with their parameters and receptive fields."""
    descriptions = describe_all()
    if as_json:
        typer.echo(json.dumps(descriptions, indent=2))
        return
    table = Table("Network", "Parameters", "Paper")
    for description in descriptions:
        table.add_row(description["name"], f"{description['parameters']:,}", str(description["paper"]))
    _output.print(table)


def main() -> None:
    """Entry point; usage errors end with code 2 as typer has it."""
    app()


def _run(job: RegistrationJob, json_progress: bool) -> dict[str, Any]:
    if json_progress:

        def tell(event: ProgressEvent) -> None:
            line = {"stage": event.stage, "fraction": round(event.fraction, 4), "message": event.message}
            typer.echo(json.dumps(line))

        return run_job(job, Monitor(tell), compress=True, write_report=write_report)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_errors) as bar:
        task = bar.add_task("Starting", total=1.0)

        def show(event: ProgressEvent) -> None:
            bar.update(task, completed=event.fraction, description=event.message or event.stage)

        return run_job(job, Monitor(show), compress=True, write_report=write_report)


def _summarize(numbers: dict[str, Any]) -> None:
    table = Table("Measure", "Before", "After")
    for key, title in (("dice", "Dice"), ("asd_mm", "ASD, mm"), ("hd95_mm", "HD95, mm")):
        for name, values in numbers.get(key, {}).items():
            table.add_row(f"{title}, {escape(name)}", _text(values["before"]), _text(values["after"]))
    if "tre_mm" in numbers:
        for key in ("mean", "p75", "max"):
            before, after = (numbers["tre_mm"][when][key] for when in ("before", "after"))
            table.add_row(f"Landmark error {key}, mm", _text(before), _text(after))
    alike = numbers.get("similarity", {}).get("local_ncc")
    if alike is not None:
        table.add_row("Similarity (local NCC)", _text(alike["before"]), _text(alike["after"]))
    table.add_row("Folded voxels, %", "", _text(numbers["jacobian"]["fold_percent"]))
    for name, change in numbers.get("volume_change_percent", {}).items():
        table.add_row(f"Volume of moving against fixed {escape(name)}, %", "", _text(change))
    consistency = numbers["inverse_consistency_mm"]
    table.add_row(f"Inverse consistency p95, mm ({consistency['source']})", "", _text(consistency["p95"]))
    if "uncertainty_mm" in numbers:
        table.add_row("Expected error mean, mm", "", _text(numbers["uncertainty_mm"]["mean"]))
    _output.print(table)
    if "verdict" in numbers:
        _show_verdict(numbers["verdict"])
    for warning in numbers.get("warnings", []):
        _errors.print(f"Note: {warning}")


def _show_verdict(verdict: dict[str, Any]) -> None:
    """The verdict and its reasons; color repeats what the words say."""
    color = COLORS[verdict["level"]]
    _output.print(f"[bold {color}]{escape(verdict['title'])}[/] (limits: {escape(verdict['limits'])})")
    for reason in verdict["reasons"]:
        mark = MARKS[reason["severity"]]
        limit = "" if reason["limit"] is None else f" [dim](limit {reason['limit']:g})[/]"
        _output.print(f"  [{COLORS[reason['severity']]}]{mark}[/] {escape(reason['text'])}{limit}", highlight=False)


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


@contextmanager
def _handled(verbose: bool) -> Iterator[None]:
    """One line on stderr and the exit code of the error's kind."""
    try:
        yield
    except RegistrationError as error:
        _fail(error, error.exit_code, verbose)
    except MemoryError as error:
        _fail(MemoryExhaustedError("The memory of this machine is not enough for these scans."), 4, verbose, error)
    except KeyboardInterrupt:
        _fail(RegistrationError("Cancelled."), 3, verbose)
    except Exception as error:
        message = f"Unexpected error ({type(error).__name__}: {error}); please report it, with --verbose."
        _fail(RegistrationError(message), 1, verbose, error)


def _fail(shown: RegistrationError, code: int, verbose: bool, cause: BaseException | None = None) -> None:
    _errors.print(f"Error: {' '.join(str(shown).split())}", markup=False)
    if verbose:
        traceback.print_exception(cause or shown, file=sys.stderr)
    raise typer.Exit(code)


if __name__ == "__main__":
    main()
