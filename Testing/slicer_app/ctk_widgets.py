"""The module ``ctk``: stand-ins for the widgets of CTK that a module's panel is made of."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from .pythonqt import with_manners
from .standing import base_for, module_of, stands_for, stored

_Property = QtCore.Property
_Signal = QtCore.Signal


@stands_for
class ctkCollapsibleButton(base_for("ctkCollapsibleButton")):  # type: ignore[misc]
    """A header that folds what lies under it."""

    STANDS_FOR = "ctkCollapsibleButton"
    contentsCollapsed = _Signal(bool)
    _HEADER = 26

    def __init__(self, *arguments: Any) -> None:
        parent = next((a for a in arguments if isinstance(a, QtWidgets.QWidget)), None)
        super().__init__(parent)
        self._is_collapsed = False
        self._hidden_by_folding: list[Any] = []
        self.setText(next((a for a in arguments if isinstance(a, str)), ""))
        self.setContentsMargins(0, self._HEADER, 0, 0)
        # As in CTK: what lies in the button asks for its full width, not its least.
        self.setSizePolicy(QtWidgets.QSizePolicy.Minimum, QtWidgets.QSizePolicy.Preferred)

    def _collapse(self, collapsed: bool) -> None:
        if collapsed == self._is_collapsed:
            return
        self._is_collapsed = collapsed
        if collapsed:
            children = [c for c in self.children() if isinstance(c, QtWidgets.QWidget)]
            self._hidden_by_folding = [c for c in children if not c.isHidden()]
            for child in self._hidden_by_folding:
                child.hide()
            self.setMaximumHeight(self._HEADER)
        else:
            self.setMaximumHeight(16777215)
            for child in self._hidden_by_folding:
                child.show()
        self.updateGeometry()
        self.update()
        self.contentsCollapsed.emit(collapsed)

    collapsed = _Property(bool, lambda self: self._is_collapsed, _collapse)
    flat = stored(bool, "flat", False)
    collapsedHeight = stored(int, "collapsedHeight", 16)
    contentsLineWidth = stored(int, "contentsLineWidth", 1)

    def mouseReleaseEvent(self, event: Any) -> None:
        if event.position().y() <= self._HEADER:
            self._collapse(not self._is_collapsed)

    def minimumSizeHint(self) -> Any:
        if self._is_collapsed or self.layout() is None:
            return QtCore.QSize(80, self._HEADER)
        return self.layout().totalMinimumSize().expandedTo(QtCore.QSize(80, self._HEADER))

    def sizeHint(self) -> Any:
        if self._is_collapsed or self.layout() is None:
            return QtCore.QSize(200, self._HEADER)
        return self.layout().totalSizeHint().expandedTo(QtCore.QSize(200, self._HEADER))

    def paintEvent(self, event: Any) -> None:
        painter = QtGui.QPainter(self)
        header = QtCore.QRect(0, 0, self.width, self._HEADER - 3)
        painter.fillRect(header, self.palette.color(QtGui.QPalette.Button).darker(106))
        painter.setPen(self.palette.color(QtGui.QPalette.ButtonText))
        triangle = [(7, 8), (15, 8), (11, 15)] if not self._is_collapsed else [(8, 7), (15, 11), (8, 15)]
        painter.setBrush(self.palette.color(QtGui.QPalette.ButtonText))
        painter.drawPolygon(QtGui.QPolygon([QtCore.QPoint(x, y) for x, y in triangle]))
        flags = QtCore.Qt.AlignVCenter | QtCore.Qt.TextSingleLine
        painter.drawText(header.adjusted(24, 0, -4, 0), flags, self.text)
        if not self._is_collapsed:
            painter.setPen(self.palette.color(QtGui.QPalette.Mid))
            painter.setBrush(QtCore.Qt.NoBrush)
            painter.drawRect(0, 0, self.width - 1, self.height - 1)
        painter.end()


@stands_for
class ctkCollapsibleGroupBox(base_for("ctkCollapsibleGroupBox")):  # type: ignore[misc]
    """A group box that folds: a checkable one, as in CTK, whose check mark is drawn as an arrow."""

    STANDS_FOR = "ctkCollapsibleGroupBox"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._is_collapsed = False
        self._hidden_by_folding: list[Any] = []
        self.setCheckable(True)
        QtWidgets.QGroupBox.toggled.__get__(self).connect(lambda opened: self._collapse(not opened))

    def paintEvent(self, event: Any) -> None:
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionGroupBox()
        self.initStyleOption(option)
        group, style = QtWidgets.QStyle.CC_GroupBox, self.style()
        box = style.subControlRect(group, option, QtWidgets.QStyle.SC_GroupBoxCheckBox, self)
        if self._is_collapsed:
            option.subControls &= ~QtWidgets.QStyle.SC_GroupBoxFrame
        painter.drawComplexControl(group, option)
        painter.fillRect(box, self.palette.color(QtGui.QPalette.Window))
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = box
        pointing = QtWidgets.QStyle.PE_IndicatorArrowRight if self._is_collapsed else None
        painter.drawPrimitive(pointing or QtWidgets.QStyle.PE_IndicatorArrowDown, arrow)
        painter.end()

    def _collapse(self, collapsed: bool) -> None:
        if collapsed == self._is_collapsed:
            return
        self._is_collapsed = collapsed
        if collapsed:
            children = [c for c in self.children() if isinstance(c, QtWidgets.QWidget)]
            self._hidden_by_folding = [c for c in children if not c.isHidden()]
        for child in self._hidden_by_folding:
            # As CTK: what somebody has hidden while the box was folded stays hidden.
            explicit = QtCore.Qt.WA_WState_ExplicitShowHide
            if collapsed or not (child.testAttribute(explicit) and child.isHidden()):
                child.setVisible(not collapsed)
            if collapsed:
                child.setAttribute(explicit, False)
        self.setMaximumHeight(24 if collapsed else 16777215)
        self.setChecked(not collapsed)

    collapsed = _Property(bool, lambda self: self._is_collapsed, _collapse)
    collapsedHeight = stored(int, "collapsedHeight", 14)


@stands_for
class ctkMessageBox(base_for("ctkMessageBox")):  # type: ignore[misc]
    """What ``slicer.util`` asks with."""

    STANDS_FOR = "ctkMessageBox"
    dontShowAgainVisible = stored(bool, "dontShowAgainVisible", False)
    dontShowAgain = stored(bool, "dontShowAgain", False)
    dontShowAgainSettingsKey = stored(str, "dontShowAgainSettingsKey", "")


def _number(name: str, kind: Any = float) -> Any:
    def read(self: Any) -> Any:
        return getattr(self._spin, name)

    def write(self: Any, value: Any) -> None:
        self._set(name, value)

    return _Property(kind, read, write)


@stands_for
class ctkSliderWidget(base_for("ctkSliderWidget")):  # type: ignore[misc]
    """A slider beside a QDoubleSpinBox, which holds the number."""

    STANDS_FOR = "ctkSliderWidget"
    valueChanged = _Signal(float)
    valueIsChanging = _Signal(float)
    SIGNALS = {"valueChanged(double)": "valueChanged", "valueIsChanging(double)": "valueIsChanging"}  # noqa: RUF012

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Horizontal, self)
        self._spin = QtWidgets.QDoubleSpinBox(self)
        self._spin.setRange(0.0, 99.0)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._spin)
        self._slider.valueChanged.connect(self._slid)
        self._spin.valueChanged.connect(self._changed)
        self._sync()

    def _set(self, name: str, value: Any) -> None:
        if name in ("minimum", "maximum") and value in (float("inf"), float("-inf")):
            value = 1e12 if value > 0 else -1e12
        setattr(self._spin, name, value)
        self._sync()

    def _sync(self) -> None:
        low, high, step = self._spin.minimum, self._spin.maximum, max(self._spin.singleStep, 1e-9)
        self._slider.blockSignals(True)
        self._slider.setRange(0, max(1, round((high - low) / step)))
        self._slider.setValue(round((self._spin.value - low) / step))
        self._slider.blockSignals(False)

    def _slid(self, position: int) -> None:
        value = min(self._spin.minimum + position * self._spin.singleStep, self._spin.maximum)
        self.valueIsChanging.emit(value)
        self._spin.value = value

    def _changed(self, value: float) -> None:
        self._sync()
        self.valueChanged.emit(value)

    minimum, maximum, value = _number("minimum"), _number("maximum"), _number("value")
    singleStep, decimals = _number("singleStep"), _number("decimals", int)
    suffix, prefix = _number("suffix", str), _number("prefix", str)
    pageStep = stored(float, "pageStep", 10.0)
    tickInterval = stored(float, "tickInterval", 0.0)
    tracking = stored(bool, "tracking", True)

    def setValue(self, value: float) -> None:
        self._set("value", value)


@stands_for
class ctkPathLineEdit(base_for("ctkPathLineEdit")):  # type: ignore[misc]
    """A path to choose, with a history."""

    STANDS_FOR = "ctkPathLineEdit"
    currentPathChanged = _Signal(str)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(next((a for a in arguments if isinstance(a, QtWidgets.QWidget)), None))
        self._edit = QtWidgets.QLineEdit(self)
        self._button = QtWidgets.QToolButton(self)
        self._button.setText("...")
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._edit)
        layout.addWidget(self._button)
        self._edit.textChanged.connect(self.currentPathChanged.emit)

    currentPath = _Property(str, lambda self: self._edit.text, lambda self, path: self._edit.setText(path))
    filters = stored(int, "filters", 0)
    nameFilters = stored("QStringList", "nameFilters", [])
    settingKey = stored(str, "settingKey", "")
    label = stored(str, "label", "")


@stands_for
class ctkDirectoryButton(base_for("ctkDirectoryButton")):  # type: ignore[misc]
    """A button that shows the folder chosen."""

    STANDS_FOR = "ctkDirectoryButton"
    directoryChanged = _Signal(str)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(next((a for a in arguments if isinstance(a, QtWidgets.QWidget)), None))
        self._button = QtWidgets.QPushButton(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._button)
        self._directory = ""

    def _choose(self, directory: str) -> None:
        changed = directory != self._directory
        self._directory = directory
        self._button.setText(directory)
        if changed:
            self.directoryChanged.emit(directory)

    directory = _Property(str, lambda self: self._directory, _choose)
    caption = stored(str, "caption", "")


CLASSES = [
    ctkCollapsibleButton,
    ctkCollapsibleGroupBox,
    ctkDirectoryButton,
    ctkMessageBox,
    ctkPathLineEdit,
    ctkSliderWidget,
]


def module() -> Any:
    """``ctk``."""
    return module_of("ctk", CLASSES, "CTK")


__all__ = ["CLASSES", "module", "with_manners"]
