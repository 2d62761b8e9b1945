"""How a stand-in widget class is made: from the Qt class that the real one rests on, held to the table of names."""

from __future__ import annotations

import types
from typing import Any

from PySide6 import QtCore

from . import api
from .pythonqt import with_manners


def base_for(class_name: str) -> Any:
    """Return the Qt class, with PythonQt's manners, that the real class derives from."""
    return with_manners(api.qt_base(class_name))


def stands_for(widget_class: Any) -> Any:
    """Class decorator: refuse a stand-in whose public names the real class of that name does not have."""
    class_name = widget_class.__name__
    known = api.names(class_name)
    base = api.qt_base(class_name)
    for name in vars(widget_class):
        if name.startswith("_") or name in ("SIGNALS", "STANDS_FOR", "staticMetaObject") or hasattr(base, name):
            continue
        if name not in known and not _is_manner(name):
            raise AttributeError(f"The stand-in {class_name} has '{name}', which {source(class_name)} does not.")
    for signature in getattr(widget_class, "SIGNALS", {}):
        if signature not in api.signatures(class_name, "signals"):
            raise AttributeError(f"{source(class_name)} has no signal {signature}.")
    return widget_class


def _is_manner(name: str) -> bool:
    return name in ("connect", "disconnect", "findChildren", "findChild", "delete")


def source(class_name: str) -> str:
    """The header that a class was read from."""
    return api.table()[class_name]["source"]


def stored(kind: Any, name: str, default: Any, changed: str = "") -> Any:
    """A property that is kept, and calls the method ``changed`` of its object when it is set."""
    key = f"_{name}"

    def read(self: Any) -> Any:
        return self.__dict__.get(key, default)

    def write(self: Any, value: Any) -> None:
        self.__dict__[key] = value
        if changed:
            getattr(self, changed)()

    return QtCore.Property(kind, read, write)


def module_of(name: str, classes: list[Any], prefix: str) -> types.ModuleType:
    """A module of stand-in classes; asked for another, it says whether Slicer has that one."""
    module = types.ModuleType(name)
    for widget_class in classes:
        setattr(module, widget_class.__name__, widget_class)
    module.__getattr__ = lambda asked: missing(asked, prefix)  # type: ignore[method-assign]
    return module


def missing(name: str, prefix: str) -> Any:
    """Raise for a class that is not stood in for."""
    if name in api.table():
        raise NotImplementedError(f"The stand-in application does not have {name} yet ({source(name)}).")
    raise AttributeError(f"No {prefix} class named '{name}' in Testing/slicer_app/api.json.")
