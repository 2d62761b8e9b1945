"""The column in which Slicer shows a module's panel: how wide it asks to be, and how tall its widgets come out."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtWidgets


class ModulePanel:
    """A scroll area that holds the panel of one module, as qSlicerModulePanel does.

    The panel gets the size policy Minimum: it asks for the full width of its contents, and the views give way.
    """

    def __init__(self, application: Any, panel: Any) -> None:
        self._application = application
        self.area = QtWidgets.QScrollArea()
        self.area.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarAlwaysOff)
        self.area.setWidgetResizable(True)
        contents = QtWidgets.QWidget()
        layout = QtWidgets.QVBoxLayout(contents)
        layout.setContentsMargins(0, 0, 0, 0)
        panel.layout().setContentsMargins(0, 0, 0, 0)
        panel.setSizePolicy(QtWidgets.QSizePolicy.Minimum, QtWidgets.QSizePolicy.Preferred)
        layout.addWidget(panel, 1)
        self._panel = panel
        self.area.setWidget(contents)

    def least_width(self) -> int:
        """Width in pixels below which Slicer does not let the column go."""
        self._settle()
        bar = self.area.verticalScrollBar().sizeHint().width()
        return QtWidgets.QWidget.minimumSizeHint(self.area.widget()).width() + bar

    def show(self, width: int, height: int) -> None:
        """Show the column in that size, or wider where the panel asks for more."""
        self.area.resize(max(width, self.least_width()), height)
        self.area.show()
        self._settle()

    def close(self) -> None:
        """Let the panel go again."""
        self.area.hide()
        self._panel.setParent(None)

    def _settle(self) -> None:
        for _ in range(4):  # layouts settle over a few passes
            self._application.qt_application.processEvents()
