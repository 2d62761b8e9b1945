"""Tables as text: rows of cells, the first row the heading, as CSV or Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

Rows = Sequence[Sequence[Any]]


def comma_separated(rows: Iterable[Sequence[Any]]) -> str:
    """CSV; None becomes an empty cell."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def markdown(rows: Rows, names: int = 1) -> str:
    """A Markdown table.

    Args:
        rows: of cells.
        names: the first so many columns are names, written to the left; the others are numbers, written to the right.
    """
    width = len(rows[0])
    marks = ["---"] * names + ["---:"] * (width - names)
    lines = [rows[0], marks, *rows[1:]]
    return "".join("| " + " | ".join(map(_cell, line)) + " |\n" for line in lines)


def _cell(value: Any) -> str:
    return cell_text(value).replace("|", "\\|")


def cell_text(value: Any) -> str:
    """A cell as text; None becomes an empty one."""
    return "" if value is None else str(value)
