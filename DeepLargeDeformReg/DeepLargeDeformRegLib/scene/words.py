"""The catalog's words in the user's language.

Core and engine know no Slicer, so what they name (measures, maps, stages) is translated where it is shown. All of it
is in one context of the language files, as sentences of the engine are not: these come finished from its process.
"""

from __future__ import annotations

from slicer.i18n import translate

from ..core.display import QualityMap

CONTEXT = "DeepLargeDeformReg.catalog"


def say(text: str) -> str:
    """A word of the catalog in the user's language; itself where no language file has it."""
    return translate(CONTEXT, text) if text else text


def heading(style: QualityMap) -> str:
    """Title of a map with its unit, in the user's language."""
    return f"{say(style.title)} ({style.unit})" if style.unit else say(style.title)
