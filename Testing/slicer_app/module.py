"""``qSlicerScriptedLoadableModule`` and its widget: how Slicer holds a scripted module."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtWidgets

from . import api
from .mrml_widgets import qSlicerWidget
from .pythonqt import with_manners
from .standing import stands_for

# Those of the class itself have setters; of its bases' properties (name, path ...) this one alone has.
_WRITABLE = frozenset(
    [*api.table()["qSlicerScriptedLoadableModule"]["properties"], "widgetRepresentationCreationEnabled"]
)


class qSlicerScriptedLoadableModule:
    """The ``parent`` of a ScriptedLoadableModule."""

    made_widget: Any

    def __init__(self, path: str) -> None:
        # What Slicer itself sets, and Python only reads
        read_only = {"made_widget": None, "path": path, "name": Path(path).stem, "isBuiltIn": False}
        for name, value in read_only.items():
            object.__setattr__(self, name, value)
        self.hidden = False

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _WRITABLE:
            raise AttributeError(f"qSlicerScriptedLoadableModule has no writable property '{name}' in real Slicer.")
        object.__setattr__(self, name, value)

    def widgetRepresentation(self) -> Any:
        """The panel, made when first asked for."""
        if self.made_widget is None:
            object.__setattr__(self, "made_widget", qSlicerScriptedLoadableModuleWidget(self))
            self.made_widget.reload()
        return self.made_widget

    def logic(self) -> Any:
        return slicer.vtkSlicerScriptedLoadableModuleLogic()


@stands_for
class qSlicerScriptedLoadableModuleWidget(qSlicerWidget):
    """The ``parent`` of a ScriptedLoadableModuleWidget."""

    STANDS_FOR = "qSlicerScriptedLoadableModuleWidget"

    def __init__(self, module: Any) -> None:
        super().__init__()
        self._module = module
        self._self: Any = None
        self._is_entered = False
        self.setLayout(QtWidgets.QVBoxLayout())
        self.setMRMLScene(slicer.mrmlScene)

    def reload(self) -> None:
        """Make the Python object of the panel anew."""
        name = self._module.name
        self._self = getattr(sys.modules[name], name + "Widget")(self)
        setattr(slicer.modules, name + "Widget", self._self)
        self._self.setup()

    def self(self) -> Any:
        return self._self

    def module(self) -> Any:
        return self._module

    def enter(self) -> None:
        self._is_entered = True
        if hasattr(self._self, "enter"):
            self._self.enter()

    def exit(self) -> None:
        self._is_entered = False
        if hasattr(self._self, "exit"):
            self._self.exit()


__all__ = ["qSlicerScriptedLoadableModule", "qSlicerScriptedLoadableModuleWidget", "with_manners"]
