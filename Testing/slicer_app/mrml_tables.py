"""Stand-in for Slicer's view of a table node."""

from __future__ import annotations

from typing import Any

import vtk
from PySide6 import QtCore

from .mrml_widgets import observe
from .standing import base_for, stands_for, stored


@stands_for
class qMRMLTableView(base_for("qMRMLTableView")):  # type: ignore[misc]
    """Shows a table node."""

    STANDS_FOR = "qMRMLTableView"
    _selected = QtCore.Signal()
    SIGNALS = {"selectionChanged()": "_selected"}  # noqa: RUF012

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene = self._node = None
        self._items = _Items()
        self.setModel(self._items)
        QtCore.QItemSelectionModel.selectionChanged.__get__(self.selectionModel()).connect(
            lambda *_: self._selected.emit()
        )

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene

    def mrmlTableNode(self) -> Any:
        return self._node

    def setMRMLTableNode(self, node: Any) -> None:
        self._node = node
        if node is not None:
            observe(self, node, vtk.vtkCommand.ModifiedEvent, "_show")
        self._show()
        self._selected.emit()  # as qMRMLTableView::setMRMLTableNode, whatever is selected

    def _show(self) -> None:
        place = self.currentIndex().row(), self.currentIndex().column()
        self._items.beginResetModel()
        self._items.node = self._node
        self._items.endResetModel()
        if (
            0 <= place[0] < self._items.rowCount()
        ):  # the current cell stays: qMRMLTableModel exchanges its texts alone
            selection = self.selectionModel()
            selection.blockSignals(True)
            selection.setCurrentIndex(self._items.index(*place), QtCore.QItemSelectionModel.NoUpdate)
            selection.blockSignals(False)

    transposed = stored(bool, "transposed", False)
    firstRowLocked = stored(bool, "firstRowLocked", False)
    firstColumnLocked = stored(bool, "firstColumnLocked", False)


class _Items(QtCore.QAbstractTableModel):
    """The cells of a table node."""

    node: Any = None

    def rowCount(self, parent: Any = None) -> int:
        return self.node.GetNumberOfRows() if self.node is not None else 0

    def columnCount(self, parent: Any = None) -> int:
        return self.node.GetNumberOfColumns() if self.node is not None else 0

    def data(self, index: Any, role: int = QtCore.Qt.DisplayRole) -> Any:
        return self.node.GetCellText(index.row(), index.column()) if role == QtCore.Qt.DisplayRole else None

    def headerData(self, section: int, orientation: Any, role: int = QtCore.Qt.DisplayRole) -> Any:
        if role != QtCore.Qt.DisplayRole:
            return None
        return self.node.GetColumnName(section) if orientation == QtCore.Qt.Horizontal else str(section + 1)


CLASSES = [qMRMLTableView]
