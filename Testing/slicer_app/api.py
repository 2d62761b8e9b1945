"""What Python can reach on Slicer's and CTK's Qt classes, from ``api.json`` (written by ``read_api``)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtWidgets


@cache
def table() -> dict[str, dict[str, Any]]:
    """The classes of ``api.json`` by name: source, base, properties, methods, signals."""
    text = Path(__file__).with_name("api.json").read_text(encoding="utf-8")
    return json.loads(text)["classes"]


def lineage(class_name: str) -> tuple[list[str], str]:
    """Return a class and its bases in the table, and the Qt class on which they rest ("" where none)."""
    known, name = [], class_name
    while name in table():
        known.append(name)
        name = table()[name]["base"]
    return known, name


@cache
def names(class_name: str) -> frozenset[str]:
    """The names of all properties, methods and signals of a class and its bases, Qt's own not included."""
    if class_name not in table():
        raise KeyError(f"{class_name} is not in api.json: add it to CLASSES of Testing/slicer_app/read_api.py.")
    found: set[str] = set()
    for name in lineage(class_name)[0]:
        entry = table()[name]
        found.update(entry["properties"])
        found.update(signature.split("(")[0] for signature in entry["methods"] + entry["signals"])
        # PythonQt shows a property's setter only where that is a slot, which the methods already tell.
    return frozenset(found)


def signatures(class_name: str, kind: str) -> frozenset[str]:
    """The signatures of all ``methods`` or ``signals`` of a class and its bases, Qt's own not included."""
    return frozenset(s for name in lineage(class_name)[0] for s in table()[name][kind])


def properties(class_name: str) -> frozenset[str]:
    """The properties of a class and its bases, Qt's own not included."""
    return frozenset(p for name in lineage(class_name)[0] for p in table()[name]["properties"])


def qt_base(class_name: str) -> type:
    """The Qt class that a class of the table rests on."""
    base = lineage(class_name)[1]
    return getattr(QtWidgets, base, None) or getattr(QtCore, base)


class Face:
    """Shows of a stand-in object what the real class has, and refuses the rest.

    What the real class has and the stand-in does not do raises NotImplementedError: never a silent nothing.
    """

    def __init__(self, target: Any, class_name: str) -> None:
        object.__setattr__(self, "_target", target)
        object.__setattr__(self, "_class_name", class_name)

    def __getattr__(self, name: str) -> Any:
        self._check(name)
        try:
            return getattr(self._target, name)
        except AttributeError as error:
            if name in dir(type(self._target)):
                raise
            raise NotImplementedError(f"The stand-in does not have {self._class_name}.{name} yet.") from error

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in properties(self._class_name):
            raise AttributeError(f"{self._class_name} has no property named '{name}' in real Slicer.")
        setattr(self._target, name, value)

    def _check(self, name: str) -> None:
        class_name = self._class_name
        if name in names(class_name) or name in ("connect", "disconnect", "name", "objectName", "className"):
            return
        base = lineage(class_name)[1]
        if base and not name.startswith("_") and hasattr(qt_base(class_name), name):
            return
        raise AttributeError(f"{class_name} has no attribute '{name}' in real Slicer.")


class Signals:
    """``connect("signal(types)", f)`` for stand-in objects that are not QObjects."""

    def __init__(self, *known: str) -> None:
        self._handlers: dict[str, list[Any]] = {signature: [] for signature in known}

    def connect(self, signature: str, handler: Any) -> bool:
        self._handlers_of(signature).append(handler)
        return True

    def disconnect(self, signature: str, handler: Any) -> bool:
        handlers = self._handlers_of(signature)
        if handler not in handlers:
            return False
        handlers.remove(handler)
        return True

    def emit(self, signature: str, *arguments: Any) -> None:
        """Call the handlers with as many arguments as each takes."""
        from .pythonqt import accepted_arguments

        for handler in list(self._handlers_of(signature)):
            accepted = accepted_arguments(handler)
            handler(*arguments[: len(arguments) if accepted is None else accepted])

    def _handlers_of(self, signature: str) -> list[Any]:
        if signature not in self._handlers:
            raise AttributeError(f"No signal {signature} here; known: {', '.join(self._handlers)}.")
        return self._handlers[signature]
