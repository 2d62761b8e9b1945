"""What the panel shows of presets and model cards, without importing the engine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODELS_FOLDER = Path(__file__).resolve().parents[2] / "Resources" / "Models"

# Names and titles of engine/presets.py, which needs torch; a test compares them.
PRESETS = {
    "lung-ct": "Lung CT, inspiration-expiration",
    "liver-ct": "Liver and abdomen CT",
    "mr-hippocampus": "Brain MR, hippocampus",
    "any": "Any scan, refinement only",
}


@dataclass(frozen=True)
class CardSummary:
    """A model card for people."""

    name: str
    title: str
    purpose: str
    figures: tuple[str, ...]

    @property
    def description(self) -> str:
        """Purpose and measured figures, for a tooltip."""
        return "\n".join([self.purpose, *self.figures])


def _figure(figure: dict[str, Any]) -> str:
    before = f" (before: {figure['before']:g})" if figure.get("before") is not None else ""
    unit = f" {figure['unit']}" if figure.get("unit") else ""
    return f"{figure['measure']}: {figure['value']:g}{unit}{before}; {figure.get('data', '')}"


def list_cards(folder: Path = MODELS_FOLDER) -> list[CardSummary]:
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
