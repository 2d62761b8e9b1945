"""Figures of a cohort from those of its cases: averages, percentiles, tests against another run, curves, tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.engine.metrics import dice30
from scipy.stats import wilcoxon

Values = Mapping[str, float]
CURVE_LIMITS_MM = tuple(np.arange(0.0, 20.25, 0.25).tolist())
_STATISTICS = ("n", "mean", "std", "dice30", "min", "p25", "p50", "p75", "p95", "max")


def summarize(cases: Sequence[Values]) -> dict[str, dict[str, float]]:
    """Of each measure: number of cases that have it, mean, standard deviation (of the population), percentiles.

    Dice also has ``dice30``, the mean of the lowest 30 % of the cases.
    """
    table = {}
    for name in dict.fromkeys(name for case in cases for name in case):
        values = np.array([case[name] for case in cases if name in case], dtype=np.float64)
        row = {"n": float(values.size), "mean": float(values.mean()), "std": float(values.std())}
        row |= {"min": float(values.min()), "max": float(values.max())}
        row |= {f"p{q}": float(np.percentile(values, q)) for q in (25, 50, 75, 95)}
        lowest = dice30(values) if name.split(":")[0] == "dice" else None
        table[name] = row if lowest is None else row | {"dice30": lowest}
    return table


def compare(ours: Mapping[str, Values], other: Mapping[str, Values]) -> dict[str, dict[str, float]]:
    """Wilcoxon signed-rank tests (Wilcoxon, Biometrics Bulletin 1945), two-sided, over the cases of both runs.

    Args:
        ours: measures by case.
        other: those of the run that it is compared with.

    Returns:
        By measure: ``n`` pairs, ``difference`` (the mean of ours minus other's), ``p`` and ``p_bonferroni``: p times
        the number of measures tested, at most 1. Where all cases are equal p is 1.

    Raises:
        BadInputError: if the runs share no case.
    """
    shared = [case for case in ours if case in other]
    if not shared:
        raise BadInputError("The two runs have no pair of scans in common, so they cannot be compared.")
    tests: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(name for case in shared for name in ours[case]):
        both = [
            (ours[case][name], other[case][name]) for case in shared if name in ours[case] and name in other[case]
        ]
        if not both:
            continue
        difference = np.array([first - second for first, second in both])
        p = float(wilcoxon(difference).pvalue) if difference.any() else 1.0
        tests[name] = {"n": float(len(both)), "difference": float(difference.mean()), "p": p}
    return {name: test | {"p_bonferroni": min(1.0, test["p"] * len(tests))} for name, test in tests.items()}


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


def comparison_table(tests: Mapping[str, Values]) -> list[list[str]]:
    """Rows of text, the first one the heading."""
    columns = ("n", "difference", "p", "p_bonferroni")
    return [
        ["measure", *columns],
        *([name, *(_text(key, test[key]) for key in columns)] for name, test in tests.items()),
    ]


def _text(key: str, value: Any) -> str:
    return f"{value:.0f}" if key == "n" else f"{value:.4g}"
