"""Colors that can be read in Slicer's light and dark themes."""

from __future__ import annotations

from typing import Any

import qt

from ..core.display import LEVELS


def is_dark(widget: Any) -> bool:
    """True where a widget, which has no style sheet of its own, writes light letters on a dark ground."""
    return bool(widget.palette.color(qt.QPalette.Window).lightness() < 128)


def level_color(widget: Any, level: str) -> str:
    """Color of letters for a level of the verdict, as ``#rrggbb``."""
    return LEVELS[level].dark_color if is_dark(widget) else LEVELS[level].color


def level_style(widget: Any, level: str) -> str:
    """Style sheet of a box with a level of the verdict: a bar in its color, on a ground that fits the theme."""
    ground = "transparent" if is_dark(widget) else f"{LEVELS[level].background}; color: #202020"
    return f"background: {ground}; border-left: 4px solid {level_color(widget, level)}; padding: 6px;"
