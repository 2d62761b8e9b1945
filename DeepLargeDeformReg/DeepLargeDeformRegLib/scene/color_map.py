"""The color maps of the Jacobian determinant and of the quality maps, as color nodes, and their legends."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from ..core.display import MAP_COLORS, MAPS, TITLE
from ..resources import JACOBIAN_COLORS
from .words import heading, say

COLOR_NODE_NAME = _("Volume change (det J, -1 to 5)")
LEGEND_SIZE = (0.08, 0.45)  # shares of the view; the letters follow
LEGEND_PLACE = (0.98, 0.5)  # at the right edge: .legend_room keeps the image out of there
JACOBIAN_TICKS = (0.25, 0.5, 0.7, 0.85, 1.0, 1.15, 1.4, 2.0, 5.0)
"""Values of det J whose colors a legend names: dense where lungs and livers live."""
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
    legend.SetPosition(*LEGEND_PLACE)
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
    legend.SetTitleText(_("Volume\nchange"))
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
    colors = [color for _share, color in MAP_COLORS]
    colors = colors[::-1] if style.look_at == "low" else colors
    points = [(share * most, *color) for (share, _color), color in zip(MAP_COLORS, colors, strict=True)]
    node = _color_node(_("{title}, 0 to {most}").format(title=heading(style), most=f"{most:.3g}"), points)
    legend = _show(volume, node, 0.0, most)
    # Between a defined and an undefined voxel there is nothing to interpolate: a bright rim would be no finding.
    volume.GetDisplayNode().InterpolateOff()
    volume.GetDisplayNode().SetThreshold(0.0, max(float(values.max()), most))
    volume.GetDisplayNode().ApplyThresholdOn()
    legend.SetTitleText(style.unit or say(style.title).replace(" ", "\n"))
    legend.SetLabelFormat("%.3g")
    legend.SetNumberOfLabels(MAP_STEPS + 1)
    return legend


def show_legend(volume: Any, visible: bool) -> None:
    """Show or hide the legend of a volume of det J or of a quality map."""
    legend = legend_of(volume)
    if legend is not None:
        # Also in a scene that was saved by an older version.
        legend.SetSize(*LEGEND_SIZE)
        legend.SetPosition(*LEGEND_PLACE)
        legend.SetTitleText(legend.GetTitleText().replace(" ", "\n"))
        legend.SetVisibility(visible)
        legend.Modified()


def legend_of(volume: Any) -> Any:
    """Display node of a volume's legend; None where it has none."""
    return slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(volume) if volume is not None else None


def legend_steps(volume: Any) -> list[tuple[str, tuple[float, ...]]]:
    """Values and their colors (0 to 1) of a volume with one of these color maps, for a legend in words."""
    display = volume.GetDisplayNode()
    function = display.GetColorNode().GetColorTransferFunction()
    if display.GetWindowLevelMin() < 0:  # det J; all other maps begin at 0
        steps = [(f"{value:g}", tuple(function.GetColor(value))) for value in JACOBIAN_TICKS]
        return [("\u2264 0", tuple(function.GetColor(-0.01))), *steps]
    values = np.linspace(0.0, display.GetWindowLevelMax(), MAP_STEPS + 1)
    return [(f"{value:.3g}", tuple(function.GetColor(value))) for value in values]
