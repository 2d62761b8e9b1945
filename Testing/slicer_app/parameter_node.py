"""``slicer.parameterNodeWrapper``: typed fields over a vtkMRMLScriptedModuleNode, bound to widgets.

Written from what Slicer does (Base/Python/slicer/parameterNodeWrapper): values are kept as the node's parameters and
node references under the same names and in the same form, so that a scene saved here opens there; a field or a
widget that Slicer could not bind is refused here too. Parameter packs, tuples, dictionaries and colors are left out.
"""

from __future__ import annotations

import dataclasses
import enum
import pathlib
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any

import slicer
import vtk

SlicerParameterNamePropertyName = "SlicerParameterName"


# Annotations, by the names that Slicer gives them
@dataclasses.dataclass
class Default:
    value: Any


@dataclasses.dataclass
class Decimals:
    value: int


@dataclasses.dataclass
class SingleStep:
    value: float


class Validator:
    def validate(self, value: Any) -> None:
        raise NotImplementedError


@dataclasses.dataclass
class WithinRange(Validator):
    minimum: float
    maximum: float

    def validate(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is outside {self.minimum} to {self.maximum}")


@dataclasses.dataclass
class Minimum(Validator):
    minimum: float

    def validate(self, value: Any) -> None:
        if value < self.minimum:
            raise ValueError(f"{value} is below {self.minimum}")


@dataclasses.dataclass
class Maximum(Validator):
    maximum: float

    def validate(self, value: Any) -> None:
        if value > self.maximum:
            raise ValueError(f"{value} is above {self.maximum}")


@dataclasses.dataclass
class Choice(Validator):
    choices: Sequence[Any]

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"{value!r} is none of {self.choices}")


@dataclasses.dataclass(kw_only=True)
class Field:
    """One typed field: how it is checked, written to the node and read back."""

    name: str
    kind: Any
    node_classes: tuple[type, ...]
    annotations: tuple[Any, ...]
    default: Any
    optional: bool

    @property
    def is_node(self) -> bool:
        return bool(self.node_classes)

    @property
    def is_list(self) -> bool:
        return typing.get_origin(self.kind) is list

    def annotation(self, kind: type) -> Any:
        return next((a for a in self.annotations if isinstance(a, kind)), None)

    def check(self, value: Any) -> None:
        if self.is_node:
            if value is not None and not isinstance(value, self.node_classes):
                raise TypeError(f"{self.name} takes {self.node_classes}, not {type(value).__name__}")
            return
        if value is None:
            raise ValueError(f"{self.name} must not be None")
        if self.is_list:
            (element,) = typing.get_args(self.kind)
            if not all(isinstance(v, element) for v in value):
                raise TypeError(f"{self.name} takes a list of {element.__name__}")
        elif not isinstance(value, (int, float) if self.kind is float else self.kind):
            raise TypeError(f"{self.name} takes {self.kind.__name__}, not {type(value).__name__}")
        for validator in self.annotations:
            if isinstance(validator, Validator):
                validator.validate(value)

    def is_in(self, node: Any) -> bool:
        return bool(node.HasParameter(f"{self.name}.len" if self.is_list else self.name))

    def write(self, node: Any, value: Any) -> None:
        self.check(value)
        with slicer.util.NodeModify(node):
            if self.is_node:
                node.SetParameter(self.name, "")
                node.SetNodeReferenceID(self.name, None if value is None else value.GetID())
            elif self.is_list:
                old = int(node.GetParameter(f"{self.name}.len") or 0)
                for index, element in enumerate(value):
                    node.SetParameter(f"{self.name}.{index}", _text(element))
                for index in range(len(value), old):
                    node.UnsetParameter(f"{self.name}.{index}")
                node.SetParameter(f"{self.name}.len", str(len(value)))
            else:
                node.SetParameter(self.name, _text(value))

    def read(self, node: Any) -> Any:
        if not self.is_in(node):  # closing a scene empties its singletons
            self.write(node, self.default)
        if self.is_node:
            return node.GetNodeReference(self.name)
        if self.is_list:
            (element,) = typing.get_args(self.kind)
            count = int(node.GetParameter(f"{self.name}.len"))
            values = [_value(element, node.GetParameter(f"{self.name}.{i}")) for i in range(count)]
            return ObservedList(self, node, values)
        return _value(self.kind, node.GetParameter(self.name))


class ObservedList(list):
    """A list whose every change is written to the parameter node."""

    def __init__(self, field: Field, node: Any, values: list[Any]) -> None:
        super().__init__(values)
        self._field, self._node = field, node


def _saving(name: str) -> Callable[..., Any]:
    def change(self: ObservedList, *arguments: Any) -> Any:
        result = getattr(list, name)(self, *arguments)
        self._field.write(self._node, list(self))
        return self if name.startswith("__i") else result

    return change


for _name in ("append", "extend", "insert", "remove", "pop", "clear", "__setitem__", "__delitem__", "__iadd__"):
    setattr(ObservedList, _name, _saving(_name))


def _text(value: Any) -> str:
    return value.name if isinstance(value, enum.Enum) else str(value)


def _value(kind: Any, text: str) -> Any:
    if kind is bool:
        return text == "True"
    if issubclass(kind, enum.Enum):
        return kind[text]
    return kind(text)


def _field(name: str, annotated: Any, owner: type) -> Field:
    kind, *annotations = typing.get_args(typing.Annotated[annotated, None])[:-1]
    optional = False
    alternatives = [kind]
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        optional = type(None) in typing.get_args(kind)
        alternatives = [a for a in typing.get_args(kind) if a is not type(None)]
    nodes = all(isinstance(a, type) and issubclass(a, slicer.vtkMRMLNode) for a in alternatives)
    if not nodes:
        simple = (bool, int, float, str, pathlib.Path)
        listed = typing.get_origin(kind) is list and typing.get_args(kind)[0] in simple
        known = isinstance(kind, type) and (kind in simple or issubclass(kind, enum.Enum))
        if len(alternatives) > 1 or optional or not (listed or known):
            raise TypeError(
                f"The stand-in parameter node has no field of type {annotated} ({owner.__name__}.{name})."
            )
    marked = next((a for a in annotations if isinstance(a, Default)), None)
    if hasattr(owner, name):
        default = getattr(owner, name)
    elif marked is not None:
        default = marked.value
    elif nodes:
        default = None
    elif typing.get_origin(kind) is list:
        default = []
    else:
        default = next(iter(kind)) if issubclass(kind, enum.Enum) else kind()
    return Field(
        name=name,
        kind=kind,
        node_classes=tuple(alternatives) if nodes else (),
        annotations=tuple(annotations),
        default=default,
        optional=optional,
    )


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
        from .connectors import connector

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
    fields = {name: _field(name, hint, classtype) for name, hint in hints.items()}
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
