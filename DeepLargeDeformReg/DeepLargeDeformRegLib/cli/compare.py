"""``deeplargedeformreg compare``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from . import options as o

if TYPE_CHECKING:
    from .terminal import Terminal


@o.takes_settings("model", "symmetric", "guide_with_landmarks")
def compare(
    context: typer.Context,
    fixed: o.Fixed,
    moving: o.Moving,
    output: o.Output,
    models: o.Models = "all",
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
    quiet: o.Quiet = False,
    log_file: o.LogFile = None,
    verbose: o.Verbose = False,
    **_settings: Any,
) -> None:
    """Register one pair with several models, and table what each reached.

    In parentheses stand the figures of each model's card, whose time is that of the network alone. With --no-guide
    the segmentations only measure, and with --no-refine the networks stand alone.
    """
    from .terminal import session

    with session(quiet, verbose, log_file) as terminal:
        _run(context.params, terminal)


def _run(values: dict[str, Any], terminal: Terminal) -> None:
    from pathlib import Path

    from rich.markup import escape
    from rich.table import Table

    from ..cohort.compare import chosen_models, compare_models
    from ..cohort.pairs import FILES
    from ..core.comparison import narrow_rows
    from .register import settings_from

    files = {name: str(Path(values[name]).absolute()) for name in FILES if values[name]}
    with terminal.cohort() as (listen, tell):
        results = compare_models(
            files,
            chosen_models(values["models"], values["preset"]),
            values["output"],
            settings=settings_from(values),
            match=values["match"] or (),
            listen=listen,
            tell=tell,
        )
    heading, *rows = narrow_rows(results)
    table = Table(*map(escape, heading), show_lines=True)
    for row in rows:
        table.add_row(*map(escape, row))
    terminal.show(table)
    terminal.show("In parentheses: what the model's card says of other scans; its time is that of the network alone.")
    terminal.show(f"Comparison: {(values['output'] / 'comparison.csv').resolve()}")
    if all(result.error for result in results):
        raise typer.Exit(1)
