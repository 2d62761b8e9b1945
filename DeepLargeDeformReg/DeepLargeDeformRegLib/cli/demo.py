"""``deeplargedeformreg demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options as o


def demo(
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("demo-output"),
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Register the sample case, two CTs of one lung."""
    from .terminal import session

    with session(quiet, verbose) as terminal:
        from ..core.settings import RegistrationSettings
        from ..engine.job import RegistrationJob, run_job
        from ..report import write_report
        from ..resources import SAMPLE_CASE
        from .summary import summarize

        output.mkdir(parents=True, exist_ok=True)
        job = RegistrationJob(
            fixed=str(SAMPLE_CASE / "fixed.nii.gz"),
            moving=str(SAMPLE_CASE / "moving.nii.gz"),
            fixed_segmentation=str(SAMPLE_CASE / "fixed_mask.nii.gz"),
            moving_segmentation=str(SAMPLE_CASE / "moving_mask.nii.gz"),
            match=("1=1",),  # both masks show the lung
            landmarks=str(SAMPLE_CASE / "landmarks_lps.csv"),
            settings=RegistrationSettings(preset="lung-ct"),
            output_transform=str(output / "transform.h5"),
            output_volume=str(output / "warped.nii.gz"),
            output_segmentation=str(output / "warped_mask.nii.gz"),
            output_jacobian=str(output / "jacobian.nii.gz"),
            metrics=str(output / "metrics.json"),
            report=str(output / "report.html"),
        )
        with terminal.progress() as monitor:
            numbers = run_job(job, monitor, compress=True, write_report=write_report)
        summarize(numbers, terminal)
        terminal.show(f"Report: {(output / 'report.html').resolve()}")
