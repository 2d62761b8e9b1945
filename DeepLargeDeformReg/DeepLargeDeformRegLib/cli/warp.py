"""``deeplargedeformreg warp``."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options as o


def warp(
    transform: o.Transform,
    reference: Annotated[str, typer.Argument(help="Scan whose grid the result shall have (the fixed scan).")],
    volume: Annotated[str | None, o.option(f"Scan to warp: {o.SCANS}.")] = None,
    segmentation: Annotated[str | None, o.option(f"Segmentation to warp: {o.LABELS}.")] = None,
    output_volume: Annotated[str | None, o.option("Write the warped scan here.")] = None,
    output_segmentation: Annotated[str | None, o.option("Write the warped segmentation here.")] = None,
    quiet: o.Quiet = False,
    log_file: o.LogFile = None,
    verbose: o.Verbose = False,
) -> None:
    """Apply a transform to a scan or a segmentation.

    Scans are interpolated linearly, segmentations by their nearest neighbor.
    """
    from .terminal import session

    with session(quiet, verbose, log_file) as terminal:
        from ..engine.job import WarpJob, run_warp

        job = WarpJob(
            transform=transform,
            reference=reference,
            volume=volume,
            segmentation=segmentation,
            output_volume=output_volume,
            output_segmentation=output_segmentation,
        )
        with terminal.progress() as monitor:
            run_warp(job, monitor)
