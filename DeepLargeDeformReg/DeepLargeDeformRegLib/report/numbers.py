"""The numbers of the report, each one bound to the entry of the metrics that it shows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

NOT_DEFINED = "not defined"
# Entry of the metrics -> heading, unit, digits; each holds {structure: {"before": x, "after": y}}.
STRUCTURE_MEASURES = (
    ("dice", "Dice", "", 3),
    ("asd_mm", "ASD", "mm", 2),
    ("hd95_mm", "HD95", "mm", 2),
    ("hd_mm", "HD", "mm", 2),
)
ERROR_ROWS = (
    ("mean", "Mean"),
    ("std", "Standard deviation"),
    ("p25", "25th percentile"),
    ("p50", "Median"),
    ("p75", "75th percentile"),
    ("p95", "95th percentile"),
    ("max", "Largest"),
)
JACOBIAN_ROWS = (
    ("min", "Smallest det J", "", 3),
    ("max", "Largest det J", "", 3),
    ("p1", "1st percentile", "", 3),
    ("p99", "99th percentile", "", 3),
    ("std", "Standard deviation", "", 3),
    ("fold_percent", "Folded voxels", "%", 3),
    ("sdlogj", "SDlogJ", "", 3),
    ("sdlogj_learn2reg", "SDlogJ as in Learn2Reg", "", 3),
)


@dataclass(frozen=True)
class Number:
    """A number of the metrics as the report shows it.

    Args:
        path: keys that lead to it in the metrics, as JSON.
        value: what stands there.
        digits: decimals shown.
        unit: unit, may be empty.
    """

    path: str
    value: float | None
    digits: int
    unit: str = ""

    @property
    def text(self) -> str:
        """The number without its unit."""
        return NOT_DEFINED if self.value is None else f"{self.value:.{self.digits}f}"


@dataclass(frozen=True)
class Row:
    """A row of a table: its heading and its cells; a cell without a number is None."""

    name: str
    cells: tuple[Number | None, ...]


@dataclass(frozen=True)
class Table:
    """A table: groups of columns as (heading, unit, columns), and rows."""

    groups: tuple[tuple[str, str, tuple[str, ...]], ...]
    rows: tuple[Row, ...]


def number(metrics: Mapping[str, Any], path: tuple[str | int, ...], digits: int, unit: str = "") -> Number | None:
    """The number at a path of the metrics; None where the path does not lead to a number or to null."""
    value: Any = metrics
    for key in path:
        if isinstance(key, str) and not (isinstance(value, Mapping) and key in value):
            return None
        value = value[key]
    if value is not None and not isinstance(value, int | float):
        return None
    return Number(json.dumps(path), value, digits, unit)


def structure_table(metrics: Mapping[str, Any]) -> Table | None:
    """Each structure with all that was measured on it, before and after; None without structures."""
    present = [measure for measure in STRUCTURE_MEASURES if metrics.get(measure[0])]
    names = list(dict.fromkeys(name for measure in present for name in metrics[measure[0]]))
    if not names:
        return None
    groups: list[tuple[str, str, tuple[str, ...]]] = [(title, unit, WHEN) for _, title, unit, _ in present]
    volumes = _volume_columns(metrics)
    if volumes:
        groups.append(("Volume", "ml", tuple(title for _, title in volumes)))
    if metrics.get("volume_change_percent"):
        groups.append(("Change", "%", ("moving / fixed",)))
    rows = []
    for name in names:
        cells = [
            number(metrics, (key, name, when), digits)
            for key, _, _, digits in present
            for when in ("before", "after")
        ]
        cells += [number(metrics, ("volume_ml", name, key), 1) for key, _ in volumes]
        if metrics.get("volume_change_percent"):
            cells.append(number(metrics, ("volume_change_percent", name), 1))
        rows.append(Row(name, tuple(cells)))
    return Table(tuple(groups), tuple(rows))


def error_table(metrics: Mapping[str, Any]) -> Table | None:
    """Landmark errors before and after; None without landmarks."""
    if not metrics.get("tre_mm"):
        return None
    rows = [
        Row(title, tuple(number(metrics, ("tre_mm", when, key), 2) for when in ("before", "after")))
        for key, title in ERROR_ROWS
    ]
    return Table((("Landmark error", "mm", ("before", "after")),), _with_numbers(rows))


def landmark_table(metrics: Mapping[str, Any]) -> Table | None:
    """The landmarks that are off the most after registration; None where they were not listed one by one."""
    listed = (metrics.get("tre_mm") or {}).get("landmarks") or []
    worst = sorted(range(len(listed)), key=lambda i: -listed[i]["after"])[:WORST_LANDMARKS]
    rows = []
    for index in worst:
        path = ("tre_mm", "landmarks", index)
        errors = [number(metrics, (*path, when), 2) for when in WHEN]
        position = [number(metrics, (*path, "point_lps", axis), 1) for axis in range(3)]
        rows.append(Row(str(listed[index]["name"]), (*errors, *position)))
    columns = (("Error", "mm", WHEN), ("Position in the fixed scan", "mm", ("left", "posterior", "superior")))
    return Table(columns, tuple(rows)) if rows else None


def jacobian_table(metrics: Mapping[str, Any]) -> Table | None:
    """Statistics of det J, in the structures (if measured there) and in the whole volume."""
    columns = [("jacobian_in_mask", "in the fixed segmentation"), ("jacobian", "whole volume")]
    columns = [(key, title) for key, title in columns if metrics.get(key)]
    if not columns:
        return None
    rows = [
        Row(f"{title}, {unit}" if unit else title, tuple(number(metrics, (key, entry), digits) for key, _ in columns))
        for entry, title, unit, digits in JACOBIAN_ROWS
    ]
    return Table((("Jacobian determinant", "", tuple(title for _, title in columns)),), _with_numbers(rows))


def similarity_table(metrics: Mapping[str, Any]) -> Table | None:
    """Image similarity and coverage before and after, whichever were measured."""
    rows = [
        Row(SIMILARITIES.get(key, key), tuple(number(metrics, ("similarity", key, when), 3) for when in WHEN))
        for key in metrics.get("similarity") or {}
    ]
    coverage = tuple(number(metrics, ("overlap_percent", when), 1) for when in WHEN)
    in_place = Row("Neighborhoods that fit best in place, %", (None, number(metrics, ("in_place_percent",), 1)))
    shown = _with_numbers([*rows, in_place, Row("Fixed scan covered by the moving one, %", coverage)])
    return Table((("Similarity of the scans", "", WHEN),), shown) if shown else None


def uncertainty_table(metrics: Mapping[str, Any]) -> Table | None:
    """Uncertainty of the displacement; None unless it was asked for."""
    return _lengths(metrics, "uncertainty_mm", "Uncertainty", 2)


def consistency_table(metrics: Mapping[str, Any]) -> Table | None:
    """Inverse consistency error."""
    return _lengths(metrics, "inverse_consistency_mm", "Inverse consistency error", 3)


def _lengths(metrics: Mapping[str, Any], entry: str, title: str, digits: int) -> Table | None:
    rows = [
        Row(name, (number(metrics, (entry, key), digits),))
        for key, name in (("mean", "Mean"), ("p95", "95th percentile"), ("max", "Largest"))
    ]
    shown = _with_numbers(rows)
    return Table(((title, "mm", ("",)),), shown) if shown else None


def time_table(metrics: Mapping[str, Any]) -> Table | None:
    """Seconds of each stage."""
    rows = [Row(STAGES.get(key, key), (number(metrics, ("seconds", key), 2),)) for key in metrics.get("seconds", {})]
    return Table((("Time", "s", ("",)),), _with_numbers(rows)) if rows else None


WHEN = ("before", "after")
SIMILARITIES = {
    "local_ncc": "Local cross-correlation",
    "mutual_information": "Mutual information, nats",
}
STAGES = {
    "read": "Reading",
    "prealign": "Pre-alignment",
    "network": "Network",
    "start": "Search for a start",
    "refine": "Refinement",
    "backward": "Registration in the other direction",
    "uncertainty": "Estimation of uncertainty",
    "repair": "Repair of folds",
    "measure": "Measuring",
    "write": "Writing",
}
_VOLUMES = (("fixed", "fixed"), ("moving", "moving"), ("warped", "propagated"))
WORST_LANDMARKS = 5


def _volume_columns(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = {key for values in (metrics.get("volume_ml") or {}).values() for key in values}
    return [(key, title) for key, title in _VOLUMES if key in found]


def _with_numbers(rows: Iterable[Row]) -> tuple[Row, ...]:
    return tuple(row for row in rows if any(cell is not None for cell in row.cells))
