"""Sentences of core and engine in the user's language.

Core and engine know no Slicer, so what they say (measures, maps, stages, reasons, errors, warnings) is translated
where it is shown, from the template of the sentence (:mod:`..core.sentences`), in the context of the file that has
it.
"""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _
from slicer.i18n import translate

from ..core.display import QualityMap
from ..core.errors import RegistrationError
from ..core.sentences import Sentence, filled, from_json, places


def say(text: str) -> str:
    """A sentence in the user's language; itself where no language file has it, or where it is data, as a name is."""
    if not isinstance(text, Sentence):
        return text
    template = translate(text.context, text.template) if text.context else text.template
    if places(template) != places(text.template):  # a faulty translation, as slicer.i18n.tr sees it
        template = text.template
    return filled(template, {name: say(value) for name, value in text.values.items()})


def say_json(value: Any) -> str:
    """The same of a sentence that another process sent."""
    return say(from_json(value))


def say_error(error: Exception) -> str:
    """What an error says, in the user's language where it was raised on purpose."""
    return say(error.message) if isinstance(error, RegistrationError) else str(error)


def heading(style: QualityMap) -> str:
    """Title of a map with its unit, in the user's language."""
    return _("{title} ({unit})").format(title=say(style.title), unit=style.unit) if style.unit else say(style.title)
