"""Sentences that the panel can show in the user's language, although the engine that makes them knows only English.

A sentence is a string, the English one: command line, report, log and files take it as it is. It also knows the
template and the values that it was made of, and keeps them on its way through JSON; :mod:`..scene.words` translates
the template and fills in the values. Templates are marked as everywhere in Slicer, so that Slicer's own tool
(``Utilities/Scripts/update_translations.py``) finds them::

    from ..core.sentences import marked as _

    raise BadInputError(_("{file} has {count} voxels only.").format(file=path.name, count=count))

Standard library only: Slicer loads this.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from .text import printable

_FIELD = re.compile(r"\{(\w+)(?::([^{}]*))?\}")


class Sentence(str):
    """An English text that knows how it was made.

    Attributes:
        template: the text with ``{name}`` or ``{name:.1f}`` where values stand.
        context: under which the language files have the template, named as Slicer names it: ``folder.file`` of the
            source; empty where there are no words to translate.
        values: what stands in the places, formatted; some are sentences themselves.
    """

    template: str
    context: str
    values: Mapping[str, str]

    def __new__(
        cls, text: str, template: str = "", context: str = "", values: Mapping[str, str] | None = None
    ) -> Sentence:
        made = super().__new__(cls, text)
        made.template, made.context, made.values = template or text, context, values or {}
        return made

    def format(self, /, *places: object, **values: object) -> Sentence:
        """The sentence with values in its places; they are formatted here, and cannot command a terminal.

        Raises:
            TypeError: if a value has no place, or a place no value.
        """
        fields = dict(_FIELD.findall(self.template))
        if places or set(values) != set(fields):
            raise TypeError(f"The places {sorted(fields)} need these values by name, not {sorted(values)}.")
        shown = {
            name: value
            if isinstance(value, Sentence) and not fields[name]
            else printable(format(value, fields[name]))
            for name, value in values.items()
        }
        return Sentence(filled(self.template, shown), self.template, self.context, shown)

    def with_values(self, values: Mapping[str, str]) -> Sentence:
        """The same sentence about other values."""
        return Sentence(filled(self.template, values), self.template, self.context, values)

    def to_json(self) -> dict[str, Any]:
        """What :func:`from_json` makes the sentence of."""
        values = {name: as_json(value) for name, value in self.values.items()}
        return {"text": str(self), "template": self.template, "context": self.context, "values": values}


def marked(template: str) -> Sentence:
    """Mark a text for translation; imported as ``_``, and always called with the text itself."""
    # An annotation is evaluated later, by code that has no file, with the names of its class.
    names = sys._getframe(1).f_globals
    return Sentence(template, context=_context(names.get("__module__") or names["__name__"]))


@cache
def _context(module: str) -> str:
    path = Path(sys.modules[module].__file__ or "")
    return f"{path.parent.name}.{path.stem}"


def joined(separator: str, parts: Iterable[str]) -> Sentence:
    """Parts, each a sentence or data, one after another."""
    values = {f"part{number}": part for number, part in enumerate(parts)}
    template = separator.join(f"{{{name}}}" for name in values)
    return Sentence(separator.join(values.values()), template, "", values)


def counted(number: int, one: Sentence, several: Sentence) -> Sentence:
    """A number with its noun: ``_("1 pair")``, or ``_("{number} pairs")`` with the number."""
    return one if number == 1 else several.format(number=number)


def filled(template: str, values: Mapping[str, str]) -> str:
    """A template, in whichever language, with formatted values in its places."""
    return _FIELD.sub(lambda place: values.get(place[1], place[0]), template)


def places(template: str) -> set[str]:
    """Names of the places in a template."""
    return {name for name, _specification in _FIELD.findall(template)}


def as_json(text: str) -> Any:
    """A sentence as an object, another text as it is."""
    return text.to_json() if isinstance(text, Sentence) else text


def from_json(value: Any) -> str:
    """A text or sentence of :func:`as_json`; of anything else the empty text."""
    if isinstance(value, str):
        return value
    if not is_sentence(value):
        return ""
    values = {name: from_json(one) for name, one in value["values"].items()}
    return Sentence(value["text"], value["template"], value["context"], values)


def is_sentence(value: Any) -> bool:
    """Whether a JSON value is a text or a sentence."""
    if isinstance(value, str):
        return True
    if not isinstance(value, Mapping) or not isinstance(value.get("values"), Mapping):
        return False
    texts = all(isinstance(value.get(name), str) for name in ("text", "template", "context"))
    return texts and all(is_sentence(one) for one in value["values"].values())
