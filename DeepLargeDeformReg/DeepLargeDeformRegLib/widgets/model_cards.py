"""What the panel shows of model cards, without importing the engine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from ..core.card_texts import CARD_TEXTS
from ..core.comparison import figures_of
from ..core.presets import PRESETS
from ..resources import MODELS
from ..scene.words import say

HEADLINES = ("dice", "hd95", "tre", "folds", "time")


@dataclass(frozen=True, kw_only=True)
class CardFigure:
    """A figure of a card: its measure as the card has it; what was measured, and on which data, for people."""

    measure: str
    text: str
    data: str


@dataclass(frozen=True, kw_only=True)
class CardSummary:
    """A model card for people.

    Args:
        name: as in the card.
        title, purpose: in the user's language.
        figures: what was measured, likewise.
        measured: those that a result can be held against, as in ``core/comparison.py``.
        kind: modality and anatomy.
    """

    name: str
    title: str
    purpose: str
    figures: tuple[CardFigure, ...]
    measured: Mapping[str, float] = field(default_factory=dict)
    kind: tuple[str, str] = ("", "")

    @property
    def description(self) -> str:
        """Purpose and all measured figures, for a tooltip."""
        return "\n".join([self.purpose, *(f"{one.text}; {one.data}" for one in self.figures)])

    @property
    def headlines(self) -> tuple[str, ...]:
        """The figures by which methods are compared: overlap, surfaces, landmarks, folds, time; the first of each."""
        named = ([one for one in self.figures if one.measure.lower().startswith(kind)] for kind in HEADLINES)
        return tuple(found[0].text for found in named if found)


def _figure(figure: dict[str, Any]) -> CardFigure:
    text = f"{_said(figure['measure'])}: {figure['value']:.3g} {figure.get('unit', '')}".strip()
    if figure.get("before") is not None:
        text = _("{figure} (before: {before})").format(figure=text, before=f"{figure['before']:.3g}")
    return CardFigure(measure=figure["measure"], text=text, data=_said(figure.get("data", "")))


def _said(text: str) -> str:
    """A text of a card in the user's language, where the card ships with the extension."""
    return say(CARD_TEXTS.get(text, text))


def list_cards(folder: Path = MODELS) -> list[CardSummary]:
    """Summaries of all cards of a folder; files that are no cards are left out."""
    cards = []
    for path in sorted(folder.glob("*.json")):
        try:
            card = json.loads(path.read_text(encoding="utf-8"))
            figures = tuple(_figure(figure) for figure in card.get("figures", ()))
            measured, kind = figures_of(card.get("figures", ())), (card.get("modality", ""), card.get("anatomy", ""))
            texts = {name: _said(card[name]) for name in ("title", "purpose")}
            cards.append(CardSummary(name=card["name"], **texts, figures=figures, measured=measured, kind=kind))
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


def grouped_cards(folder: Path = MODELS) -> list[CardSummary]:
    """All cards: those of a preset's scans together, in the order of the presets; last the cards of none."""
    cards = {card.name: card for preset in PRESETS for card in cards_of(preset, folder)}
    return list((cards | {card.name: card for card in list_cards(folder)}).values())
