"""``deeplargedeformreg evaluate``."""

from __future__ import annotations

from typing import Annotated

from . import options as o


def evaluate(
    transform: o.Transform,
    fixed: o.Fixed,
    moving: Annotated[str, o.option("Moving scan.")],
    fixed_segmentation: o.FixedSegmentation = None,
    moving_segmentation: o.MovingSegmentation = None,
    match: o.Match = None,
    landmarks: o.Landmarks = None,
    fixed_landmarks: o.FixedLandmarks = None,
    moving_landmarks: o.MovingLandmarks = None,
    fixed_mask: o.FixedMask = None,
    moving_mask: o.MovingMask = None,
    backward_transform: o.BackwardTransform = None,
    metrics: o.Metrics = None,
    report: o.Report = None,
    report_title: o.ReportTitle = None,
    quiet: o.Quiet = False,
    log_file: o.LogFile = None,
    verbose: o.Verbose = False,
) -> None:
    """Measure and judge a transform from anywhere.

    On both scans, and on structures and landmarks if they are given.
    """
    from .terminal import session

    with session(quiet, verbose, log_file) as terminal:
        from ..engine.job import EvaluateJob, run_evaluate
        from ..report import write_report
        from .summary import summarize

        job = EvaluateJob(
            transform=transform,
            fixed=fixed,
            moving=moving,
            fixed_segmentation=fixed_segmentation,
            moving_segmentation=moving_segmentation,
            landmarks=landmarks,
            fixed_landmarks=fixed_landmarks,
            moving_landmarks=moving_landmarks,
            fixed_mask=fixed_mask,
            moving_mask=moving_mask,
            match=tuple(match or ()),
            backward_transform=backward_transform,
            metrics=metrics,
            report=report,
            report_title=report_title,
        )
        with terminal.progress() as monitor:
            numbers = run_evaluate(job, monitor, write_report=write_report)
        summarize(numbers, terminal)
