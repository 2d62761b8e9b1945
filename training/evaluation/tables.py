"""The one writer of tables: rows of cells, the first row the heading, as CSV, Markdown or a table of the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from DeepLargeDeformRegLib.cohort.summary import comma_separated
from DeepLargeDeformRegLib.core.files.common import write_text
from rich.console import Console
from rich.table import Table

Rows = Sequence[Sequence[Any]]


def markdown(rows: Rows, names: int = 1) -> str:
    """A Markdown table.

    Args:
        rows: of cells.
        names: the first so many columns are names, written to the left; the others are numbers, written to the right.
    """
    width = len(rows[0])
    marks = ["---"] * names + ["---:"] * (width - names)
    lines = [rows[0], marks, *rows[1:]]
    return "".join("| " + " | ".join(_cell(cell) for cell in line) + " |\n" for line in lines)


def write_tables(rows: Rows, path: Path, names: int = 1) -> None:
    """Write ``path`` with the endings ``.csv`` and ``.md``.

    Raises:
        OutputError: if a file cannot be written.
    """
    write_text(comma_separated(rows), path.with_suffix(".csv"))
    write_text(markdown(rows, names), path.with_suffix(".md"))


def print_table(rows: Rows, console: Console, title: str = "", names: int = 1, sections: bool = False) -> None:
    """Show a table on a terminal.

    Args:
        rows: of cells.
        console: where it is shown.
        title: above it.
        names: as in :func:`markdown`.
        sections: draw a line where the first column changes.
    """
    table = Table(title=title or None)
    for number, column in enumerate(rows[0]):
        table.add_column(_cell(column), justify="left" if number < names else "right")
    previous: Any = None
    for row in rows[1:]:
        if sections and previous not in (None, row[0]):
            table.add_section()
        table.add_row(*map(_cell, row))
        previous = row[0]
    console.print(table)


def _cell(value: Any) -> str:
    return "" if value is None else str(value).replace("|", "\\|")
