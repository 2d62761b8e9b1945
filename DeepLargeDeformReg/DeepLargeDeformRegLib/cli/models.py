"""``deeplargedeformreg models``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from . import options as o


def models(
    as_json: Annotated[bool, typer.Option("--json", help="The cards as JSON.")] = False,
    verbose: o.Verbose = False,
) -> None:
    """List the installed models."""
    from .terminal import session

    with session(verbose=verbose) as terminal:
        from ..engine.models import list_models

        cards = list_models()
        if as_json:
            typer.echo(json.dumps([json.loads(card.to_json()) for card in cards], indent=2))
            return
        from rich.markup import escape
        from rich.table import Table

        table = Table("Model", "Title", "Purpose")
        for card in cards:
            table.add_row(escape(card.name), escape(card.title), escape(card.purpose))
        terminal.show(table)
