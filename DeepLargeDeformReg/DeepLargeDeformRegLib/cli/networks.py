"""``deeplargedeformreg networks``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from . import options as o


def networks(
    as_json: Annotated[bool, typer.Option("--json", help="The descriptions as JSON.")] = False,
    verbose: o.Verbose = False,
) -> None:
    """List the networks that can be built."""
    from .terminal import session

    with session(verbose=verbose) as terminal:
        from ..engine.networks import describe_all

        descriptions = describe_all()
        if as_json:
            typer.echo(json.dumps(descriptions, indent=2))
            return
        from rich.table import Table

        table = Table("Network", "Parameters", "Paper")
        for description in descriptions:
            table.add_row(description["name"], f"{description['parameters']:,}", str(description["paper"]))
        terminal.show(table)
