"""How the views are arranged to judge a registration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer

from .color_map import show_legend
from .segmentations import show_outlines
from .volumes import image_of, share_window, volume_from_image

VIEWS = ("fade", "outlines", "checkerboard", "difference", "jacobian", "grid")
FIXED_COLOR, MOVING_COLOR = (0.0, 0.85, 0.95), (1.0, 0.65, 0.0)


def composites() -> list[Any]:
    """Composite nodes of all slice views."""
    return slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")


def show(background: Any, foreground: Any = None, opacity: float = 0.0, fit: bool = False) -> None:
    """Show volumes in all slice views, linked."""
    for composite in composites():
        composite.SetLinkedControl(True)
        composite.SetHotLinkedControl(True)
        composite.SetBackgroundVolumeID(background.GetID() if background else None)
        composite.SetForegroundVolumeID(foreground.GetID() if foreground else None)
        composite.SetForegroundOpacity(opacity)
        composite.SetLabelVolumeID(None)
    if fit:
        fit_views()


def fit_views() -> None:
    """Fit all slice views to what they show."""
    manager = slicer.app.layoutManager()
    for name in manager.sliceViewNames():
        manager.sliceWidget(name).sliceLogic().FitSliceToAll()


def center_3d_views() -> None:
    """Bring what is shown into the middle of the 3D views; the box of the whole scene does not count.

    It holds the moving volume as loaded too, which may lie far away.
    """
    manager = slicer.app.layoutManager()
    for index in range(manager.threeDViewCount):
        view = manager.threeDWidget(index).threeDView()
        node = view.mrmlViewNode()
        shown = node.GetBoxVisible(), node.GetAxisLabelsVisible()
        view.resetFocalPoint()
        node.SetBoxVisible(False)
        node.SetAxisLabelsVisible(False)
        view.resetCamera()
        node.SetBoxVisible(shown[0])
        node.SetAxisLabelsVisible(shown[1])


def four_up() -> None:
    """The conventional layout of three slice views and a 3D view."""
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)


def set_fade(opacity: float) -> None:
    """Opacity of the moving volume over the fixed one, 0 to 1."""
    for composite in composites():
        composite.SetForegroundOpacity(opacity)


def checkerboard_array(first: np.ndarray, second: np.ndarray, tiles: int = 8) -> np.ndarray:
    """Voxels of two arrays of the same shape in turns, ``tiles`` along the longest axis."""
    edge = max(1, round(max(first.shape) / tiles))
    index = np.indices(first.shape) // edge
    return np.where(index.sum(axis=0) % 2 == 0, first, second)


def difference_array(fixed: np.ndarray, warped: np.ndarray) -> np.ndarray:
    """Fixed minus warped."""
    return fixed.astype(np.float32) - warped.astype(np.float32)


class Comparison:
    """The views of one result: everything is shown on the fixed grid.

    Args:
        fixed: fixed volume.
        moving: moving volume, as it was.
        warped: moving volume resampled through the transform.
        jacobian: volume of det J, if there is one.
        transform: transform node, if there is one.
        fixed_segmentation, warped_segmentation: for the outlines, if there are any.
        in_moving: segmentations and landmarks that lie where the moving volume lay as loaded; over the fixed volume
            they would mislead, so they are hidden.
    """

    def __init__(
        self,
        fixed: Any,
        moving: Any,
        warped: Any,
        jacobian: Any = None,
        transform: Any = None,
        fixed_segmentation: Any = None,
        warped_segmentation: Any = None,
        in_moving: Sequence[Any] = (),
    ) -> None:
        self.fixed, self.moving, self.warped = fixed, moving, warped
        self.jacobian, self.transform = jacobian, transform
        self.fixed_segmentation, self.warped_segmentation = fixed_segmentation, warped_segmentation
        self.in_moving = tuple(in_moving)
        self._derived: dict[str, Any] = {}

    def missing(self, view: str) -> str:
        """Why a view cannot be shown; empty if it can."""
        if self.fixed is None or self.fixed.GetScene() is None:
            return "The fixed volume is no longer in the scene."
        if view == "jacobian":
            return "" if self.jacobian is not None else "This result has no Jacobian volume."
        if view == "grid":
            return "" if self.transform is not None else "This result has no transform."
        if self.warped is None:
            return "This result has no warped volume."
        if view == "outlines" and (self.fixed_segmentation is None or self.warped_segmentation is None):
            return "This result has no propagated segmentation."
        return ""

    def show(self, view: str, opacity: float = 0.5) -> None:
        """Arrange the views: one of :data:`VIEWS`.

        Raises:
            ValueError: for another name, or with the reason why the view cannot be shown.
        """
        if view not in VIEWS:
            raise ValueError(f"There is no view '{view}'.")
        reason = self.missing(view)
        if reason:
            raise ValueError(reason)
        self._clear()
        if self.warped is not None:
            share_window(self.fixed, self.warped)
        if view == "fade":
            show(self.fixed, self.warped, opacity)
        elif view == "outlines":
            show(self.fixed)
            show_outlines(self.fixed_segmentation, FIXED_COLOR)
            show_outlines(self.warped_segmentation, MOVING_COLOR)
            center_3d_views()
        elif view in ("checkerboard", "difference"):
            show(self._derive(view))
        elif view == "jacobian":
            show(self.fixed, self.jacobian, 0.6)
            show_legend(self.jacobian, True)
        else:
            show(self.warped or self.fixed)
            self._show_grid(True)

    def before_after(self, after: bool) -> None:
        """Show the moving volume as it was, or as it is registered, over the fixed one."""
        self._clear()
        shown = self.warped if after else self.moving
        if shown is not None:
            if shown is self.warped:
                share_window(self.fixed, shown)
            show(self.fixed, shown, 0.5)

    def _clear(self) -> None:
        show_legend(self.jacobian, False)
        self._show_grid(False)
        for node in (self.fixed_segmentation, self.warped_segmentation, *self.in_moving):
            if node is not None and node.GetDisplayNode() is not None:
                node.GetDisplayNode().SetVisibility(False)

    def _show_grid(self, visible: bool) -> None:
        if self.transform is None:
            return
        if visible:
            self.transform.CreateDefaultDisplayNodes()
        display = self.transform.GetDisplayNode()
        if display is None:
            return
        display.SetVisualizationMode(slicer.vtkMRMLTransformDisplayNode.VIS_MODE_GRID)
        display.SetVisibility(visible)
        display.SetVisibility2D(visible)
        display.SetVisibility3D(False)

    def _derive(self, view: str) -> Any:
        """The checkerboard or difference volume, made at its first view; it is not saved with the scene."""
        node = self._derived.get(view)
        if node is not None and node.GetScene() is not None:
            return node
        image = image_of(self.fixed)
        fixed, warped = slicer.util.arrayFromVolume(self.fixed), slicer.util.arrayFromVolume(self.warped)
        array = checkerboard_array(fixed, warped) if view == "checkerboard" else difference_array(fixed, warped)
        derived = sitk.GetImageFromArray(array)
        derived.CopyInformation(image)
        node = volume_from_image(derived, f"{self.warped.GetName()} {view}")
        node.SetSaveWithScene(False)
        node.GetDisplayNode().SetSaveWithScene(False)
        if view == "checkerboard":
            share_window(self.fixed, node)
        else:
            window = self.fixed.GetDisplayNode().GetWindow()
            node.GetDisplayNode().AutoWindowLevelOff()
            node.GetDisplayNode().SetWindowLevel(window, 0.0)
        self._derived[view] = node
        return node
