"""How the measures of many registrations are called, written and ordered in a table of all of them.

A measure is named as in ``cohort.csv``: ``dice`` is the mean of the structures, ``dice: liver`` that of one, and
``before: dice`` as loaded. Standard library only: Slicer loads this.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

from .metrics import catalog
from .sentences import marked as _

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
STRUCTURE_MEASURES = ("dice", "asd_mm", "hd95_mm", "hd_mm")
_DEFORMATION = ("fold_percent", "sdlogj", "min", "max", "std")
# Where the catalog has a measure that has another name here.
_PATHS = {"tre_p75_mm": "tre_mm.p75", "tre_max_mm": "tre_mm.max", "local_ncc": "similarity.local_ncc"}
NOT_REGISTERED = _("not registered")
UNREADABLE = _("its metrics cannot be read")
_SEVERITY = {"reject": 0, "look": 1, "accept": 2}


def title_of(measure: str) -> str:
    """Name of a measure for people, with its unit, from the catalog."""
    key, _separator, structure = measure.removeprefix("before: ").partition(": ")
    entry = catalog().get(_PATHS.get(key, key))
    title = entry.heading if entry is not None else key
    title = _("{measure}, {structure}").format(measure=title, structure=structure) if structure else title
    return _("{title}, as loaded").format(title=title) if measure.startswith("before: ") else title


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


def case_values(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Measures of one registration; those that are not defined are left out.

    A structure that left the fixed scan's view altogether has Dice 0 and no distances.
    """
    values: dict[str, float] = {}
    for when, prefix in (("after", ""), ("before", "before: ")):
        values |= structure_values(metrics, when, prefix) | landmark_values(metrics, when, prefix, ("p75", "max"))
        alike = metrics.get("similarity", {}).get("local_ncc", {}).get(when)
        values |= {f"{prefix}local_ncc": alike} if alike is not None else {}
    jacobian = metrics["jacobian"]
    values |= {f"jacobian.{key}": jacobian[key] for key in _DEFORMATION if jacobian.get(key) is not None}
    for key in ("inverse_consistency_mm", "uncertainty_mm"):
        value = metrics.get(key, {}).get("p95")
        values |= {f"{key}.p95": value} if value is not None else {}
    return values


def structure_values(metrics: Mapping[str, Any], when: str, prefix: str) -> dict[str, float]:
    """Measures of structures ``before`` or ``after``: ``dice``, their mean, and ``dice: liver``, that of one."""
    values: dict[str, float] = {}
    for key in STRUCTURE_MEASURES:
        found = {name: entry[when] for name, entry in metrics.get(key, {}).items() if entry[when] is not None}
        values |= {f"{prefix}{key}": fmean(found.values())} if found else {}
        values |= {f"{prefix}{key}: {name}": value for name, value in found.items()}
    return values


def landmark_values(
    metrics: Mapping[str, Any], when: str, prefix: str, statistics: Iterable[str] | None = None
) -> dict[str, float]:
    """``tre_mm``, the mean error of landmarks ``before`` or ``after``, and other statistics such as ``tre_p75_mm``.

    Args:
        metrics: of one registration.
        when: ``before`` or ``after``.
        prefix: before each name.
        statistics: beside the mean; None takes all.
    """
    errors = metrics.get("tre_mm", {}).get(when, {})
    chosen = [key for key in (errors if statistics is None else statistics) if key != "mean"]
    values = {f"{prefix}tre_mm": errors["mean"]} if errors else {}
    return values | {f"{prefix}tre_{key}_mm": errors[key] for key in chosen if errors.get(key) is not None}
