"""Figures of a cohort from those of its cases: averages, percentiles, tests against another run, curves, tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from DeepLargeDeformRegLib.cohort.summary import summarize
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.engine.metrics import dice30
from scipy.stats import wilcoxon

Values = Mapping[str, float]
CURVE_LIMITS_MM = tuple(np.arange(0.0, 20.25, 0.25).tolist())
_STATISTICS = ("n", "mean", "std", "dice30", "min", "p25", "p50", "p75", "p95", "max")


def summarize_with_lowest(cases: Sequence[Values]) -> dict[str, dict[str, float]]:
    """What :func:`summarize` says of each measure; Dice also has ``dice30``, the mean of the lowest 30 % of cases."""
    table = summarize(cases)
    for name, row in table.items():
        if name.split(":")[0] == "dice":
            lowest = dice30(case[name] for case in cases if name in case)
            row |= {} if lowest is None else {"dice30": lowest}
    return table


def compare(ours: Mapping[str, Values], other: Mapping[str, Values], settings: int = 1) -> dict[str, dict[str, Any]]:
    """One-sided Wilcoxon signed-rank tests (Biometrics Bulletin 1945) of whether ours is better, over shared cases.

    As Hering et al. 2021 test: one-sided, with Bonferroni's correction over the settings that are compared.

    Args:
        ours: measures by case.
        other: those of the run that it is compared with.
        settings: number of other runs that ours is compared with.

    Returns:
        By measure: ``n`` pairs, ``difference`` (the mean of ours minus other's), ``alternative`` (``greater`` where
        more is better, else ``less``; ``two-sided`` where neither is), ``p``, and ``p_bonferroni``: p times the
        settings, at most 1. Where all cases are equal p is 1.

    Raises:
        BadInputError: if the runs share no case.
    """
    shared = [case for case in ours if case in other]
    if not shared:
        raise BadInputError("The two runs have no pair of scans in common, so they cannot be compared.")
    tests: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(name for case in shared for name in ours[case]):
        both = [
            (ours[case][name], other[case][name]) for case in shared if name in ours[case] and name in other[case]
        ]
        if not both:
            continue
        difference = np.array([first - second for first, second in both])
        side = alternative(name)
        p = float(wilcoxon(difference, alternative=side).pvalue) if difference.any() else 1.0
        corrected = min(1.0, p * settings)
        tests[name] = {"n": len(both), "difference": float(difference.mean()), "alternative": side, "p": p}
        tests[name]["p_bonferroni"] = corrected
    return tests


def alternative(name: str) -> str:
    """Which side of a measure is better, as the alternative of a test."""
    measure = name.removeprefix("in mask: ").split(":")[0]
    if measure in ("jacobian_min", "jacobian_max"):
        return "two-sided"
    return "greater" if measure == "dice" else "less"


def cumulative_curve(errors: Iterable[float], limits: Sequence[float]) -> list[float]:
    """Share (0..1) of landmarks whose error is at most each limit; mm."""
    ordered = np.sort(np.fromiter(errors, dtype=np.float64))
    if not ordered.size:
        return []
    return [float(np.searchsorted(ordered, limit, side="right") / ordered.size) for limit in limits]


def summary_table(summary: Mapping[str, Values]) -> list[list[str]]:
    """Rows of text, the first one the heading."""
    rows = [["measure", *_STATISTICS]]
    for name, values in summary.items():
        cells = ["" if key not in values else _text(key, values[key]) for key in _STATISTICS]
        rows.append([name, *cells])
    return rows


def comparison_table(comparisons: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[list[str]]:
    """Rows of text, the first one the heading; ``comparisons`` has the tests against each other run, by its name."""
    columns = ("n", "difference", "alternative", "p", "p_bonferroni")
    rows = [["against", "measure", *columns]]
    for run, tests in comparisons.items():
        rows += [[run, name, *(_text(key, test[key]) for key in columns)] for name, test in tests.items()]
    return rows


def _text(key: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if key == "n" else f"{value:.4g}"
