"""The color maps of the Jacobian determinant and of the quality maps, as color nodes, and their legends."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk

from ..resources import JACOBIAN_COLORS

# Of what belongs to the fixed and to the moving scan: tellable apart by color-blind eyes too.
FIXED_COLOR, MOVING_COLOR = (0.0, 0.85, 0.95), (1.0, 0.65, 0.0)
COLOR_NODE_NAME = "Jacobian determinant (-1 to 5)"
# Dark where all is well, bright where to look; lightness rises evenly, so it reads in gray print too.
ATTENTION = (
    (0.0, 0.267, 0.005, 0.329),
    (0.25, 0.229, 0.322, 0.546),
    (0.5, 0.128, 0.567, 0.551),
    (0.75, 0.369, 0.789, 0.383),
    (1.0, 0.993, 0.906, 0.144),
)
LEGEND_SIZE = (0.1, 0.45)  # shares of the view; the letters follow
MAP_STEPS = 5


@dataclass(frozen=True)
class MapStyle:
    """How a quality map of ``engine/metrics/maps.py`` is shown.

    Args:
        title: name for people, with the unit. legend: the same, short.
        attention: ``"high"`` or ``"low"``: which values ask for a look, and are bright.
        most: value at the end of the color map; None takes the 99th percentile of the map.
    """

    title: str
    legend: str
    attention: str = "high"
    most: float | None = None


# By the name of the map's file; a test holds the names to those of the engine.
MAPS = {
    "displacement_mm": MapStyle("Displacement (mm)", "mm"),
    "inverse_consistency_mm": MapStyle("Inverse consistency error (mm)", "mm", most=2.0),
    "local_similarity": MapStyle("Local similarity", "similarity", "low", 1.0),
    "uncertainty_mm": MapStyle("Uncertainty (mm)", "mm"),
}


def color_points(path: Path = JACOBIAN_COLORS) -> list[tuple[float, float, float, float]]:
    """Points (value, red, green, blue) of the map, ascending in value; the same that the report draws with."""
    return [tuple(point) for point in json.loads(path.read_text(encoding="utf-8"))]


def _color_node(name: str, points: Iterable[tuple[float, ...]]) -> Any:
    """The procedural color node of that name, made once for each scene."""
    for node in slicer.util.getNodesByClass("vtkMRMLProceduralColorNode"):
        if node.GetName() == name:
            return node
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLProceduralColorNode", name)
    node.SetAttribute("Category", "DeepLargeDeformReg")
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
        KeyError: for a name that is not in :data:`MAPS`.
    """
    style = MAPS[name]
    values = slicer.util.arrayFromVolume(volume)
    defined = values[values >= 0]
    most = style.most
    if most is None:
        most = _round_up(max(float(np.percentile(defined, 99)), 0.1)) if defined.size else 1.0
    # A procedural node holds values, not shares: one for each end and direction.
    sign = -1 if style.attention == "low" else 1
    points = [
        (position * most, *color) for (position, *_), (_, *color) in zip(ATTENTION, ATTENTION[::sign], strict=True)
    ]
    node = _color_node(f"{style.title}, 0 to {most:.3g}", points)
    legend = _show(volume, node, 0.0, most)
    # Between a defined and an undefined voxel there is nothing to interpolate: a bright rim would be no finding.
    volume.GetDisplayNode().InterpolateOff()
    volume.GetDisplayNode().SetThreshold(0.0, max(float(values.max()), most))
    volume.GetDisplayNode().ApplyThresholdOn()
    legend.SetTitleText(style.legend)
    legend.SetLabelFormat("%.3g")
    legend.SetNumberOfLabels(MAP_STEPS + 1)
    return legend


def show_legend(volume: Any, visible: bool) -> None:
    """Show or hide the legend of a volume of det J or of a quality map."""
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(volume) if volume is not None else None
    if legend is not None:
        legend.SetVisibility(visible)
        legend.Modified()
