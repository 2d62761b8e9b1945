"""What several models reach on one pair of scans, beside what was measured of each when it was published.

Standard library only: Slicer loads this.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .cases import text_of, title_of
from .sentences import marked as _

NO_NETWORK = "none"
SECONDS = "seconds"
MEASURES = ("dice", "hd95_mm", "tre_mm", "jacobian.fold_percent", "jacobian.sdlogj", SECONDS)
"""Columns of the table, in order; those that no model has a value of are left out."""
# How the figures of model cards begin, by the measure that they can be held against.
_FIGURES = {
    "dice": "dice",
    "hd95_mm": "hd95",
    "tre_mm": "tre",
    "jacobian.fold_percent": "folds",
    "jacobian.sdlogj": "sdlogj (log",
    SECONDS: "time",
}
_NOT_REGISTRATION = ("read", "measure", "write")


@dataclass(frozen=True, kw_only=True)
class ModelResult:
    """What a model reached on a pair.

    Args:
        model: its name, or ``"none"``.
        title: for people.
        values: by measure, as ``core/cases.py`` names them, and ``seconds``; empty where the registration failed.
        figures: of its card, likewise; empty without a card.
        error: why there is no result.
    """

    model: str
    title: str
    values: Mapping[str, float] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None


def figures_of(entries: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Figures of a model card (its ``figures``) that a result can be held against, by measure; the first of each."""
    found: dict[str, float] = {}
    for entry in entries:
        name = str(entry["measure"]).lower()
        measure = next((key for key, start in _FIGURES.items() if name.startswith(start)), None)
        if measure is not None:
            found.setdefault(measure, float(entry["value"]))
    return found


def seconds_of(stages: Mapping[str, float]) -> float:
    """Seconds of a registration from those of its stages, without reading, measuring and writing."""
    return sum(seconds for stage, seconds in stages.items() if stage not in _NOT_REGISTRATION)


def comparison_rows(results: Sequence[ModelResult], exact: bool = False) -> list[list[Any]]:
    """Heading and a row a model: what it reached here, then its card's figures.

    Args:
        results: of the models.
        exact: all digits, for a file; otherwise text with the digits of the measure.
    """
    here = [key for key in MEASURES if any(key in result.values for result in results)]
    known = [key for key in MEASURES if any(key in result.figures for result in results)]
    failed = any(result.error for result in results)
    heading = [_("Model"), *(_title(key) for key in here), *(_card_title(key) for key in known)]
    rows: list[list[Any]] = [heading + ["Error"] * failed]
    for result in results:
        cells = [(key, result.values.get(key)) for key in here] + [(key, result.figures.get(key)) for key in known]
        row: list[Any] = [result.title, *(value if exact else _text(key, value) for key, value in cells)]
        rows.append(row + [result.error or ""] * failed)
    return rows


def narrow_rows(results: Sequence[ModelResult]) -> list[list[str]]:
    """As :func:`comparison_rows` as text, a card's figure in parentheses beneath the value."""
    keys = [key for key in MEASURES if any(key in result.values or key in result.figures for result in results)]
    rows = [[_("Model"), *(_title(key) for key in keys)]]
    for result in results:
        known = {key: f"({_text(key, value)})" for key, value in result.figures.items()}
        cells = ["\n".join(filter(None, (_text(key, result.values.get(key)), known.get(key)))) for key in keys]
        rows.append(["\n".join(filter(None, (result.title, result.error))), *cells])
    return rows


def _title(key: str) -> str:
    return _("Time (s)") if key == SECONDS else title_of(key)


def _card_title(key: str) -> str:
    return _("Card: time of the network (s)") if key == SECONDS else _("Card: {measure}").format(measure=_title(key))


def _text(key: str, value: float | None) -> str:
    if key == SECONDS:
        return "" if value is None else f"{value:.1f}"
    return text_of(key, value)
