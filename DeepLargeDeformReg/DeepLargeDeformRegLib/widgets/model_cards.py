"""What the panel shows of model cards, without importing the engine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.comparison import figures_of
from ..core.presets import PRESETS
from ..resources import MODELS

HEADLINES = ("dice", "tre", "time")


@dataclass(frozen=True, kw_only=True)
class CardSummary:
    """A model card for people.

    Args:
        name, title, purpose: as in the card.
        figures: in words.
        measured: those that a result can be held against, as in ``core/comparison.py``.
        kind: modality and anatomy.
    """

    name: str
    title: str
    purpose: str
    figures: tuple[str, ...]
    measured: Mapping[str, float] = field(default_factory=dict)
    kind: tuple[str, str] = ("", "")

    @property
    def description(self) -> str:
        """Purpose and all measured figures, for a tooltip."""
        return "\n".join([self.purpose, *self.figures])

    @property
    def headlines(self) -> tuple[str, ...]:
        """The figures that a radiologist asks for first: overlap, landmarks, time; the first one of each."""
        found = (next((one for one in self.figures if one.lower().startswith(kind)), "") for kind in HEADLINES)
        return tuple(figure.split(";")[0] for figure in found if figure)


def _figure(figure: dict[str, Any]) -> str:
    before = f" (before: {figure['before']:.3g})" if figure.get("before") is not None else ""
    unit = f" {figure['unit']}" if figure.get("unit") else ""
    return f"{figure['measure']}: {figure['value']:.3g}{unit}{before}; {figure.get('data', '')}"


def list_cards(folder: Path = MODELS) -> list[CardSummary]:
    """Summaries of all cards of a folder; files that are no cards are left out."""
    cards = []
    for path in sorted(folder.glob("*.json")):
        try:
            card = json.loads(path.read_text(encoding="utf-8"))
            figures = tuple(_figure(figure) for figure in card.get("figures", ()))
            measured, kind = figures_of(card.get("figures", ())), (card.get("modality", ""), card.get("anatomy", ""))
            texts = {name: card[name] for name in ("name", "title", "purpose")}
            cards.append(CardSummary(**texts, figures=figures, measured=measured, kind=kind))
        except (ValueError, KeyError, TypeError, OSError):
            continue
    return cards


def cards_of(preset: str, folder: Path = MODELS) -> list[CardSummary]:
    """Cards of the models for the scans of a preset, its own first: those of its anatomy and modality."""
    cards = list_cards(folder)
    own = next((card for card in cards if card.name == PRESETS[preset].model), None)
    if own is None:
        return []
    return [own, *(card for card in cards if card.kind == own.kind and card is not own)]
