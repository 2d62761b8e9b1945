"""A plot view off screen: draws a chart node with VTK's charts, as qMRMLPlotView does."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

_BAR_HEIGHT = 22


class PlotView:
    """What the layout asks of a view, for a vtkMRMLPlotViewNode."""

    def __init__(self, node: Any, size: tuple[int, int]) -> None:
        self.node = node
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.view = vtk.vtkContextView()
        self.view.SetRenderWindow(self.window)
        self.view.GetRenderer().SetBackground(1.0, 1.0, 1.0)
        self.resize(size)

    def resize(self, size: tuple[int, int]) -> None:
        """Set the size of the view in pixels, its bar included."""
        self.window.SetSize(size[0], max(1, size[1] - _BAR_HEIGHT))

    def pixels(self) -> np.ndarray:
        """Draw; return the view as (height, width, 3) bytes, top row first."""
        self.view.GetScene().ClearItems()
        chart_node = self.node.GetPlotChartNode()
        if chart_node is not None:
            self.view.GetScene().AddItem(_chart(chart_node))
        self.window.Render()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(self.window)
        grabber.ReadFrontBufferOff()
        grabber.Update()
        image = grabber.GetOutput()
        width, height, _ = image.GetDimensions()
        return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3].copy()


def _chart(node: Any) -> Any:
    chart = vtk.vtkChartXY()
    chart.SetTitle(node.GetTitle() or "")
    chart.GetTitleProperties().SetFontSize(14)
    chart.SetShowLegend(node.GetLegendVisibility())
    for index in range(node.GetNumberOfPlotSeriesNodes()):
        _add_series(chart, node.GetNthPlotSeriesNode(index))
    for axis, title, automatic, limits in (
        (chart.GetAxis(vtk.vtkAxis.BOTTOM), node.GetXAxisTitle(), node.GetXAxisRangeAuto(), node.GetXAxisRange()),
        (chart.GetAxis(vtk.vtkAxis.LEFT), node.GetYAxisTitle(), node.GetYAxisRangeAuto(), node.GetYAxisRange()),
    ):
        axis.SetTitle(title or "")
        if not automatic:
            axis.SetBehavior(vtk.vtkAxis.FIXED)
            axis.SetRange(*limits)
    return chart


def _add_series(chart: Any, series: Any) -> None:
    kind = slicer.vtkMRMLPlotSeriesNode
    table = series.GetTableNode().GetTable()
    bars = series.GetPlotType() == kind.PlotTypeBar
    plot = chart.AddPlot(vtk.vtkChart.BAR if bars else vtk.vtkChart.LINE)
    if bars:
        # qMRMLPlotView numbers the bars and labels the axis with the names.
        numbered, index = vtk.vtkTable(), vtk.vtkIntArray()
        index.SetName("Indexes")
        for row in range(table.GetNumberOfRows()):
            index.InsertNextValue(row)
        numbered.AddColumn(index)
        numbered.AddColumn(table.GetColumnByName(series.GetYColumnName()))
        plot.SetInputData(numbered, 0, 1)
        names = table.GetColumnByName(series.GetLabelColumnName())
        positions = vtk.vtkDoubleArray()
        for row in range(table.GetNumberOfRows()):
            positions.InsertNextValue(row)
        chart.GetAxis(vtk.vtkAxis.BOTTOM).SetCustomTickPositions(positions, names)
    else:
        plot.SetInputData(table, series.GetXColumnName(), series.GetYColumnName())
        plot.GetPen().SetLineType(vtk.vtkPen.SOLID_LINE)
        plot.SetWidth(series.GetLineWidth())
    plot.SetLabel(series.GetName())
    plot.SetColorF(*series.GetColor())
