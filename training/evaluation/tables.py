"""Tables as files, and on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from DeepLargeDeformRegLib.core.files.common import write_text
from DeepLargeDeformRegLib.core.tables import Rows, cell_text, comma_separated, markdown
from rich.console import Console
from rich.table import Table


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
        names: as in :func:`.core.tables.markdown`.
        sections: draw a line where the first column changes.
    """
    table = Table(title=title or None)
    for number, column in enumerate(rows[0]):
        table.add_column(cell_text(column), justify="left" if number < names else "right")
    previous: Any = None
    for row in rows[1:]:
        if sections and previous not in (None, row[0]):
            table.add_section()
        table.add_row(*map(cell_text, row))
        previous = row[0]
    console.print(table)
