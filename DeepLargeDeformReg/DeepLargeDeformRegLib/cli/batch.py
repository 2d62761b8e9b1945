"""``deeplargedeformreg batch``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from . import options as o

if TYPE_CHECKING:
    from ..cohort.run import CohortRequest
    from .terminal import Terminal


@o.takes_settings()
def batch(
    context: typer.Context,
    pairs: o.Pairs,
    output: o.Output,
    moving_folder: o.MovingFolder = None,
    outputs: o.Outputs = "transform,volume,segmentation,report",
    workers: o.Workers = None,
    scheduler: o.Scheduler = None,
    retry_failed: o.RetryFailed = False,
    atlas: o.Atlas = None,
    quiet: o.Quiet = False,
    log_file: o.LogFile = None,
    verbose: o.Verbose = False,
    **_settings: Any,
) -> None:
    """Register the pairs of a table, or of two folders.

    Each pair gets a folder with its results; cohort.csv, summary.csv and cohort.html tell of all. Pairs that are
    finished are not registered again, so that the same command takes up a run that was interrupted. Where no pair
    could be registered, the exit code is 1.
    """
    from .terminal import session

    with session(quiet, verbose, log_file) as terminal:
        from ..cohort.pairs import pair_folders, read_pairs
        from ..cohort.run import CohortRequest
        from .register import settings_from

        request = CohortRequest(
            pairs=pair_folders(pairs, moving_folder) if moving_folder else read_pairs(pairs),
            output=output,
            settings=settings_from(context.params),
            outputs=[name.strip() for name in outputs.split(",") if name.strip()],
            workers=workers,
            scheduler=scheduler,
            retry_failed=retry_failed,
            atlas=atlas,
        )
        _run(request, terminal)


def _run(request: CohortRequest, terminal: Terminal) -> None:
    """Register the pairs, and say which failed and where the page of the cohort is."""
    from ..cohort.run import run_cohort

    with terminal.cohort() as (listen, tell):
        rows = run_cohort(request, listen, tell)
    failed = [row for row in rows if row.error is not None]
    for row in failed[:20]:
        terminal.note(f"{row.name}: {row.error}")
    if failed:
        terminal.note(f"{len(failed)} of {len(rows)} pairs failed; --retry-failed registers them again.")
    terminal.show(f"Cohort: {(request.output / 'cohort.html').resolve()}")
    if failed and len(failed) == len(rows):
        raise typer.Exit(1)
