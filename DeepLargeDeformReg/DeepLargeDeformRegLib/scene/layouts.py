"""How the views are arranged to judge a registration."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from ..core.display import FIXED_COLOR, MAPS, MOVING_COLOR
from .color_map import legend_of, show_legend
from .lazy_sitk import sitk
from .legend_room import LegendRoom
from .results import RunResult, list_results
from .segmentations import keep_surfaces, show_outlines
from .volumes import image_of, remove_node, same_grid, share_window, volume_from_image
from .words import say

VIEWS = ("fade", "outlines", "checkerboard", "difference", "jacobian", "grid", "arrows", "contours")
TRANSFORM_VIEWS = ("grid", "arrows", "contours")
CONTOUR_STEP_MM = 5
ARROWS_ALONG_A_SIDE = 16
MAP_OPACITY = 0.6
# Color, and whether the surface is seen from within: the fixed one is, so that the two do not mottle.
LOOKS = ((FIXED_COLOR, True), (MOVING_COLOR, False))
OUTLINE_WIDTH, AUTOMATIC_WIDTH = 2, 1
"""Of lines in slices: organs that were found automatically are drawn thinner, as nobody has reviewed them."""


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
        view.resetCamera(False, True, True)  # where the user looks from stays
        node.SetBoxVisible(shown[0])
        node.SetAxisLabelsVisible(shown[1])


def show_chart(chart: Any) -> int:
    """Show a chart in the layout's plot view, in a layout that has one; return the layout that was shown before."""
    before = slicer.app.layoutManager().layout
    slicer.modules.plots.logic().ShowChartInLayout(chart)
    return before


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
    """Warped minus fixed, as everywhere: see :data:`~..core.display.DIFFERENCE`."""
    return warped.astype(np.float32) - fixed.astype(np.float32)


class Comparison:
    """The views of one result: everything is shown on the fixed grid.

    Args:
        run: the result.
        other: another result on the same fixed volume, which then takes the place of the fixed volume beneath.
    """

    def __init__(self, run: RunResult, other: RunResult | None = None) -> None:
        self.run, self.other = run, other
        self.fixed, self.warped = run.get("fixed"), run.get("warped")
        self.beneath = other.get("warped") if other is not None else self.fixed
        self.outlined = (
            run.get("fixed_segmentation") if other is None else other.get("segmentation"),
            run.get("segmentation"),
        )
        self._width = OUTLINE_WIDTH
        if other is None and None in self.outlined and run.get("organs") is not None:
            self.outlined, self._width = (run.get("fixed_organs"), run.get("organs")), AUTOMATIC_WIDTH
        self._derived: dict[str, Any] = {}
        self._room = LegendRoom()

    def missing(self, view: str) -> str:
        """Why a view (of :data:`VIEWS` or :data:`~..core.display.MAPS`) cannot be shown; empty if it can."""
        if self.fixed is None:
            return _("The fixed volume is no longer in the scene.")
        if view == "jacobian":
            return "" if self.run.get("jacobian") is not None else _("This result has no map of the volume change.")
        if view in TRANSFORM_VIEWS:
            return "" if self.run.get("transform") is not None else _("This result has no transform.")
        if view in MAPS:
            missing = _("This result has no map: {title}.").format(title=say(MAPS[view].title))
            return "" if self.run.get(view) is not None else missing
        if self.warped is None:
            return _("This result has no warped volume.")
        if view == "outlines" and None in self.outlined:
            return _("This result has no propagated segmentation.")
        if self.beneath is None:
            if self.other is None:
                return _("The fixed volume is no longer in the scene.")
            return _("{run} has no warped volume.").format(run=self.other.name)
        if self.other is not None and not same_grid(self.beneath, self.warped):
            return _("{other} has another grid than {run}.").format(other=self.other.name, run=self.run.name)
        return ""

    def show(self, view: str, opacity: float = 0.5) -> None:
        """Arrange the views: one of :data:`VIEWS` or of :data:`~..core.display.MAPS`.

        Raises:
            ValueError: for another name, or with the reason why the view cannot be shown.
        """
        if view not in VIEWS and view not in MAPS:
            raise ValueError(f"There is no view '{view}'.")
        reason = self.missing(view)
        if reason:
            raise ValueError(reason)
        self._clear()
        for volume in (self.warped, self.beneath):
            if volume is not None and volume is not self.fixed:
                share_window(self.fixed, volume)
        if view == "fade":
            show(self.beneath, self.warped, opacity)
        elif view == "outlines":
            show(self.fixed)
            for segmentation, look in zip(self.outlined, LOOKS, strict=True):
                show_outlines(segmentation, *look, width=self._width)
            center_3d_views()
        elif view in ("checkerboard", "difference"):
            show(self._derive(view))
        elif view in TRANSFORM_VIEWS:
            show(self.warped or self.fixed if view == "grid" else self.fixed)
            self._show_transform(view)
            propagated = self.outlined[1]
            if view != "grid":
                if propagated is not None and propagated.GetDisplayNode() is not None:
                    propagated.GetDisplayNode().SetVisibility3D(False)  # it would hide what lies within
                center_3d_views()
        else:
            show(self.fixed, self.run.get(view), MAP_OPACITY)
            show_legend(self.run.get(view), True)
            self._room.make(self.run.get(view), legend_of(self.run.get(view)))

    def before_after(self, after: bool) -> None:
        """Show the moving volume as it was, or as it is registered, over the fixed one."""
        self._clear()
        shown = self.warped if after else self.run.get("moving")
        if shown is not None:
            if shown is self.warped:
                share_window(self.fixed, shown)
            show(self.fixed, shown, 0.5)

    def _clear(self) -> None:
        """Hide what other views show, and what lies where the moving volume lay as loaded: it would mislead."""
        for name in ("jacobian", *MAPS):
            show_legend(self.run.get(name), False)
        self.leave()
        self._show_transform("")
        elsewhere = [
            self.run.get(role)
            for role in ("moving_segmentation", "moving_organs", "moving_landmarks", "linear", "deformable")
        ]
        for node in (*elsewhere, self.run.get("fixed_segmentation"), *self._segmentations()):
            if node is not None and node.GetDisplayNode() is not None:
                node.GetDisplayNode().SetVisibility(False)
        for segmentation, look in zip(self.outlined, LOOKS, strict=True):
            keep_surfaces(segmentation, *look)

    def leave(self) -> None:
        """Zoom out of what made room for a legend, before something else is shown."""
        self._room.give_back()

    @staticmethod
    def _segmentations() -> list[Any]:
        """Propagated segmentations of all runs, and what was found in their scans."""
        roles = ("segmentation", "fixed_organs", "organs")
        return [run.get(role) for run in list_results() for role in roles]

    def _show_transform(self, view: str) -> None:
        """Draw the transform over the views as one of :data:`TRANSFORM_VIEWS`; any other name hides it."""
        transform = self.run.get("transform")
        if transform is None:
            return
        if view:
            transform.CreateDefaultDisplayNodes()
        display = transform.GetDisplayNode()
        if display is None:
            return
        modes = {
            "grid": display.VIS_MODE_GRID,
            "arrows": display.VIS_MODE_GLYPH,
            "contours": display.VIS_MODE_CONTOUR,
        }
        if view:
            display.SetVisualizationMode(modes[view])
            display.SetColor(*MOVING_COLOR)
            display.SetAndObserveRegionNode(self.fixed)
            self._set_sizes(display)
        display.SetVisibility(bool(view))
        display.SetVisibility2D(bool(view))
        display.SetVisibility3D(view in ("arrows", "contours"))

    def _set_sizes(self, display: Any) -> None:
        """As many arrows and lines as can be told apart, whatever the size of the scan."""
        bounds = [0.0] * 6
        self.fixed.GetRASBounds(bounds)
        extent = max(bounds[2 * axis + 1] - bounds[2 * axis] for axis in range(3))
        display.SetGlyphSpacingMm(extent / ARROWS_ALONG_A_SIDE)
        display.SetGlyphScalePercent(100.0)
        display.SetGlyphDisplayRangeMinMm(0.5)
        display.SetGlyphDiameterMm(extent / 60)
        display.SetContourResolutionMm(extent / 40)
        display.SetContourOpacity(0.4)
        most = 100
        display.SetContourLevelsMmFromString(" ".join(str(level) for level in range(0, most, CONTOUR_STEP_MM)[1:]))

    def _derive(self, view: str) -> Any:
        """The checkerboard or difference volume, made at its first view; it is not saved with the scene."""
        node = self._derived.get(view)
        if node is not None and node.GetScene() is not None:
            return node
        image = image_of(self.fixed)
        first, second = (slicer.util.arrayFromVolume(volume) for volume in (self.beneath, self.warped))
        array = checkerboard_array(first, second) if view == "checkerboard" else difference_array(first, second)
        derived = sitk.GetImageFromArray(array)
        derived.CopyInformation(image)
        name = _("{volume} checkerboard") if view == "checkerboard" else _("{volume} difference")
        node = volume_from_image(derived, name.format(volume=self.warped.GetName()))
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

    def is_of(self, run: RunResult | None, other: RunResult | None) -> bool:
        """True if it compares these runs."""
        nodes = [one.node if one is not None else None for one in (self.run, self.other, run, other)]
        return nodes[:2] == nodes[2:]

    def shows(self, volume: Any) -> bool:
        """True for a volume that one of the views is made of."""
        return volume in (self.fixed, self.warped, self.beneath, *self._derived.values())

    def forget(self) -> None:
        """Remove the volumes that were made for views."""
        derived, self._derived = self._derived, {}
        for node in derived.values():
            remove_node(node)
