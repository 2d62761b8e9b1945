"""Which widget shows which kind of parameter, as Slicer's guiConnectors.py pairs them; any other pair is refused."""

from __future__ import annotations

import enum
import pathlib
from collections.abc import Callable
from typing import Any

import ctk
import qt
import slicer

from .parameter_fields import Choice, Decimals, Field, Maximum, Minimum, SingleStep, WithinRange

# Exact classes, as Slicer asks for them: (kinds of value, classes of widget, property, signal)
_PAIRS: tuple[tuple[tuple[type, ...], tuple[Any, ...], str, str], ...] = (
    ((bool,), (qt.QCheckBox,), "checked", "stateChanged(int)"),
    ((bool,), (qt.QPushButton,), "checked", "toggled(bool)"),
    ((int,), (qt.QSlider, qt.QSpinBox), "value", "valueChanged(int)"),
    (
        (float, int),
        (qt.QDoubleSpinBox, ctk.ctkSliderWidget),
        "value",
        "valueChanged(double)",
    ),
    ((str,), (qt.QLineEdit,), "text", "textChanged(QString)"),
    ((str,), (qt.QLabel,), "text", ""),
    ((str,), (qt.QTextEdit,), "plainText", "textChanged()"),
    ((pathlib.Path,), (ctk.ctkPathLineEdit,), "currentPath", "currentPathChanged(QString)"),
    ((pathlib.Path,), (ctk.ctkDirectoryButton,), "directory", "directoryChanged(QString)"),
)


class Connector:
    """Reads, writes and watches one widget."""

    def __init__(self, widget: Any, read: Callable[[], Any], write: Callable[[Any], None], signal: str) -> None:
        self.widget, self.read, self.write, self.signal = widget, read, write, signal
        self._handler: Callable[[], None] | None = None

    def connect(self, handler: Callable[[], None]) -> None:
        def changed() -> None:
            handler()

        self._handler = changed
        if self.signal:
            self.widget.connect(self.signal, changed)

    def disconnect(self) -> None:
        if self.signal and self._handler is not None:
            self.widget.disconnect(self.signal, self._handler)
        self._handler = None


def connector(widget: Any, field: Field) -> Connector:
    """Pair a widget with a field; RuntimeError where Slicer has no connector for the two."""
    if field.is_node and type(widget) is slicer.qMRMLNodeComboBox:
        widget.nodeTypes = [node_class.__name__ for node_class in field.node_classes]
        return Connector(widget, widget.currentNode, widget.setCurrentNode, "currentNodeChanged(vtkMRMLNode*)")
    if type(widget) is qt.QComboBox:
        return _choices(widget, field)
    for kinds, classes, name, signal in _PAIRS:
        if field.kind in kinds and type(widget) in classes:
            _set_range(widget, field)
            if type(widget) is qt.QPushButton and not widget.checkable:
                widget.checkable = True
            return _of_property(widget, name, field.kind, signal)
    raise RuntimeError(
        f"Unable to create GUI connector from datatype '{field.kind}' to widget type '{type(widget)}' ({field.name})."
    )


def _of_property(widget: Any, name: str, kind: Any, signal: str) -> Connector:
    def write(value: Any) -> None:
        shown = str(value) if isinstance(value, pathlib.Path) else value
        if getattr(widget, name) != shown:  # writing moves the cursor of a line edit
            setattr(widget, name, shown)

    return Connector(widget, lambda: kind(getattr(widget, name)), write, signal)


def _choices(widget: Any, field: Field) -> Connector:
    if isinstance(field.kind, type) and issubclass(field.kind, enum.Enum):
        label = getattr(field.kind, "label", lambda member: member.name)
        values = {member: label(member) for member in field.kind}
        selected = values and list(values)[max(0, widget.currentIndex)]
    elif field.kind in (int, float, str, bool):
        choice = field.annotation(Choice)
        if choice is None:
            raise RuntimeError(f"A combo box for {field.name} requires the Choice annotation.")
        values = {value: str(value) for value in choice.choices}
        selected = None
    else:
        raise RuntimeError(f"A combo box cannot show {field.kind} ({field.name}).")
    order = list(values)
    widget.clear()
    for text in values.values():
        widget.addItem(text)

    def write(value: Any) -> None:
        widget.currentIndex = order.index(value)

    if selected is not None:
        write(selected)
    return Connector(widget, lambda: order[widget.currentIndex], write, "currentIndexChanged(int)")


def _set_range(widget: Any, field: Field) -> None:
    if field.kind not in (int, float):
        return
    decimals, step = field.annotation(Decimals), field.annotation(SingleStep)
    if field.kind is int and hasattr(widget, "decimals"):
        widget.decimals = 0
    elif decimals is not None:
        widget.decimals = decimals.value
    if step is not None:
        widget.singleStep = step.value
    within = field.annotation(WithinRange)
    low = within.minimum if within else getattr(field.annotation(Minimum), "minimum", None)
    high = within.maximum if within else getattr(field.annotation(Maximum), "maximum", None)
    if type(widget) in (qt.QSlider, ctk.ctkSliderWidget) and (low is None or high is None):
        raise RuntimeError(f"Cannot have a connection to a slider where {field.name} is unbounded.")
    whole = isinstance(widget, (qt.QSlider, qt.QSpinBox))
    widget.minimum = low if low is not None else (-(2**31) if whole else float("-inf"))
    widget.maximum = high if high is not None else (2**31 - 1 if whole else float("inf"))
