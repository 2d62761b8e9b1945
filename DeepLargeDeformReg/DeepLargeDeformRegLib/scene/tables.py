"""Metrics as table nodes with units, and as plots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import slicer
import vtk

# Key of the metrics, name for people, unit: the measures that are given for each structure.
STRUCTURE_MEASURES = (("dice", "Dice", ""), ("asd_mm", "ASD", "mm"), ("hd95_mm", "HD95", "mm"))
JACOBIAN_MEASURES = (
    ("min", "Smallest det J", ""),
    ("max", "Largest det J", ""),
    ("std", "Standard deviation of det J", ""),
    ("fold_percent", "Folds (det J <= 0)", "%"),
    ("sdlogj", "SDlogJ", ""),
)
TRE_MEASURES = (
    ("mean", "TRE, mean"),
    ("std", "TRE, standard deviation"),
    ("p75", "TRE, 75 %"),
    ("max", "TRE, largest"),
)
COLUMNS = ("Measure", "Structure", "Before", "After", "Unit")


def metric_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str, float | None, float | None, str]]:
    """Rows (measure, structure, before, after, unit) of the metrics of a run; what was not measured has no row."""
    rows: list[tuple[str, str, float | None, float | None, str]] = []
    for key, title, unit in STRUCTURE_MEASURES:
        for structure, values in (metrics.get(key) or {}).items():
            rows.append((title, structure, values.get("before"), values.get("after"), unit))
    tre = metrics.get("tre_mm") or {}
    for key, title in TRE_MEASURES:
        before, after = ((tre.get(when) or {}).get(key) for when in ("before", "after"))
        if before is not None or after is not None:
            rows.append((title, "landmarks", before, after, "mm"))
    jacobian = metrics.get("jacobian") or {}
    rows += [(title, "", None, jacobian[key], unit) for key, title, unit in JACOBIAN_MEASURES if key in jacobian]
    consistency = metrics.get("inverse_consistency_mm")
    if isinstance(consistency, Mapping):
        consistency = consistency.get("mean")
    if consistency is not None:
        rows.append(("Inverse consistency error", "", None, float(consistency), "mm"))
    return rows


def _column(table: Any, name: str, values: Iterable[Any], numeric: bool) -> None:
    column = vtk.vtkDoubleArray() if numeric else vtk.vtkStringArray()
    column.SetName(name)
    for value in values:
        if numeric:
            column.InsertNextValue(np.nan if value is None else float(value))
        else:
            column.InsertNextValue(value)
    table.AddColumn(column)


def _shown(value: str | float | None) -> str:
    return value if isinstance(value, str) else "" if value is None or np.isnan(value) else f"{value:.4g}"


def _emptied(node: Any, name: str) -> Any:
    if node is None:
        return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
    node.RemoveAllColumns()
    return node


def metrics_table(metrics: Mapping[str, Any], name: str, node: Any = None) -> Any:
    """Table node of the metrics; ``node`` is overwritten, or a new one is made."""
    node = _emptied(node, name)
    rows = metric_rows(metrics)
    for index, title in enumerate(COLUMNS):
        # As text: a number column would show what was not measured as nan.
        _column(node, title, [_shown(row[index]) for row in rows], numeric=False)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.SetLocked(True)
    return node


def _series(
    chart: Any, table: Any, name: str, columns: tuple[str, str, str], color: tuple[float, float, float]
) -> Any:
    x, y, labels = columns
    series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
    series.SetAndObserveTableNodeID(table.GetID())
    if labels:
        series.SetLabelColumnName(labels)
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeBar)
    else:
        series.SetXColumnName(x)
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
        series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
    series.SetYColumnName(y)
    series.SetColor(*color)
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    return series


BEFORE_COLOR, AFTER_COLOR = (0.6, 0.6, 0.6), (0.0, 0.45, 0.7)


def dice_chart(metrics: Mapping[str, Any], name: str) -> list[Any]:
    """Bars of Dice before and after for each structure; returns the nodes made (chart first), none without Dice."""
    dice = metrics.get("dice") or {}
    if not dice:
        return []
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", f"{name} Dice values")
    _column(table, "Structure", dice, numeric=False)
    for title, key in (("Before", "before"), ("After", "after")):
        _column(table, title, [values.get(key) for values in dice.values()], numeric=True)
    chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", f"{name} Dice")
    chart.SetTitle("Dice")
    chart.SetYAxisTitle("Dice")
    chart.SetXAxisTitle("")
    chart.SetYAxisRangeAuto(False)
    chart.SetYAxisRange(0.0, 1.0)
    bars = [
        _series(chart, table, title, ("", title, "Structure"), color)
        for title, color in (("Before", BEFORE_COLOR), ("After", AFTER_COLOR))
    ]
    return [chart, table, *bars]


def tre_chart(before: Iterable[float], after: Iterable[float], name: str) -> list[Any]:
    """Cumulative TRE: percent of the landmarks within a distance in mm; returns the nodes made (chart first)."""
    chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", f"{name} TRE")
    chart.SetTitle("Cumulative TRE")
    chart.SetXAxisTitle("TRE (mm)")
    chart.SetYAxisTitle("Landmarks (%)")
    made = [chart]
    for title, values, color in (("Before", before, BEFORE_COLOR), ("After", after, AFTER_COLOR)):
        errors = np.sort(np.asarray(list(values), dtype=float))
        if errors.size == 0:
            continue
        table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", f"{name} TRE {title.lower()}")
        _column(table, "TRE (mm)", [0.0, *errors], numeric=True)
        share = 100.0 * np.arange(errors.size + 1) / errors.size
        _column(table, "Landmarks (%)", share, numeric=True)
        made += [table, _series(chart, table, title, ("TRE (mm)", "Landmarks (%)", ""), color)]
    return made
