"""What the panel shows of model cards, without importing the engine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..resources import MODELS

HEADLINES = ("dice", "tre", "time")


@dataclass(frozen=True)
class CardSummary:
    """A model card for people."""

    name: str
    title: str
    purpose: str
    figures: tuple[str, ...]

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
            cards.append(CardSummary(card["name"], card["title"], card["purpose"], figures))
        except (ValueError, KeyError, TypeError, OSError):
            continue
    return cards
