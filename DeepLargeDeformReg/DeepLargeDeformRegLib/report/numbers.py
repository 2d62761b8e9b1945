"""The numbers of the report, each bound to the entry of the metrics file that it shows; words from the catalog."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.display import STAGES
from ..core.measures import ErrorSummary, JacobianStatistics, Measure, SimilarityMetrics, Spread, StructureMetrics
from ..core.measures import measures_of as words_of
from ..core.metrics import catalog
from ..core.rows import position_text
from .texts import DETERMINANT

NOT_DEFINED = "not defined"
WHEN = ("before", "after")
WORST_LANDMARKS = 5
_SECONDS = Measure(title="Time", unit="s", digits=2)
_VOLUMES = {"fixed": "fixed", "moving": "moving", "warped": "propagated"}
_PAIRS = tuple(key for key in words_of(StructureMetrics) if not key.startswith("volume"))


@dataclass(frozen=True)
class Number:
    """A number of the metrics as the report shows it.

    Args:
        path: keys that lead to it in the metrics file, as JSON.
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


Cell = Number | str | None


@dataclass(frozen=True)
class Row:
    """A row of a table: its heading and its cells: numbers, text, or None where there is nothing."""

    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A table: groups of columns as (heading, unit, columns), and rows."""

    groups: tuple[tuple[str, str, tuple[str, ...]], ...]
    rows: tuple[Row, ...]


def number(metrics: Mapping[str, Any], path: tuple[str | int, ...], measure: Measure) -> Number | None:
    """The number at a path of the metrics file; None where the path does not lead to a number or to null."""
    value: Any = metrics
    for key in path:
        if isinstance(key, str) and not (isinstance(value, Mapping) and key in value):
            return None
        value = value[key]
    if value is not None and not isinstance(value, int | float):
        return None
    return Number(json.dumps(path), value, measure.digits, measure.unit)


def structure_table(metrics: Mapping[str, Any]) -> Table | None:
    """Each structure with all that was measured on it, before and after; None without structures."""
    words = words_of(StructureMetrics)
    present = [key for key in _PAIRS if metrics.get(key)]
    names = list(dict.fromkeys(name for key in present for name in metrics[key]))
    if not names:
        return None
    groups: list[tuple[str, str, tuple[str, ...]]] = [(words[key].title, words[key].unit, WHEN) for key in present]
    has_volumes, has_change = "volume_ml" in metrics, "volume_change_percent" in metrics
    if has_volumes:
        groups.append((words["volume_ml"].title, words["volume_ml"].unit, tuple(_VOLUMES.values())))
    if has_change:
        change = words["volume_change_percent"]
        groups.append((change.title, change.unit, ("moving / fixed",)))
    rows = []
    for name in names:
        cells = [number(metrics, (key, name, when), words[key]) for key in present for when in WHEN]
        if has_volumes:
            cells += [number(metrics, ("volume_ml", name, key), words["volume_ml"]) for key in _VOLUMES]
        if has_change:
            path = ("volume_change_percent", name)
            cells.append(number(metrics, path, words["volume_change_percent"]))
        rows.append(Row(name, tuple(cells)))
    return Table(tuple(groups), tuple(rows))


def error_table(metrics: Mapping[str, Any]) -> Table | None:
    """Landmark errors before and after; None without landmarks."""
    if not metrics.get("tre_mm"):
        return None
    words = catalog()["tre_mm"]
    rows = [
        Row(statistic.title.capitalize(), tuple(number(metrics, ("tre_mm", when, key), words) for when in WHEN))
        for key, statistic in words_of(ErrorSummary).items()
    ]
    return Table(((words.title, words.unit, WHEN),), _with_numbers(rows))


def landmark_table(metrics: Mapping[str, Any]) -> Table | None:
    """The landmarks that are off the most after registration; None where they were not listed one by one."""
    listed = (metrics.get("tre_mm") or {}).get("landmarks") or []
    worst = sorted(range(len(listed)), key=lambda i: -listed[i]["after"])[:WORST_LANDMARKS]
    words = catalog()["tre_mm"]
    rows = []
    for index in worst:
        errors = [number(metrics, ("tre_mm", "landmarks", index, when), words) for when in WHEN]
        rows.append(Row(str(listed[index]["name"]), (*errors, position_text(listed[index]["point_lps"]))))
    columns = (("Error", words.unit, WHEN), ("Place in the fixed scan", "", ("",)))
    return Table(columns, tuple(rows)) if rows else None


def fold_table(folds: Sequence[Mapping[str, Any]]) -> Table:
    """The folds, the largest first: volume, depth, place and structure."""
    sizes, depths = Measure(title="Volume", unit="mm³", digits=1), catalog()["jacobian.min"]
    rows = []
    for index, fold in enumerate(folds):
        volume = number({"folds": folds}, ("folds", index, "volume_mm3"), sizes)
        worst = number({"folds": folds}, ("folds", index, "worst"), depths)
        place = position_text(fold["point_lps"])
        rows.append(Row(str(index + 1), (volume, worst, place, fold.get("structure") or "-")))
    columns = ((sizes.title, sizes.unit, ("",)), (depths.title, "", ("",)), ("Place", "", ("",)))
    return Table((*columns, ("Structure", "", ("",))), tuple(rows))


def jacobian_table(metrics: Mapping[str, Any]) -> Table | None:
    """Statistics of det J, in the structures (if measured there) and in the whole volume."""
    columns = [("jacobian_in_mask", "in the structures"), ("jacobian", "whole volume")]
    columns = [(key, title) for key, title in columns if metrics.get(key)]
    if not columns:
        return None
    rows = [
        Row(_statistic(words), tuple(number(metrics, (key, entry), words) for key, _ in columns))
        for entry, words in words_of(JacobianStatistics).items()
    ]
    return Table(((DETERMINANT, "", tuple(title for _, title in columns)),), _with_numbers(rows))


def _statistic(words: Measure) -> str:
    """What a row of the table of det J is called: the table's own title says of what it is a statistic."""
    title = words.heading.removeprefix(f"{DETERMINANT}, ")
    return title[:1].upper() + title[1:]


def similarity_table(metrics: Mapping[str, Any]) -> Table | None:
    """Image similarity and coverage before and after, whichever were measured."""
    rows = []
    for key, words in words_of(SimilarityMetrics).items():
        path = ("similarity", key) if key in (metrics.get("similarity") or {}) else (key,)
        whole = number(metrics, path, words)
        cells = (None, whole) if whole else tuple(number(metrics, (*path, when), words) for when in WHEN)
        rows.append(Row(words.heading, cells))
    shown = _with_numbers(rows)
    return Table((("Similarity of the scans", "", WHEN),), shown) if shown else None


def length_table(metrics: Mapping[str, Any], keys: Sequence[str]) -> Table | None:
    """Mean, 95th percentile and maximum of lengths in mm, a row for each; None where none was measured."""
    columns = words_of(Spread)
    rows = []
    for key in keys:
        words = catalog()[key]
        rows.append(Row(words.heading, tuple(number(metrics, (key, name), words) for name in columns)))
    shown = _with_numbers(rows)
    return Table((("", "", tuple(one.title for one in columns.values())),), shown) if shown else None


def time_table(metrics: Mapping[str, Any]) -> Table | None:
    """Seconds of each stage."""
    rows = []
    for key in metrics.get("seconds", {}):
        title = STAGES[key].title if key in STAGES else key
        rows.append(Row(title, (number(metrics, ("seconds", key), _SECONDS),)))
    return Table(((_SECONDS.title, _SECONDS.unit, ("",)),), _with_numbers(rows)) if rows else None


def _with_numbers(rows: Iterable[Row]) -> tuple[Row, ...]:
    return tuple(row for row in rows if any(cell is not None for cell in row.cells))
