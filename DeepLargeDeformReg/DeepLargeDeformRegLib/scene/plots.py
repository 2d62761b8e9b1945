"""Charts of a run as plot nodes: Dice before and after, cumulative TRE, histogram of det J."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from ..core.metrics import Metrics
from .color_map import color_points
from .tables import COLUMNS, add_column

BEFORE_COLOR, AFTER_COLOR = (0.6, 0.6, 0.6), (0.0, 0.45, 0.7)
FOLD_COLOR = (0.8, 0.0, 0.3)
# An edge at 0 parts folds from the rest.
BINS = 60


@dataclass
class Chart:
    """A chart node and the table and series nodes that it rests on."""

    node: Any
    parts: list[Any] = field(default_factory=list)


def _table(name: str, columns: Mapping[str, Iterable[Any]]) -> Any:
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
    for title, values in columns.items():
        values = list(values)
        add_column(table, title, values, numeric=not any(isinstance(value, str) for value in values))
    table.SetUseColumnTitleAsColumnHeader(True)
    table.SetLocked(True)
    return table


def _chart(name: str, title: str, x: str, y: str) -> Chart:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", f"{name} {title}")
    node.SetTitle(title)
    node.SetXAxisTitle(x)
    node.SetYAxisTitle(y)
    return Chart(node)


def _series(
    chart: Chart, table: Any, title: str, color: tuple[float, float, float], x: str, y: str, bars: bool = False
) -> None:
    """Add a line of column ``y`` over column ``x``, or bars of column ``y`` named by column ``x``."""
    kind = slicer.vtkMRMLPlotSeriesNode
    series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", title)
    series.SetAndObserveTableNodeID(table.GetID())
    if bars:
        series.SetPlotType(kind.PlotTypeBar)
        series.SetLabelColumnName(x)
    else:
        series.SetPlotType(kind.PlotTypeScatter)
        series.SetXColumnName(x)
        series.SetMarkerStyle(kind.MarkerStyleNone)
        series.SetLineWidth(2)
    series.SetYColumnName(y)
    series.SetColor(*color)
    chart.node.AddAndObservePlotSeriesNodeID(series.GetID())
    chart.parts.append(series)


def dice_chart(metrics: Metrics, name: str) -> Chart | None:
    """Bars of Dice before and after for each structure; None without Dice."""
    dice = {name: one.dice for name, one in metrics.structures.items()}
    if not dice:
        return None
    structure, before, after = COLUMNS[1:4]
    columns: dict[str, list[Any]] = {structure: list(dice)}
    columns |= {before: [one.before for one in dice.values()], after: [one.after for one in dice.values()]}
    chart = _chart(name, _("Dice before and after"), "", _("Dice"))
    chart.node.SetYAxisRangeAuto(False)
    chart.node.SetYAxisRange(0.0, 1.0)
    chart.parts.append(_table(_("{run} Dice values").format(run=name), columns))
    for title, color in ((before, BEFORE_COLOR), (after, AFTER_COLOR)):
        _series(chart, chart.parts[0], title, color, structure, title, bars=True)
    return chart


def tre_chart(metrics: Metrics, name: str) -> Chart | None:
    """Cumulative TRE: percent of the landmarks within a distance in mm; None without landmarks."""
    landmarks = metrics.landmarks.landmarks if metrics.landmarks else ()
    if not landmarks:
        return None
    errors_mm, percent = _("Landmark error (mm)"), _("Landmarks (%)")
    chart = _chart(name, _("Cumulative landmark error"), errors_mm, percent)
    chart.node.SetYAxisRangeAuto(False)
    chart.node.SetYAxisRange(0.0, 100.0)
    series = (
        (COLUMNS[2], BEFORE_COLOR, [landmark.before for landmark in landmarks]),
        (COLUMNS[3], AFTER_COLOR, [landmark.after for landmark in landmarks]),
    )
    for title, color, values in series:
        errors = np.sort(values)
        share = 100.0 * np.arange(errors.size + 1) / errors.size
        # As a staircase: the share jumps at each error.
        columns = {errors_mm: np.repeat([0.0, *errors], 2)[1:], percent: np.repeat(share, 2)[:-1]}
        table = _table(_("{run} landmark errors, {when}").format(run=name, when=title.lower()), columns)
        chart.parts.append(table)
        _series(chart, table, title, color, errors_mm, percent)
    return chart


def jacobian_chart(jacobian: np.ndarray, name: str) -> Chart:
    """Histogram of det J in percent of the voxels, over the range of the color map; the ends hold what is beyond."""
    points = color_points()
    least, most = points[0][0], points[-1][0]
    counts, edges = np.histogram(np.clip(jacobian, least, most), BINS, (least, most))
    share = 100.0 * counts / max(jacobian.size, 1)
    centers = (edges[:-1] + edges[1:]) / 2
    change, percent = _("Volume change det J (1: volume kept; 0 and less: folds)"), _("Voxels (%)")
    chart = _chart(name, _("Histogram of the volume change"), change, percent)
    chart.node.SetXAxisRangeAuto(False)
    chart.node.SetXAxisRange(least, most)
    for title, inside, color in (
        (_("Folds"), centers < 0, FOLD_COLOR),
        (_("No folds"), centers > 0, AFTER_COLOR),
    ):
        if color is FOLD_COLOR and not share[inside].any():
            continue
        columns = {
            change: np.repeat(edges[np.append(inside, False) | np.append(False, inside)], 2)[1:-1],
            percent: np.repeat(share[inside], 2),
        }
        table = _table(_("{run} volume change, {part}").format(run=name, part=title.lower()), columns)
        chart.parts.append(table)
        _series(chart, table, title, color, change, percent)
    return chart


def charts_of(metrics: Metrics, jacobian: Any, name: str) -> list[Chart]:
    """All charts that a run can have.

    Args:
        metrics: metrics of the run.
        jacobian: volume of det J, or None.
        name: first part of the names of the nodes.
    """
    charts = [dice_chart(metrics, name), tre_chart(metrics, name)]
    if jacobian is not None:
        charts.append(jacobian_chart(slicer.util.arrayFromVolume(jacobian), name))
    return [chart for chart in charts if chart is not None]
