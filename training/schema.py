"""Nested dataclasses from YAML: every key is known, every value has its type, and errors name the place."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from DeepLargeDeformRegLib.core.errors import BadInputError

T = TypeVar("T")


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        BadInputError: if the file cannot be read or holds no mapping.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(f"The configuration {path.name} cannot be read.", str(error)) from error
    except yaml.YAMLError as error:
        raise BadInputError(f"The configuration {path.name} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise BadInputError(f"The configuration {path.name} must be a list of keys and values.")
    return data


def build(kind: type[T], data: Any, place: str = "") -> T:
    """A dataclass from plain values.

    Args:
        kind: the dataclass; its type hints are the schema.
        data: a mapping of its fields.
        place: where in the configuration this is, for messages.

    Raises:
        BadInputError: for an unknown key (with the nearest known one), a missing one, or a value of another type.
    """
    if not isinstance(data, Mapping):
        raise BadInputError(f"{place or 'The configuration'} must be a list of keys and values, not {data!r}.")
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    for key in data:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."
            raise BadInputError(f"{_join(place, key)} is not a known setting; {hint}")
    values: dict[str, Any] = {}
    for name, field in known.items():
        if name in data:
            values[name] = _convert(hints[name], data[name], _join(place, name))
        elif field.default is MISSING and field.default_factory is MISSING:
            raise BadInputError(f"{_join(place, name)} is missing.")
    return kind(**values)


def to_plain(value: Any) -> Any:
    """The reverse of :func:`build`: dataclasses, tuples and paths as values for YAML and JSON."""
    if is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return value


def _join(place: str, key: Any) -> str:
    return f"{place}.{key}" if place else str(key)


def _convert(hint: Any, value: Any, place: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(arguments, value, place)
    if is_dataclass(hint):
        return build(hint, value, place)  # type: ignore[arg-type]
    if origin is tuple:
        return _convert_tuple(arguments, value, place)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if origin is Mapping and isinstance(value, Mapping):
        return {key: _convert(arguments[1], item, _join(place, key)) for key, item in value.items()}
    if hint is Any:
        return value
    wanted = dict if (origin or hint) in (dict, Mapping) or origin is typing.get_origin(Mapping[str, Any]) else hint
    if not isinstance(value, wanted) or (wanted in (int, float) and isinstance(value, bool)):
        raise BadInputError(f"{place} must be {_name(wanted)}, not {value!r}.")
    return value


def _convert_union(options: tuple[Any, ...], value: Any, place: str) -> Any:
    if value is None and type(None) in options:
        return None
    problems = []
    for option in options:
        if option is type(None):
            continue
        try:
            return _convert(option, value, place)
        except BadInputError as error:
            problems.append(error)
    # The one mapping among the options explains best what is wrong inside of it.
    raise problems[-1 if isinstance(value, (Mapping, list)) else 0]


def _convert_tuple(arguments: tuple[Any, ...], value: Any, place: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise BadInputError(f"{place} must be a list, not {value!r}.")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_convert(arguments[0], item, f"{place}[{index}]") for index, item in enumerate(value))
    if len(value) != len(arguments):
        raise BadInputError(f"{place} must have {len(arguments)} values, not {len(value)}.")
    pairs = enumerate(zip(arguments, value, strict=True))
    return tuple(_convert(hint, item, f"{place}[{index}]") for index, (hint, item) in pairs)


def _name(kind: type) -> str:
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false", dict: "keys and values"}
    return names.get(kind, kind.__name__)
