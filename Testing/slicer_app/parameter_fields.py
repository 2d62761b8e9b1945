"""The typed fields of ``slicer.parameterNodeWrapper``: their annotations, and how each lies in a parameter node."""

from __future__ import annotations

import dataclasses
import enum
import pathlib
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any

import slicer


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


def field_of(name: str, annotated: Any, owner: type) -> Field:
    """The field that an annotation of a class describes."""
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
