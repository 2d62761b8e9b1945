"""``slicer.parameterNodeWrapper``: typed fields over a vtkMRMLScriptedModuleNode, bound to widgets.

Written from what Slicer does (Base/Python/slicer/parameterNodeWrapper): values are kept as the node's parameters and
node references under the same names and in the same form, so that a scene saved here opens there; a field or a
widget that Slicer could not bind is refused here too. Parameter packs, tuples, dictionaries and colors are left out.
"""

from __future__ import annotations

import types
import typing
from typing import Any

import slicer
import vtk

from .connectors import connector
from .parameter_fields import (
    Choice,
    Decimals,
    Default,
    Field,
    Maximum,
    Minimum,
    SingleStep,
    Validator,
    WithinRange,
    field_of,
)

SlicerParameterNamePropertyName = "SlicerParameterName"


_RESERVED = [
    "default",
    "isCached",
    "dataType",
    "getValue",
    "setValue",
    "connectGui",
    "connectParametersToGui",
    "disconnectGui",
    "StartModify",
    "EndModify",
    "AddObserver",
    "RemoveObserver",
    "Modified",
    "allParameters",
]


class _Methods:
    """What the wrapper adds to the class that it decorates."""

    allParameters: dict[str, Field]
    parameterNode: Any

    def __init__(self, parameterNode: Any, prefix: str | None = None) -> None:
        if prefix:
            raise NotImplementedError("The stand-in parameter node takes no prefix.")
        self.parameterNode = parameterNode
        self._guis: dict[int, tuple[Any, Any]] = {}
        self._updating = False
        for field in self.allParameters.values():
            if not field.is_in(parameterNode):
                field.write(parameterNode, field.default)

    def getValue(self, name: str) -> Any:
        return self._field(name).read(self.parameterNode)

    def setValue(self, name: str, value: Any) -> None:
        self._field(name).write(self.parameterNode, value)

    def _field(self, name: str) -> Field:
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}; there are {list(self.allParameters)}")
        return self.allParameters[name]

    def connectGui(self, gui: Any) -> int:
        """Bind every widget with a SlicerParameterName: of ``childWidgetVariables`` or below a widget."""
        import qt

        widgets = gui.findChildren(qt.QWidget) if getattr(gui, "isWidgetType", None) else vars(gui).values()
        named = ((w.property(SlicerParameterNamePropertyName), w) for w in widgets)
        return self.connectParametersToGui({name: widget for name, widget in named if name})

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        connectors = {name: connector(widget, self._field(name)) for name, widget in mapping.items()}
        for name, bound in connectors.items():
            bound.write(self.getValue(name))
            bound.connect(lambda name=name, bound=bound: self._from_gui(name, bound))
        tag = max(self._guis, default=-1) + 1
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: self._to_gui())
        self._guis[tag] = (connectors, observer)
        return tag

    def disconnectGui(self, tag: int | None) -> None:
        if tag in self._guis:
            connectors, observer = self._guis.pop(tag)
            for bound in connectors.values():
                bound.disconnect()
            self.RemoveObserver(observer)

    def _from_gui(self, name: str, bound: Any) -> None:
        if not self._updating:
            with slicer.util.NodeModify(self):
                self.setValue(name, bound.read())

    def _to_gui(self) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            for connectors, _ in list(self._guis.values()):
                for name, bound in connectors.items():
                    bound.write(self.getValue(name))
        finally:
            self._updating = False

    def StartModify(self) -> Any:
        return self.parameterNode.StartModify()

    def EndModify(self, was_modified: Any) -> None:
        self.parameterNode.EndModify(was_modified)

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()


def parameterNodeWrapper(classtype: type | None = None) -> Any:
    """Class decorator, with or without parentheses."""
    if classtype is None:
        return parameterNodeWrapper
    hints = typing.get_type_hints(classtype, include_extras=True)
    fields = {name: field_of(name, hint, classtype) for name, hint in hints.items()}
    for reserved in _RESERVED:
        if reserved in vars(classtype) or reserved in fields:
            raise ValueError(f"Cannot use reserved name '{reserved}' in a parameterNodeWrapper")
    for name, field in fields.items():

        def read(self: Any, field: Field = field) -> Any:
            return field.read(self.parameterNode)

        def write(self: Any, value: Any, field: Field = field) -> None:
            field.write(self.parameterNode, value)

        setattr(classtype, name, property(read, write))
    classtype.allParameters = fields  # type: ignore[attr-defined]
    classtype._is_parameter_node_wrapper = True  # type: ignore[attr-defined]
    for name, function in vars(_Methods).items():
        if callable(function):
            setattr(classtype, name, function)
    return classtype


def module() -> types.ModuleType:
    """``slicer.parameterNodeWrapper``."""
    made = types.ModuleType("slicer.parameterNodeWrapper")
    for shown in (
        parameterNodeWrapper,
        Default,
        Decimals,
        SingleStep,
        Validator,
        WithinRange,
        Minimum,
        Maximum,
        Choice,
    ):
        setattr(made, shown.__name__, shown)
    made.SlicerParameterNamePropertyName = SlicerParameterNamePropertyName  # type: ignore[attr-defined]
    return made
