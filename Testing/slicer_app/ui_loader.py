"""Loads a .ui file as Slicer does, and refuses a class, property or connection that real Slicer does not have."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

from PySide6 import QtCore, QtUiTools, QtWidgets

from . import api
from .pythonqt import members, with_manners


class UiError(RuntimeError):
    """A .ui file asks for what real Slicer does not have."""


class _Loader(QtUiTools.QUiLoader):
    """Makes the widgets of the file from the classes of ``qt``, ``ctk`` and ``slicer``."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Any] = []

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        import ctk
        import qt
        import slicer

        source = ctk if class_name.startswith("ctk") else slicer if class_name.startswith("q") else qt
        widget = getattr(source, class_name)(parent)
        widget.setObjectName(name)
        self.kept.append(widget)
        return widget


def load(text: str) -> Any:
    """Build the widgets of a .ui document; UiError names the first thing that is wrong with it."""
    root = ElementTree.fromstring(text)
    for widget in root.iter("widget"):
        _check_widget(widget)
    connections = [] if root.find("connections") is None else list(root.find("connections"))  # type: ignore[arg-type]
    for connection in connections:
        _check_connection(root, connection)
    without = root.find("connections")
    if without is not None:
        root.remove(without)
    buffer = QtCore.QBuffer()
    buffer.setData(ElementTree.tostring(root))
    buffer.open(QtCore.QIODevice.ReadOnly)
    loader = _Loader()
    top = loader.load(buffer)
    if top is None:
        raise UiError(loader.errorString())
    for connection in connections:
        _connect(top, connection)
    return top


def _check_widget(widget: Any) -> None:
    class_name, name = widget.get("class"), widget.get("name")
    custom = class_name.startswith(("ctk", "qMRML", "qSlicer"))
    if custom and class_name not in api.table():
        raise UiError(f"{name}: no class {class_name} in api.json, read from the headers of Slicer and CTK.")
    qt_class = api.qt_base(class_name) if custom else getattr(QtWidgets, class_name, None)
    if qt_class is None:
        raise UiError(f"{name}: Qt has no class {class_name}.")
    for entry in widget.findall("property"):
        known = entry.get("name") in members(qt_class).properties
        if custom and entry.get("name") in api.properties(class_name):
            known = True
        if qt_class is QtWidgets.QLabel and entry.get("name") == "buddy":
            known = True  # no property of the class: QUiLoader sets it by its method
        if not known and entry.get("stdset") != "0":
            raise UiError(f"{name}: {class_name} has no property '{entry.get('name')}' in real Slicer.")


def _ends(connection: Any) -> tuple[str, str, str, str]:
    sender, signal, receiver, slot = (
        connection.findtext(tag) or "" for tag in ("sender", "signal", "receiver", "slot")
    )
    return sender, signal, receiver, slot


def _check_connection(root: Any, connection: Any) -> None:
    sender, signal, receiver, slot = _ends(connection)
    classes = {widget.get("name"): widget.get("class") for widget in root.iter("widget")}
    for name, signature, kind in ((sender, signal, "signals"), (receiver, slot, "methods")):
        if name not in classes:
            raise UiError(f"A connection names {name}, which the file does not have.")
        if not _has(classes[name], signature, kind):
            raise UiError(f"{name}: {classes[name]} has no {kind[:-1]} {signature} in real Slicer.")


def _has(class_name: str, signature: str, kind: str) -> bool:
    custom = class_name in api.table()
    if custom and signature in api.signatures(class_name, kind):
        return True
    qt_class = api.qt_base(class_name) if custom else getattr(QtWidgets, class_name)
    # The setter of a property of a custom class is a slot only where its header says so, which the table holds.
    found = members(qt_class)
    return signature in (found.signals if kind == "signals" else found.slots)


def _connect(top: Any, connection: Any) -> None:
    sender, signal, receiver, slot = _ends(connection)
    found = {w.objectName: w for w in [top, *QtCore.QObject.findChildren(top, QtWidgets.QWidget)]}
    target = getattr(found[receiver], slot.split("(")[0])
    count = 0 if slot.endswith("()") else 1
    found[sender].connect(signal, lambda *arguments: target(*arguments[:count]))


class QUiLoader(with_manners(QtCore.QObject)):  # type: ignore[misc]
    """``qt.QUiLoader``: only ``load`` is used by ``slicer.util.loadUI``."""

    def load(self, device: Any, parent: Any = None) -> Any:
        data = device.readAll()
        return load(bytes(data.data()).decode("utf-8"))
