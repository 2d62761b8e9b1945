"""Metrics as table nodes with units; each row knows the place that it is about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk

# Key of the metrics, name for people, unit: the measures that are given for each structure.
STRUCTURE_MEASURES = (
    ("dice", "Dice", ""),
    ("asd_mm", "ASD", "mm"),
    ("hd95_mm", "HD95", "mm"),
    ("hd_mm", "HD", "mm"),
)
JACOBIAN_MEASURES = (
    ("min", "det J, least", ""),
    ("max", "det J, most", ""),
    ("std", "det J, std", ""),
    ("fold_percent", "Folds (det J <= 0)", "%"),
    ("sdlogj", "SDlogJ", ""),
)
TRE_MEASURES = (
    ("mean", "TRE, mean"),
    ("std", "TRE, std"),
    ("p75", "TRE, 75 %"),
    ("max", "TRE, largest"),
)
COLUMNS = ("Measure", "Structure", "Before", "After", "Unit")


@dataclass(frozen=True)
class MetricRow:
    """A row of the metrics table.

    Args:
        measure, structure, before, after, unit: the cells; None where nothing was measured.
        place: what the row is about: ``("structure", name)``, ``("point", LPS mm)``, ``("jacobian", "min" or "max")``
            or None.
    """

    measure: str
    structure: str
    before: float | None
    after: float | None
    unit: str
    place: tuple[str, Any] | None = None

    @property
    def cells(self) -> tuple[str, str, str, str, str]:
        """The cells as text."""
        return self.measure, self.structure, shown(self.before), shown(self.after), self.unit


def metric_rows(metrics: Mapping[str, Any]) -> list[MetricRow]:
    """Rows of the metrics of a run; what was not measured has no row. Single landmarks come last, worst first."""
    rows: list[MetricRow] = []
    for key, title, unit in STRUCTURE_MEASURES:
        for structure, values in (metrics.get(key) or {}).items():
            where = ("structure", structure)
            rows.append(MetricRow(title, structure, values.get("before"), values.get("after"), unit, where))
    for structure, change in (metrics.get("volume_change_percent") or {}).items():
        rows.append(MetricRow("Volume change", structure, None, change, "%", ("structure", structure)))
    tre = metrics.get("tre_mm") or {}
    landmarks = sorted(tre.get("landmarks") or (), key=lambda landmark: -landmark["after"])
    for key, title in TRE_MEASURES:
        before, after = ((tre.get(when) or {}).get(key) for when in ("before", "after"))
        place = ("point", landmarks[0]["point_lps"]) if key == "max" and landmarks else None
        if before is not None or after is not None:
            rows.append(MetricRow(title, "landmarks", before, after, "mm", place))
    rows += _map_rows(metrics)
    for landmark in landmarks:
        where = ("point", landmark["point_lps"])
        rows.append(MetricRow("TRE", landmark["name"], landmark["before"], landmark["after"], "mm", where))
    return rows


def _map_rows(metrics: Mapping[str, Any]) -> list[MetricRow]:
    """Rows about the map itself and about how alike the scans are."""
    jacobian = metrics.get("jacobian") or {}
    folds = metrics.get("folds") or ()
    places = {"min": ("jacobian", "min"), "max": ("jacobian", "max")}
    if folds:
        places["fold_percent"] = ("point", folds[0]["point_lps"])
    rows = [
        MetricRow(title, "", None, jacobian[key], unit, places.get(key))
        for key, title, unit in JACOBIAN_MEASURES
        if key in jacobian
    ]
    for key, title in (("inverse_consistency_mm", "There and back"), ("uncertainty_mm", "Uncertainty")):
        found = metrics.get(key)
        for part, name in (("mean", "mean"), ("p95", "95 %")):
            if isinstance(found, Mapping) and found.get(part) is not None:
                rows.append(MetricRow(f"{title}, {name}", "", None, float(found[part]), "mm"))
    alike = (metrics.get("similarity") or {}).get("local_ncc") or {}
    if alike:
        rows.append(MetricRow("Similarity, local NCC", "", alike.get("before"), alike.get("after"), ""))
    if metrics.get("in_place_percent") is not None:
        rows.append(
            MetricRow("Neighborhoods that fit best in place", "", None, float(metrics["in_place_percent"]), "%")
        )
    return rows


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


def shown(value: float | None) -> str:
    """A number as the table shows it; empty for what was not measured."""
    return "" if value is None or np.isnan(value) else f"{value:.4g}"


def _emptied(node: Any, name: str) -> Any:
    if node is None:
        return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
    node.RemoveAllColumns()
    return node


def _filled(node: Any, columns: Mapping[str, list[str]]) -> Any:
    for title, cells in columns.items():
        # As text: a number column would show what was not measured as nan.
        add_column(node, title, cells, numeric=False)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.SetLocked(True)
    return node


def metrics_table(metrics: Mapping[str, Any], name: str, node: Any = None) -> Any:
    """Table node of the metrics; ``node`` is overwritten, or a new one is made."""
    cells = [row.cells for row in metric_rows(metrics)]
    columns = {title: [row[index] for row in cells] for index, title in enumerate(COLUMNS)}
    return _filled(_emptied(node, name), columns)


def comparison_table(runs: Mapping[str, Mapping[str, Any]], name: str, node: Any = None) -> Any:
    """Table node with what several runs (metrics by the run's name) reached, side by side.

    Rows are those of the first run; what another run lacks stays empty.
    """
    rows = [metric_rows(metrics) for metrics in runs.values()]
    columns = {
        "Measure": [row.measure for row in rows[0]],
        "Structure": [row.structure for row in rows[0]],
    }
    for title, found in zip(runs, rows, strict=True):
        after = {(row.measure, row.structure): row.cells[3] for row in found}
        columns[title] = [after.get((row.measure, row.structure), "") for row in rows[0]]
    columns["Unit"] = [row.unit for row in rows[0]]
    return _filled(_emptied(node, name), columns)
