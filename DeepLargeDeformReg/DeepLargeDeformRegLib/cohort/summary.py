"""Numbers of a cohort: a row a pair, and what is said of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.cases import badness, case_values
from ..core.tables import comma_separated

STATISTICS = ("n", "mean", "std", "min", "p25", "p50", "p75", "p95", "max")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One pair in the cohort's tables.

    Args:
        name: of the pair.
        values: by measure; ``before: ...`` as loaded, ``dice`` the mean of the structures, ``dice: liver`` of one.
        verdict: key of the level; None without a result.
        error: why there is no result.
        seconds: that the registration took, by the clock.
    """

    name: str
    values: Mapping[str, float] = field(default_factory=dict)
    verdict: str | None = None
    error: str | None = None
    seconds: float = 0.0


def row_of(name: str, metrics: Mapping[str, Any], seconds: float) -> Row:
    """Row of a pair from its metrics.json."""
    verdict = metrics.get("verdict", {}).get("level")
    return Row(name=name, values=case_values(metrics), verdict=verdict, seconds=seconds)


def worst_first(rows: Iterable[Row]) -> list[Row]:
    """Rows as :func:`..core.cases.badness` orders them."""
    return sorted(rows, key=lambda row: (*badness(row.verdict, row.error, row.values), row.name))


def measures(rows: Iterable[Row]) -> list[str]:
    """All measures that any of the rows has."""
    return list(dict.fromkeys(name for row in rows for name in row.values))


def summarize(cases: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Of each measure :data:`STATISTICS` over the cases that have it; the standard deviation is the population's."""
    table = {}
    for name in dict.fromkeys(name for case in cases for name in case):
        values = np.array([case[name] for case in cases if name in case], dtype=np.float64)
        entry = {"n": float(values.size), "mean": float(values.mean()), "std": float(values.std())}
        entry |= {"min": float(values.min()), "max": float(values.max())}
        table[name] = entry | {f"p{q}": float(np.percentile(values, q)) for q in (25, 50, 75, 95)}
    return table


def cases_csv(rows: Sequence[Row]) -> str:
    """A line a pair, all digits. How long each took is not in it: two runs of one cohort give the same table."""
    names = measures(rows)
    lines: list[list[Any]] = [["name", "verdict", "error", *names]]
    lines += [[row.name, row.verdict, row.error, *(row.values.get(name) for name in names)] for row in rows]
    return comma_separated(lines)


def summary_csv(rows: Sequence[Row]) -> str:
    """A line a measure."""
    table = summarize([row.values for row in rows])
    lines = [[name, *(entry[key] for key in STATISTICS)] for name, entry in table.items()]
    return comma_separated([["measure", *STATISTICS], *lines])
