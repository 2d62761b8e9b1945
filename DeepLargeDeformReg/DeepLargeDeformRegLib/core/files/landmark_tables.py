"""Landmarks in tables of text: columns, names and numbers, as spreadsheets of any country write them."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..errors import BadInputError
from ..sentences import marked as _

_AXES = {"xyz": "LPS", "lps": "LPS", "ras": "RAS"}
_MOST_DIGITS = 60
_NUMBER = re.compile(r"[-+]?[0-9]*[.,]?[0-9]*([eE][-+]?[0-9]{1,4})?")


def read_table(text: str, name: str) -> tuple[list[str], list[list[str]]]:
    """Column names in lower case, and the rows of values, of a table with commas, semicolons or tabs.

    Raises:
        BadInputError: if a row has another number of values.
    """
    # Spreadsheets write empty rows, and some the separator in a line of its own.
    lines = [line for line in text.splitlines() if line.strip(' ,;\t"') and line[:4].lower() != "sep="]
    delimiter = max(",;\t", key=lines[0].count)
    columns, *rows = csv.reader(lines, delimiter=delimiter)
    for number, row in enumerate(rows, start=2):
        if len(row) < len(columns):
            raise BadInputError(
                _("{name}: line {number} has fewer values than the first line has columns.").format(
                    name=name, number=number
                )
            )
        if len(row) > len(columns) and any(value.strip() for value in row[len(columns) :]):
            raise BadInputError(
                _(
                    "{name}: line {number} has more values than the first line has columns; numbers with a "
                    "decimal comma need a semicolon or a tab between them."
                ).format(name=name, number=number)
            )
    return [column.strip().lower() for column in columns], rows


def axes_of(columns: list[str], prefix: str) -> tuple[list[int], str] | None:
    """Columns of x, y and z, and the coordinate system that their names say; None without such columns."""
    for axes, system in _AXES.items():
        if all(prefix + axis in columns for axis in axes):
            return [columns.index(prefix + axis) for axis in axes], system
    return None


def positions_of(rows: list[list[str]], where: Sequence[int], name: str) -> npt.NDArray[np.float64]:
    """Numbers (n, 3) of the rows in three columns.

    Raises:
        BadInputError: if one is no number.
    """
    try:
        return np.array([[number_of(row[column]) for column in where] for row in rows], dtype=np.float64).reshape(
            -1, 3
        )
    except (ValueError, IndexError) as error:
        raise BadInputError(
            _("{name} has a landmark whose coordinates are no numbers.").format(name=name), detail=str(error)
        ) from error


def number_of(text: str) -> float:
    """A number with a decimal point or comma; ValueError for one with both, or of hundreds of digits."""
    if len(text := text.strip()) > _MOST_DIGITS:
        raise ValueError("a number of too many digits")
    return float(text.replace(",", ".") if _NUMBER.fullmatch(text) else text)


def names_of(columns: list[str], rows: list[list[str]]) -> tuple[str, ...]:
    """Names of the landmarks, empty where a table has none."""
    column = next((columns.index(key) for key in ("label", "name") if key in columns), None)
    if column is None:
        return ("",) * len(rows)
    return tuple(row[column].strip() if column < len(row) else "" for row in rows)
