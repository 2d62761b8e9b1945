"""The page of a cohort: one self-contained HTML file with a sortable table, box plots and links to the reports."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from .. import __version__
from ..core.cases import SHOWN, text_of, title_of
from ..core.display import LEVELS
from .folder import REPORT
from .summary import Row, measures, summarize, worst_first

_BOXES = ("dice", "asd_mm", "hd95_mm", "tre_mm", "local_ncc")
_PLOT_WIDTH = 420.0


def cohort_page(rows: Sequence[Row], reports: Collection[str]) -> str:
    """HTML of a cohort, the worst pairs first.

    Args:
        rows: of the pairs.
        reports: names of the pairs that have a report.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("DeepLargeDeformRegLib", "cohort"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    there = set(measures(rows))
    columns = [name for name in SHOWN if name in there]
    table = summarize([row.values for row in rows])
    counts = {key: sum(row.verdict == key for row in rows) for key in LEVELS}
    return environment.get_template("cohort.html").render(
        version=__version__,
        total=len(rows),
        failed=[row for row in rows if row.error is not None],
        counts=[(key, LEVELS[key].title, number) for key, number in counts.items() if number],
        columns=[title_of(name) for name in columns],
        rows=[_cells(row, columns, row.name in reports) for row in worst_first(rows)],
        boxes=[boxes(rows, measure) for measure in _BOXES if measure in there],
        statistics=[
            (title_of(name), *(text_of(name, table[name][key]) for key in ("mean", "std", "p50", "min", "max")))
            for name in table
        ],
    )


def boxes(rows: Sequence[Row], measure: str) -> dict[str, Any]:
    """A box plot of a measure: as loaded, registered, and each structure by itself.

    A box reaches from the first to the third quartile with a line at the median; whiskers end at the last pair within
    1.5 times its height (Tukey, Exploratory Data Analysis, 1977); pairs beyond are dots. Positions are in pixels.
    """
    names = [f"before: {measure}", measure, *sorted({n for n in measures(rows) if n.startswith(f"{measure}: ")})]
    values = {name: [row.values[name] for row in rows if name in row.values] for name in names}
    values = {name: found for name, found in values.items() if found}
    low = min(0.0, *(min(found) for found in values.values()))
    high = max(max(found) for found in values.values()) or 1.0
    scale = _PLOT_WIDTH / (high - low or 1.0)
    drawn = []
    for name, found in values.items():
        box = _box(np.array(found))
        places = {key: round((place - low) * scale, 1) for key, place in box["places"].items()}
        dots = [round((place - low) * scale, 1) for place in box["dots"]]
        text = "as loaded" if name.startswith("before: ") else name.partition(": ")[2] or "registered"
        median = text_of(measure, box["median"])
        drawn.append({"label": text, "n": len(found), "median": median, "places": places, "dots": dots})
    return {
        "title": title_of(measure),
        "boxes": drawn,
        "low": text_of(measure, low),
        "high": text_of(measure, high),
        "width": _PLOT_WIDTH,
    }


def _box(values: np.ndarray) -> dict[str, Any]:
    first, median, third = (float(value) for value in np.percentile(values, (25, 50, 75)))
    reach = 1.5 * (third - first)
    inside = values[(values >= first - reach) & (values <= third + reach)]
    places = {
        "low": float(inside.min()),
        "first": first,
        "median": median,
        "third": third,
        "high": float(inside.max()),
    }
    dots = [float(value) for value in values if value < places["low"] or value > places["high"]]
    return {"places": places, "dots": dots, "median": median}


def _cells(row: Row, columns: Sequence[str], has_report: bool) -> dict[str, Any]:
    return {
        "name": row.name,
        "link": f"pairs/{row.name}/{REPORT}" if has_report else None,
        "level": row.verdict or "failed",
        "verdict": row.error or (LEVELS[row.verdict].title if row.verdict in LEVELS else ""),
        "cells": [(row.values.get(name), text_of(name, row.values.get(name))) for name in columns],
    }
