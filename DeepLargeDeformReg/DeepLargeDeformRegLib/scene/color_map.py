"""The color map of the Jacobian determinant, as a color node, and its legend."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import slicer
import vtk

COLOR_NODE_NAME = "Jacobian determinant (-1 to 5)"
COLOR_FILE = Path(__file__).resolve().parents[2] / "Resources" / "jacobian_colormap.json"


def color_points(path: Path = COLOR_FILE) -> list[tuple[float, float, float, float]]:
    """Points (value, red, green, blue) of the map, ascending in value; the same that the report draws with."""
    return [tuple(point) for point in json.loads(path.read_text(encoding="utf-8"))]


def jacobian_color_node() -> Any:
    """The procedural color node of det J, made once for each scene."""
    for node in slicer.util.getNodesByClass("vtkMRMLProceduralColorNode"):
        if node.GetName() == COLOR_NODE_NAME:
            return node
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLProceduralColorNode", COLOR_NODE_NAME)
    node.SetAttribute("Category", "DeepLargeDeformReg")
    function = vtk.vtkColorTransferFunction()
    for point in color_points():
        function.AddRGBPoint(*point)
    node.SetAndObserveColorTransferFunction(function)
    return node


def show_as_jacobian(volume: Any) -> Any:
    """Give a volume of det J the color map at its fixed range, and a legend; return the legend's display node."""
    volume.CreateDefaultDisplayNodes()
    points = color_points()
    display = volume.GetDisplayNode()
    display.SetAndObserveColorNodeID(jacobian_color_node().GetID())
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(points[0][0], points[-1][0])
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(volume)
    if legend is None:
        legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(volume)
    legend.SetTitleText("det J")
    legend.SetLabelFormat("%.0f")
    legend.SetNumberOfLabels(round(points[-1][0] - points[0][0]) + 1)
    legend.SetVisibility(False)
    return legend


def show_legend(volume: Any, visible: bool) -> None:
    """Show or hide the legend of a volume of det J."""
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(volume) if volume is not None else None
    if legend is not None:
        legend.SetVisibility(visible)
        legend.Modified()
