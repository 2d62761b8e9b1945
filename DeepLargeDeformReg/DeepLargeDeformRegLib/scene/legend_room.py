"""Room for the legend of a color map beside the image, so that it covers nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

LEGEND_SHARE = 0.24
"""Right part of a slice view that the legend takes with its numbers and its title."""
MARGIN = 0.02
"""Share of the image that may lie outside the view before the view counts as zoomed in by the user."""

_Window = tuple[tuple[float, ...], tuple[float, ...]]  # field of view and origin of a slice node, mm


def _spans(logic: Any, volume: Any) -> tuple[np.ndarray, np.ndarray]:
    """What the view and the image cover across and up, each ((left, right), (bottom, top)), in mm of the slice."""
    node = logic.GetSliceNode()
    bounds = [0.0] * 6
    logic.GetVolumeSliceBounds(volume, bounds)
    matrix = node.GetSliceToRAS()
    rotation = np.array([[matrix.GetElement(row, column) for column in range(3)] for row in range(3)])
    center = rotation.T @ [matrix.GetElement(row, 3) for row in range(3)] + node.GetXYZOrigin()
    half = np.array(node.GetFieldOfView()[:2]) / 2
    view = np.stack([center[:2] - half, center[:2] + half], axis=1)
    return view, np.array(bounds[:4]).reshape(2, 2)


class LegendRoom:
    """Moves and zooms slice views so that a legend stands beside the image, and back again.

    A view that the user has zoomed into stays as it is, and shows no legend.
    """

    def __init__(self) -> None:
        self._changed: list[tuple[Any, _Window, _Window]] = []

    def make(self, volume: Any, legend: Any) -> None:
        """Make room in all slice views, and let the legend be visible in those that have it.

        Args:
            volume: what is shown. legend: display node of its legend, which is visible.
        """
        legend.RemoveAllViewNodeIDs()
        manager = slicer.app.layoutManager()
        logics = [manager.sliceWidget(name).sliceLogic() for name in manager.sliceViewNames()]
        with_room = [logic.GetSliceNode() for logic in logics if self._make_in(logic, volume)]
        if len(with_room) < len(logics):  # no view by name means all
            for node in with_room:
                legend.AddViewNodeID(node.GetID())
        legend.SetVisibility(bool(with_room))

    def _make_in(self, logic: Any, volume: Any) -> bool:
        node = logic.GetSliceNode()
        view, image = _spans(logic, volume)
        slack = MARGIN * (image[:, 1] - image[:, 0])
        if (image[:, 0] < view[:, 0] - slack).any() or (image[:, 1] > view[:, 1] + slack).any():
            return False
        width, wide = view[0, 1] - view[0, 0], image[0, 1] - image[0, 0]
        if image[0, 1] <= view[0, 1] - LEGEND_SHARE * width:
            return True
        before = _window(node)
        zoom = max(1.0, wide / ((1 - LEGEND_SHARE) * width))
        across, up, deep = node.GetFieldOfView()
        node.SetFieldOfView(zoom * across, zoom * up, deep)
        # The image goes into the middle of what the legend leaves.
        shift = image[0].mean() - view[0].mean() + LEGEND_SHARE * zoom * width / 2
        right, upward, forward = node.GetXYZOrigin()
        node.SetXYZOrigin(right + shift, upward, forward)
        self._changed.append((node, before, _window(node)))
        return True

    def give_back(self) -> None:
        """Undo it in the views that nobody has moved since."""
        changed, self._changed = self._changed, []
        for node, before, after in changed:
            if node.GetScene() is not None and _window(node) == after:
                node.SetFieldOfView(*before[0])
                node.SetXYZOrigin(*before[1])


def _window(node: Any) -> _Window:
    return tuple(node.GetFieldOfView()), tuple(node.GetXYZOrigin())
