"""Metrics as table nodes with units; :mod:`..core.rows` has the rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from ..core.metrics import Metrics
from ..core.rows import metric_rows
from .words import say

COLUMNS = (_("Measure"), _("Structure"), _("Before"), _("After"), _("Unit"))


def add_column(table: Any, name: str, values: Iterable[Any], numeric: bool) -> None:
    """Add a column to a table node: text, or numbers with NaN for None."""
    column = vtk.vtkDoubleArray() if numeric else vtk.vtkStringArray()
    column.SetName(name)
    for value in values:
        if numeric:
            column.InsertNextValue(np.nan if value is None else float(value))
        else:
            column.InsertNextValue(value)
    table.AddColumn(column)


def _emptied(node: Any, name: str) -> Any:
    if node is None:
        return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
    node.RemoveAllColumns()
    return node


def text_table(columns: Mapping[str, list[str]], name: str, node: Any = None) -> Any:
    """Table node of cells by the title of their column; ``node`` is overwritten, or a new one is made."""
    return _filled(_emptied(node, name), columns)


def _filled(node: Any, columns: Mapping[str, list[str]]) -> Any:
    for title, cells in columns.items():
        # As text: a number column would show what was not measured as nan.
        add_column(node, title, cells, numeric=False)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.SetLocked(True)
    return node


def metrics_table(metrics: Metrics, name: str, node: Any = None) -> Any:
    """Table node of the metrics; ``node`` is overwritten, or a new one is made."""
    cells = [row.cells for row in metric_rows(metrics)]
    columns = {title: [say(row[index]) for row in cells] for index, title in enumerate(COLUMNS)}
    return text_table(columns, name, node)


def comparison_table(runs: Mapping[str, Metrics], name: str, node: Any = None) -> Any:
    """Table node with what several runs (metrics by the run's name) reached, side by side.

    Rows are those of the first run; what another run lacks stays empty.
    """
    rows = [metric_rows(metrics) for metrics in runs.values()]
    columns = {
        COLUMNS[0]: [say(row.measure.title) for row in rows[0]],
        COLUMNS[1]: [say(row.structure) for row in rows[0]],
    }
    for title, found in zip(runs, rows, strict=True):
        after = {(row.key, row.structure): row.cells[3] for row in found}
        columns[title] = [after.get((row.key, row.structure), "") for row in rows[0]]
    columns[COLUMNS[-1]] = [row.measure.unit for row in rows[0]]
    return _filled(_emptied(node, name), columns)
