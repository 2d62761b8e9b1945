"""Text from files and paths, made fit to be shown: in a terminal, a report, a message or a name in Slicer."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_MOST_CHARACTERS = 200
_JOINERS = "\u200c\u200d"  # of Persian, of Indian scripts and of emoji: they are invisible but meant


def printable(text: str, limit: int | None = None) -> str:
    """The text without what a terminal or a page would obey: control characters, changes of direction, line ends.

    Args:
        text: any string, also one with the escapes that Python puts in place of bytes that are not Unicode; these
            become the replacement sign.
        limit: longer text is cut and ends in three dots; None leaves its length alone.
    """
    kept = "".join(_shown(one) for one in text)
    kept = " ".join(kept.split())
    return kept if limit is None or len(kept) <= limit else kept[: limit - 3] + "..."


def name_of(raw: bytes) -> str:
    """A name from a file: UTF-8 or, in older files, Windows' Western code page; printable, never empty."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", "replace")
    return printable(text, _MOST_CHARACTERS) or "(no name)"


def _shown(character: str) -> str:
    if character in _JOINERS:
        return character
    category = unicodedata.category(character)
    if category == "Cs":
        return "\ufffd"
    return " " if category[0] == "C" or category in ("Zl", "Zp") else character


def plain_name(name: str) -> str:
    """The name of a structure without case, and with a single blank for blanks, underscores and hyphens in a row."""
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def pairs_of_same_name(fixed: Sequence[str], moving: Sequence[str]) -> list[tuple[int, int]]:
    """Positions (fixed, moving) of the structures that have one :func:`plain_name`, in the order of the fixed ones.

    Each is in one pair at most; of several with one name the first counts.
    """
    places: dict[str, int] = {}
    for place, name in enumerate(moving):
        places.setdefault(plain_name(name), place)
    found = [(place, places.pop(plain_name(name), None)) for place, name in enumerate(fixed)]
    return [(place, other) for place, other in found if other is not None]
