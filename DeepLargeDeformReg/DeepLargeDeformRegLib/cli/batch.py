"""``deeplargedeformreg batch``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options as o


def batch(
    context: typer.Context,
    pairs: Annotated[
        Path,
        typer.Argument(
            help="CSV or TSV with the columns fixed and moving, and any of name, fixed_segmentation, "
            "moving_segmentation, landmarks, fixed_landmarks, moving_landmarks, initial_transform, region, match, "
            "preset, model; or the dataset.json of a Learn2Reg task."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder for the results; a run that was interrupted goes on there.")],
    outputs: Annotated[
        str,
        typer.Option(
            help="What to write for each pair, of transform, inverse, volume, segmentation, jacobian, uncertainty, "
            "maps, report; joined with commas. Metrics are always written."
        ),
    ] = "transform,volume,segmentation,report",
    workers: Annotated[int | None, typer.Option(min=1, help="Pairs at a time; planned by default.")] = None,
    scheduler: Annotated[
        str | None, o.option("Address of a Dask scheduler whose workers register instead of this machine.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Register those pairs again that failed in an earlier run.")
    ] = False,
    atlas: Annotated[
        str | None,
        o.option(
            "Fuse the propagated labels of all pairs, which have one fixed scan, by majority or staple: "
            "fused_labels.nii.gz and agreement.nii.gz, the share of the atlases that agree."
        ),
    ] = None,
    preset: o.Preset = "any",
    model: o.Model = None,
    refine: o.Refine = None,
    fold_free: o.FoldFree = True,
    symmetric: o.Symmetric = False,
    prealign: o.Prealign = "auto",
    guide: o.Guide = True,
    guide_with_landmarks: o.GuideWithLandmarks = False,
    smoothness: o.Smoothness = 1.0,
    steps: o.Steps = None,
    grid_spacing: o.GridSpacing = None,
    memory_limit: o.MemoryLimit = None,
    uncertainty: o.Uncertainty = True,
    device: o.Device = "auto",
    quiet: o.Quiet = False,
    log_file: o.LogFile = None,
    verbose: o.Verbose = False,
) -> None:
    """Register the pairs of a table.

    Each pair gets a folder with its results; cohort.csv, summary.csv and cohort.html tell of all. Pairs that are
    finished are not registered again, so that the same command takes up a run that was interrupted.
    """
    from .terminal import session

    with session(quiet, verbose, log_file) as terminal:
        from ..cohort.pairs import read_pairs
        from ..cohort.run import CohortRequest, run_cohort
        from .register import settings_from

        request = CohortRequest(
            pairs=read_pairs(pairs),
            output=output,
            settings=settings_from(context.params),
            outputs=[name.strip() for name in outputs.split(",") if name.strip()],
            workers=workers,
            scheduler=scheduler,
            retry_failed=retry_failed,
            atlas=atlas,
        )
        with terminal.cohort() as (listen, tell):
            rows = run_cohort(request, listen, tell)
        failed = [row for row in rows if row.error is not None]
        for row in failed[:20]:
            terminal.note(f"{row.name}: {row.error}")
        if failed:
            terminal.note(f"{len(failed)} of {len(rows)} pairs failed; --retry-failed registers them again.")
        terminal.show(f"Cohort: {(output / 'cohort.html').resolve()}")
