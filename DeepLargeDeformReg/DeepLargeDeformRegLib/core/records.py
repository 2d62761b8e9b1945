"""Frozen records to JSON and back, by the types of their fields. Standard library only: Slicer loads this."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, TypeVar

RecordT = TypeVar("RecordT")


@cache
def field_types(record: type) -> dict[str, Any]:
    """Types of a record's fields by name, with their annotations."""
    hints = typing.get_type_hints(record, include_extras=True)
    return {entry.name: hints[entry.name] for entry in dataclasses.fields(record)}


def to_plain(value: Any) -> Any:
    """A record, mapping, tuple or plain value as what JSON can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {entry.name: to_plain(getattr(value, entry.name)) for entry in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(entry) for entry in value]
    return value


def from_plain(record: type[RecordT], values: Mapping[str, Any]) -> RecordT:
    """A record from a dictionary; what is missing takes its default, and unknown entries are left out.

    So records read what older versions wrote, and what newer ones did.

    Raises:
        TypeError: if an entry that has no default is missing.
    """
    hints: dict[str, Any] = field_types(record)  # type: ignore[arg-type]
    known = {name: _value(hint, values[name]) for name, hint in hints.items() if name in values}
    return record(**known)


def _value(hint: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if value is None or hint is Any:
        return value
    if origin is Annotated:
        return _value(arguments[0], value)
    if origin in (typing.Union, types.UnionType):
        return _value(next(one for one in arguments if one is not type(None)), value)
    if origin is tuple:
        return tuple(_value(arguments[0], entry) for entry in value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: _value(arguments[1], entry) for key, entry in value.items()}
    return from_plain(hint, value) if isinstance(hint, type) and dataclasses.is_dataclass(hint) else value
