"""Stand-ins for Slicer's MRML widgets that hold a scene or choose its nodes."""

from __future__ import annotations

import weakref
from typing import Any

import shiboken6
import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from .standing import base_for, stands_for, stored

_Property = QtCore.Property
_Signal = QtCore.Signal


def observe(widget: Any, subject: Any, event: Any, method: str) -> int:
    """Call a method of a widget at an event, for as long as the widget lives."""
    reference = weakref.ref(widget)
    tag = [0]

    def called(caller: Any, event_name: str) -> None:
        alive = reference()
        if alive is None or not shiboken6.isValid(alive):
            subject.RemoveObserver(tag[0])
        else:
            getattr(alive, method)()

    tag[0] = subject.AddObserver(event, called)
    return tag[0]


@stands_for
class qMRMLWidget(base_for("qMRMLWidget")):  # type: ignore[misc]
    """A widget that hands a scene to its children."""

    STANDS_FOR = "qMRMLWidget"
    mrmlSceneChanged = _Signal(object)
    SIGNALS = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}  # noqa: RUF012

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._scene = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


@stands_for
class qMRMLNodeComboBox(base_for("qMRMLNodeComboBox")):  # type: ignore[misc]
    """Chooses a node of the scene among those of some classes."""

    STANDS_FOR = "qMRMLNodeComboBox"
    currentNodeChanged = _Signal(object)
    currentNodeIDChanged = _Signal(str)
    nodeActivated = _Signal(object)
    nodeAdded = _Signal(object)
    nodeAddedByUser = _Signal(object)
    _validNodeChanged = _Signal(bool)
    SIGNALS = {  # noqa: RUF012
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
        "currentNodeChanged(bool)": "_validNodeChanged",
        "currentNodeIDChanged(QString)": "currentNodeIDChanged",
        "nodeActivated(vtkMRMLNode*)": "nodeActivated",
        "nodeAdded(vtkMRMLNode*)": "nodeAdded",
        "nodeAddedByUser(vtkMRMLNode*)": "nodeAddedByUser",
    }

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene = None
        self._current: str | None = None
        self._nodes: list[Any] = []
        self._combo = QtWidgets.QComboBox(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        self._combo.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Expanding)
        self._combo.activated.connect(self._chosen)
        self.setEnabled(False)

    nodeTypes = stored("QStringList", "nodeTypes", [], "_refresh")
    showHidden = stored(bool, "showHidden", False, "_refresh")
    showChildNodeTypes = stored(bool, "showChildNodeTypes", True, "_refresh")
    hideChildNodeTypes = stored("QStringList", "hideChildNodeTypes", [], "_refresh")
    noneEnabled = stored(bool, "noneEnabled", False, "_refresh")
    noneDisplay = stored(str, "noneDisplay", "None", "_refresh")
    addEnabled = stored(bool, "addEnabled", True)
    removeEnabled = stored(bool, "removeEnabled", True)
    editEnabled = stored(bool, "editEnabled", False)
    renameEnabled = stored(bool, "renameEnabled", False)
    selectNodeUponCreation = stored(bool, "selectNodeUponCreation", True)
    baseName = stored(str, "baseName", "")
    interactionNodeSingletonTag = stored(str, "interactionNodeSingletonTag", "")
    currentNodeID = _Property(
        str, lambda self: self._current or "", lambda self, node_id: self.setCurrentNodeID(node_id)
    )

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._scene:
            return
        self._scene = scene
        self.setEnabled(scene is not None)
        if scene is not None:
            for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent):
                observe(self, scene, event, "_refresh")
            observe(self, scene, scene.EndImportEvent, "_start_anew")
        self._refresh()

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self._current) if self._scene is not None and self._current else None

    def setCurrentNode(self, node: Any) -> None:
        node_id = node if isinstance(node, str) else (node.GetID() if node is not None else None)
        if node_id is not None and node_id not in [n.GetID() for n in self._nodes]:
            node_id = None
        self._select(node_id)

    def setCurrentNodeID(self, node_id: str) -> None:
        self.setCurrentNode(node_id)

    def nodeTypeLabel(self, node_type: str) -> str:
        node_class = getattr(slicer, node_type, None)
        return node_class().GetNodeTagName() if node_class is not None else "node"

    def _shows(self, node: Any) -> bool:
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        for node_type in self.nodeTypes or ["vtkMRMLNode"]:
            exact = node.GetClassName() == node_type
            hidden = any(node.IsA(child) for child in self.hideChildNodeTypes)
            if exact or (self.showChildNodeTypes and node.IsA(node_type) and not hidden):
                return True
        return False

    def _start_anew(self) -> None:
        """After an import qMRMLSceneModel lists the scene anew, and the choice is lost on the way."""
        self._select(None)
        self._refresh()

    def _refresh(self) -> None:
        if self._scene is None or self._scene.IsImporting():
            return
        known = {node.GetID() for node in self._nodes}
        place = next((row for row, node in enumerate(self._nodes) if node.GetID() == self._current), 0)
        nodes = [self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes())]
        self._nodes = [node for node in nodes if self._shows(node)]
        for node in self._nodes:
            if node.GetID() not in known:
                observe(self, node, vtk.vtkCommand.ModifiedEvent, "_show")
                self.nodeAdded.emit(node)
        self._show()
        shown = [node.GetID() for node in self._nodes]
        if self._current is not None and self._current not in shown:
            closing = self._scene.IsClosing() or not shown
            # QComboBox: where the current row goes away, the next one becomes the current one, or else the last.
            self._select(None if closing else shown[min(place, len(shown) - 1)])
        if self._current is None and not self.noneEnabled and self._nodes:
            self._select(shown[0])

    def _show(self) -> None:
        """Put the names into the combo box, the current one selected."""
        combo = self._combo
        names = [node.GetName() or "" for node in self._nodes]
        items = [self.noneDisplay, *names] if self.noneEnabled else names
        if items != [combo.itemText(index) for index in range(combo.count)]:
            combo.clear()
            combo.addItems(items)
        combo.setPlaceholderText(f"Select a {self.nodeTypeLabel(self.nodeTypes[0]) if self.nodeTypes else 'node'}")
        offset = 1 if self.noneEnabled else 0
        shown = [node.GetID() for node in self._nodes]
        index = shown.index(self._current) + offset if self._current in shown else offset - 1
        combo.setCurrentIndex(index)

    def _select(self, node_id: str | None) -> None:
        if node_id == self._current:
            return
        self._current = node_id
        self._show()
        self.currentNodeChanged.emit(self.currentNode())
        self._validNodeChanged.emit(node_id is not None)
        self.currentNodeIDChanged.emit(node_id or "")

    def _chosen(self, index: int) -> None:
        """A person picked a row."""
        index -= 1 if self.noneEnabled else 0
        self._select(self._nodes[index].GetID() if index >= 0 else None)
        self.nodeActivated.emit(self.currentNode())


@stands_for
class qMRMLCheckableNodeComboBox(qMRMLNodeComboBox):
    """Chooses any number of nodes by check marks; the closed box names those that are checked."""

    STANDS_FOR = "qMRMLCheckableNodeComboBox"
    checkedNodesChanged = _Signal()
    SIGNALS = {**qMRMLNodeComboBox.SIGNALS, "checkedNodesChanged()": "checkedNodesChanged"}  # noqa: RUF012

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._checked: set[str] = set()
        self._combo.setPlaceholderText("")

    def checkedNodes(self) -> list[Any]:
        return [node for node in self._nodes if node.GetID() in self._checked]

    def uncheckedNodes(self) -> list[Any]:
        return [node for node in self._nodes if node.GetID() not in self._checked]

    def checkState(self, node: Any) -> Any:
        return QtCore.Qt.Checked if node in self.checkedNodes() else QtCore.Qt.Unchecked

    def setCheckState(self, node: Any, state: Any) -> None:
        if node not in self._nodes or self.checkState(node) == state:
            return
        (self._checked.add if state == QtCore.Qt.Checked else self._checked.discard)(node.GetID())
        self._show()
        self.checkedNodesChanged.emit()

    def check(self, node: Any) -> None:
        self.setCheckState(node, QtCore.Qt.Checked)

    def _show(self) -> None:
        """The names of the checked nodes, as the closed box of ctkCheckableComboBox shows them."""
        self._combo.clear()
        names = ", ".join(node.GetName() for node in getattr(self, "_checked", ()) and self.checkedNodes())
        self._combo.addItems([names] if names else [])


@stands_for
class qSlicerWidget(base_for("qSlicerWidget")):  # type: ignore[misc]
    """As qMRMLWidget."""

    STANDS_FOR = "qSlicerWidget"
    mrmlSceneChanged = _Signal(object)
    SIGNALS = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}  # noqa: RUF012

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._scene = None

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


CLASSES = [
    qMRMLWidget,
    qMRMLNodeComboBox,
    qMRMLCheckableNodeComboBox,
    qSlicerWidget,
]
