"""How the measures of many registrations are called, written and ordered in a table of all of them.

A measure is named as in ``cohort.csv``: ``dice`` is the mean of the structures, ``dice: liver`` that of one, and
``before: dice`` as loaded. Standard library only: Slicer loads this.
"""

from __future__ import annotations

from collections.abc import Mapping

from .metrics import catalog

SHOWN = (
    "dice",
    "before: dice",
    "hd95_mm",
    "tre_mm",
    "before: tre_mm",
    "local_ncc",
    "jacobian.fold_percent",
    "jacobian.min",
    "inverse_consistency_mm.p95",
    "uncertainty_mm.p95",
)
"""Columns of a table for people, those that the cohort has; cohort.csv has all."""
# Where the catalog has a measure that has another name here.
_PATHS = {"tre_p75_mm": "tre_mm.p75", "tre_max_mm": "tre_mm.max", "local_ncc": "similarity.local_ncc"}
_SEVERITY = {"reject": 0, "look": 1, "accept": 2}


def title_of(measure: str) -> str:
    """Name of a measure for people, with its unit, from the catalog."""
    key, _, structure = measure.removeprefix("before: ").partition(": ")
    entry = catalog().get(_PATHS.get(key, key))
    title = entry.heading if entry is not None else key
    title = f"{title}, {structure}" if structure else title
    return f"{title}, as loaded" if measure.startswith("before: ") else title


def text_of(measure: str, value: float | None) -> str:
    """A value with the digits of its measure."""
    if value is None:
        return ""
    key = measure.removeprefix("before: ").partition(": ")[0]
    entry = catalog().get(_PATHS.get(key, key))
    return entry.text(value) if entry is not None else f"{value:.4g}"


def badness(verdict: str | None, error: str | None, values: Mapping[str, float]) -> tuple[int, float]:
    """What a table sorts by to show the worst first.

    Failed pairs, then rejected ones, then those to look at; in each the largest landmark error or the lowest Dice.
    """
    rank = -1 if error else _SEVERITY.get(verdict or "", 3)
    if "tre_mm" in values:
        return rank, -values["tre_mm"]
    return rank, values.get("dice", values.get("local_ncc", 0.0))
