"""The color maps of the Jacobian determinant and of the quality maps, as color nodes, and their legends."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk

from ..core.display import MAP_COLORS, MAPS, TITLE
from ..resources import JACOBIAN_COLORS

COLOR_NODE_NAME = "Jacobian determinant (-1 to 5)"
LEGEND_SIZE = (0.1, 0.45)  # shares of the view; the letters follow
MAP_STEPS = 5


def color_points(path: Path = JACOBIAN_COLORS) -> list[tuple[float, float, float, float]]:
    """Points (value, red, green, blue) of the map, ascending in value; the same that the report draws with."""
    return [tuple(point) for point in json.loads(path.read_text(encoding="utf-8"))]


def _color_node(name: str, points: Iterable[tuple[float, ...]]) -> Any:
    """The procedural color node of that name, made once for each scene."""
    for node in slicer.util.getNodesByClass("vtkMRMLProceduralColorNode"):
        if node.GetName() == name:
            return node
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLProceduralColorNode", name)
    node.SetAttribute("Category", TITLE)
    function = vtk.vtkColorTransferFunction()
    for point in points:
        function.AddRGBPoint(*point)
    node.SetAndObserveColorTransferFunction(function)
    return node


def jacobian_color_node() -> Any:
    """The procedural color node of det J."""
    return _color_node(COLOR_NODE_NAME, color_points())


def _show(volume: Any, color: Any, least: float, most: float) -> Any:
    """Give a volume a color map at a fixed range; return the display node of its legend, which is hidden."""
    volume.CreateDefaultDisplayNodes()
    display = volume.GetDisplayNode()
    display.SetAndObserveColorNodeID(color.GetID())
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(least, most)
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(volume)
    if legend is None:
        legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(volume)
    legend.SetSize(*LEGEND_SIZE)
    legend.SetVisibility(False)
    return legend


def _round_up(value: float) -> float:
    """The next value whose fifth is a round number."""
    step = value / MAP_STEPS
    magnitude = 10.0 ** np.floor(np.log10(step))
    return float(next(factor for factor in (1, 2, 5, 10) if factor * magnitude >= step) * magnitude * MAP_STEPS)


def show_as_jacobian(volume: Any) -> Any:
    """Give a volume of det J the color map at its fixed range, and a legend; return the legend's display node."""
    points = color_points()
    legend = _show(volume, jacobian_color_node(), points[0][0], points[-1][0])
    legend.SetTitleText("det J")
    legend.SetLabelFormat("%.0f")
    legend.SetNumberOfLabels(round(points[-1][0] - points[0][0]) + 1)
    return legend


def show_as_map(volume: Any, name: str) -> Any:
    """Give a quality map its colors, bright where to look, and a legend; return the legend's display node.

    Where the map is not defined (negative values) nothing is drawn.

    Raises:
        KeyError: for a name that is not in :data:`~..core.display.MAPS`.
    """
    style = MAPS[name]
    values = slicer.util.arrayFromVolume(volume)
    defined = values[values >= 0]
    most = style.most
    if most is None:
        most = _round_up(max(float(np.percentile(defined, 99)), 0.1)) if defined.size else 1.0
    # A procedural node holds values, not shares: one for each end and direction.
    colors = [color for _, color in MAP_COLORS]
    colors = colors[::-1] if style.look_at == "low" else colors
    points = [(share * most, *color) for (share, _), color in zip(MAP_COLORS, colors, strict=True)]
    node = _color_node(f"{style.heading}, 0 to {most:.3g}", points)
    legend = _show(volume, node, 0.0, most)
    # Between a defined and an undefined voxel there is nothing to interpolate: a bright rim would be no finding.
    volume.GetDisplayNode().InterpolateOff()
    volume.GetDisplayNode().SetThreshold(0.0, max(float(values.max()), most))
    volume.GetDisplayNode().ApplyThresholdOn()
    legend.SetTitleText(style.unit or style.title.lower())
    legend.SetLabelFormat("%.3g")
    legend.SetNumberOfLabels(MAP_STEPS + 1)
    return legend


def show_legend(volume: Any, visible: bool) -> None:
    """Show or hide the legend of a volume of det J or of a quality map."""
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(volume) if volume is not None else None
    if legend is not None:
        legend.SetVisibility(visible)
        legend.Modified()
