"""The program: its commands, its version, its entry point."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import IO, Annotated

import typer

from .. import __version__
from .batch import batch
from .compare import compare
from .demo import demo
from .evaluate import evaluate
from .models import models
from .networks import networks
from .register import register
from .warp import warp

app = typer.Typer(
    name="deeplargedeformreg",
    help="Register 3D scans that differ by a large deformation.",
    no_args_is_help=True,
    rich_markup_mode=None,  # rich takes longer to import than all else that help needs
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in (register, batch, compare, warp, evaluate, models, networks, demo):
    app.command()(_command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"DeepLargeDeformReg {__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Register 3D scans that differ by a large deformation."""


def main() -> None:
    """Run the command line.

    Exit codes: 0 done, 2 bad input or usage, 3 cancelled, 4 out of memory, 1 anything else.
    """
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding cannot show must not end a finished registration.
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        app()
    finally:
        for stream in (sys.stdout, sys.stderr):
            _drop_what_cannot_be_written(stream)


def _drop_what_cannot_be_written(stream: IO[str] | None) -> None:
    """Let the exit code be that of the work: Python makes it 120 where the last text finds a closed stream."""
    if stream is None:
        return
    try:
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
