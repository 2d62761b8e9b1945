"""Arrays from pickles of numpy arrays, and nothing else: no class is built and no function called that a file names.

A pickle is a program. This reader runs it with stand-ins for the few names that numpy writes into its pickles; a file
that asks for any other name is refused.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from DeepLargeDeformRegLib.core.errors import BadInputError

_MOST_AXES = 8
_KINDS = "biuf"  # truth values, whole numbers and floating-point ones; no objects, records or texts


class _Type:
    """Stands for ``numpy.dtype``."""

    def __init__(self, name: str, align: bool = False, copy: bool = True) -> None:
        self.dtype = np.dtype(_checked(name, str))
        if self.dtype.kind not in _KINDS:
            raise ValueError(f"elements of type {name}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = _checked(state[1], str)
        self.dtype = self.dtype.newbyteorder("=" if order == "|" else order)


class _Array:
    """Stands for ``numpy.ndarray``: what ``numpy`` rebuilds, and fills by its state."""

    values: npt.NDArray[np.generic]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, by_columns, content = state
        self.values = _array(content, kind, shape, "F" if by_columns else "C")


def _reconstruct(*_: Any) -> _Array:
    """Stands for the function of that name: an array without content."""
    return _Array()


def _from_buffer(content: Any, kind: Any, shape: Any, order: str) -> _Array:
    """Stands for the function with which pickles of protocol 5 give content at once."""
    array = _Array()
    array.values = _array(content, kind, shape, order)
    return array


def _encode(text: str, encoding: str) -> bytes:
    """Stands for ``codecs.encode``, by which pickles of protocol 2 hold bytes."""
    if encoding != "latin1":
        raise ValueError("a text in another encoding")
    return _checked(text, str).encode("latin1")


_KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        """The stand-in for a name; every name that a pickle uses is asked for here."""
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _KNOWN[module, name]


def read_arrays(path: Path) -> list[npt.NDArray[np.generic]]:
    """The arrays of a pickle that holds one array, or a tuple or list of arrays.

    Raises:
        BadInputError: if it holds or asks for anything else, or is damaged.
    """
    try:
        with path.open("rb") as stream:
            found = _load(stream)
    except OSError as error:
        raise BadInputError(f"{path.name} cannot be read.", str(error)) from error
    except Exception as error:  # whatever a damaged or hostile file leads to
        raise BadInputError(
            f"{path.name} is no pickle of plain numpy arrays, and was not read further: {error}."
        ) from error
    entries = list(found) if isinstance(found, tuple | list) else [found]
    arrays = [getattr(entry, "values", None) for entry in entries if isinstance(entry, _Array)]
    if len(arrays) != len(entries) or not all(isinstance(array, np.ndarray) for array in arrays):
        raise BadInputError(f"{path.name} holds something else than numpy arrays.")
    return [array for array in arrays if array is not None]


def _load(stream: BinaryIO) -> Any:
    return _ArrayUnpickler(stream).load()


def _array(content: Any, kind: Any, shape: Any, order: str) -> npt.NDArray[np.generic]:
    dtype = _checked(kind, _Type).dtype
    lengths = [_checked(length, int) for length in _checked(shape, tuple)]
    if len(lengths) > _MOST_AXES or any(length < 0 for length in lengths):
        raise ValueError(f"an array of shape {lengths}")
    if len(_checked(content, bytes | bytearray)) != math.prod(lengths) * dtype.itemsize:
        raise ValueError(f"{len(content)} bytes for an array of shape {lengths}")
    return np.frombuffer(content, dtype).reshape(lengths, order="F" if order == "F" else "C")


def _checked(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{type(value).__name__} where another type belongs")
    return value
