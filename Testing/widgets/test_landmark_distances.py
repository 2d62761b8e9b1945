"""Distances of landmarks while they are placed, and the transform drawn over the views."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from .nodes import MODULE, add_result, add_volumes

SHIFT = np.array((3.0, -4.0, 12.0))


def shifted_pair(application: Any) -> tuple[Any, list[Any]]:
    """The panel with a result that shifts by SHIFT (LPS, mm), and landmarks that lie as far apart."""
    from DeepLargeDeformRegLib.scene import markups, transforms

    fixed, moving = add_volumes("first", "second")
    points = np.array([(-4.0, -5.0, 6.0), (-8.0, -3.0, 4.0)])
    nodes = [markups.points_node(where, ["a", "b"], "marks") for where in (points, points + SHIFT)]
    field = sitk.GetImageFromArray(np.tile(SHIFT, (12, 14, 16, 1)), isVector=True)
    field.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    transform = transforms.transform_from_field(field, "shift")
    widget = application.open_module(MODULE)
    add_result(fixed, moving, {}, transform=transform, fixed_landmarks=nodes[0], moving_landmarks=nodes[1])
    widget.results.refresh(newest=True)
    node = widget.logic.getParameterNode()
    node.fixedLandmarks, node.movingLandmarks = nodes
    return widget, nodes


def test_distances_follow_the_landmarks(application: Any) -> None:
    widget, (fixed, _moving) = shifted_pair(application)
    table = widget.ui.landmarkTable
    loaded = [float(table.item(row, 1).text()) for row in range(table.rowCount)]
    registered = [float(table.item(row, 2).text()) for row in range(table.rowCount)]
    assert loaded == pytest.approx([13.0, 13.0], abs=0.05), "3, 4 and 12 mm along the axes"
    assert registered == pytest.approx([0.0, 0.0], abs=0.05)
    x, y, z = fixed.GetNthControlPointPosition(0)
    fixed.SetNthControlPointPosition(0, x, y, z + 2.0)
    assert float(table.item(0, 2).text()) == pytest.approx(2.0, abs=0.05)
    fixed.RemoveNthControlPoint(1)
    assert not table.visible
    assert "1 fixed but 2 moving" in widget.ui.landmarkLabel.text
    widget.logic.getParameterNode().movingLandmarks = None
    assert widget.ui.landmarkLabel.text == ""


def test_the_transform_is_drawn_as_grid_arrows_and_contours(application: Any) -> None:
    widget, _nodes = shifted_pair(application)
    widget.results.show_view("fade", fit=True)
    display = widget.results.current.get("transform").GetDisplayNode
    for view, in_3d in (("grid", False), ("arrows", True), ("contours", True)):
        getattr(widget.ui, f"{view}Button").click()
        modes = {"grid": "GRID", "arrows": "GLYPH", "contours": "CONTOUR"}
        assert display().GetVisualizationMode() == getattr(display(), f"VIS_MODE_{modes[view]}")
        assert (bool(display().GetVisibility2D()), bool(display().GetVisibility3D())) == (True, in_3d)
    widget.ui.fadeButton.click()
    assert not display().GetVisibility()
