"""Slicer's layout manager and views, off screen: real layout, slice and view logics and displayable managers.

The views are not Qt widgets here; ``picture()`` of a view or of the whole layout is what a user would see.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from .plot_view import PlotView

Size = tuple[int, int]

_BAR_HEIGHT = 22  # the controller bar that each view carries in Slicer


class View:
    """What slice and 3D views share: a render window, a scene, displayable managers."""

    factory_class: Any

    def __init__(self, node: Any, scene: Any, size: Size) -> None:
        self.node = node
        self.scene = scene
        self.size = size
        self.renderer = vtk.vtkRenderer()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())
        self.managers = self.factory_class.GetInstance().InstantiateDisplayableManagers(self.renderer)
        self.managers.SetMRMLDisplayableNode(node)

    def resize(self, size: Size) -> None:
        """Set the size of the view in pixels, its bar included."""
        self.size = size
        self.window.SetSize(size[0], max(1, size[1] - _BAR_HEIGHT))

    def pixels(self) -> np.ndarray:
        """Render; return the view as (height, width, 3) bytes, top row first."""
        # After a scene was loaded the displayable managers wait for the view's node to change, as Slicer's views do.
        self.node.Modified()
        self.window.Render()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(self.window)
        grabber.ReadFrontBufferOff()
        grabber.ShouldRerenderOff()
        grabber.Update()
        image = grabber.GetOutput()
        width, height, _ = image.GetDimensions()
        return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3].copy()


class LayerBoxes:
    """The boxes of a slice view's bar that choose its layers, as far as they act by themselves.

    Where a shown volume is removed, the row of the box goes, QComboBox makes a neighbor the current row, and
    qMRMLSliceControllerWidget puts that volume into the view.
    """

    _LAYERS = (
        ("Background", "vtkMRMLVolumeNode"),
        ("Foreground", "vtkMRMLVolumeNode"),
        ("Label", "vtkMRMLLabelMapVolumeNode"),
    )

    def __init__(self, scene: Any, logic: Any) -> None:
        self._scene, self._logic = scene, logic
        scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._fall_to_a_neighbor)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _fall_to_a_neighbor(self, caller: Any, event: str, node: Any) -> None:
        composite = self._logic.GetSliceCompositeNode()
        if self._scene.IsClosing() or composite is None:
            return
        for layer, class_name in self._LAYERS:
            if getattr(composite, f"Get{layer}VolumeID")() != node.GetID():
                continue
            rows = [None, *slicer.util.getNodesByClass(class_name)]  # "None" is the first row
            place = rows.index(node)
            del rows[place]
            neighbor = rows[min(place, len(rows) - 1)]
            getattr(composite, f"Set{layer}VolumeID")(neighbor.GetID() if neighbor is not None else None)


class SliceView(View):
    """One slice view: its logic blends the layers, its displayable managers draw over them."""

    factory_class = slicer.vtkMRMLSliceViewDisplayableManagerFactory

    def __init__(self, node: Any, scene: Any, application_logic: Any, size: Size) -> None:
        # First the logic, as qMRMLLayoutSliceViewFactory::createViewFromNode: the manager of color legends
        # looks for it once, when it is given the view, and without it shows none.
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(application_logic)
        self.logic.SetMRMLScene(scene)
        self.logic.SetSliceNode(node)
        application_logic.GetSliceLogics().AddItem(self.logic)
        super().__init__(node, scene, size)
        self.boxes = LayerBoxes(scene, self.logic)
        self.mapper = vtk.vtkImageMapper()
        self.mapper.SetColorWindow(255)
        self.mapper.SetColorLevel(127.5)
        self.actor = vtk.vtkActor2D()
        self.actor.SetMapper(self.mapper)
        self.actor.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(self.actor)
        self.resize(size)

    def resize(self, size: Size) -> None:
        super().resize(size)
        self.logic.ResizeSliceNode(*self.window.GetSize())

    def pixels(self) -> np.ndarray:
        image = self.logic.GetImageDataConnection()
        self.actor.SetVisibility(image is not None)
        if image is not None:
            self.mapper.SetInputConnection(image)
        return super().pixels()

    # What Python code asks of a qMRMLSliceWidget and its qMRMLSliceView.
    def sliceLogic(self) -> Any:
        return self.logic

    def mrmlSliceNode(self) -> Any:
        return self.node

    def fitSliceToBackground(self) -> None:
        self.logic.FitSliceToBackground()


class ThreeDView(View):
    """One 3D view."""

    factory_class = slicer.vtkMRMLThreeDViewDisplayableManagerFactory

    def __init__(self, node: Any, scene: Any, application_logic: Any, size: Size) -> None:
        super().__init__(node, scene, size)
        self.logic = slicer.vtkMRMLViewLogic()
        self.logic.SetMRMLApplicationLogic(application_logic)
        self.logic.SetMRMLScene(scene)
        self.logic.AddViewNode(node.GetLayoutName())
        application_logic.GetViewLogics().AddItem(self.logic)
        self.renderer.SetGradientBackground(True)

    def pixels(self) -> np.ndarray:
        self.renderer.SetBackground(self.node.GetBackgroundColor())
        self.renderer.SetBackground2(self.node.GetBackgroundColor2())
        return super().pixels()

    def mrmlViewNode(self) -> Any:
        return self.node

    def threeDView(self) -> ThreeDView:
        return self

    def cameraNode(self) -> Any:
        return slicer.modules.cameras.logic().GetViewActiveCameraNode(self.node)

    def resetFocalPoint(self) -> None:
        """As qMRMLThreeDView.cxx: the box and its letters do not count, and take the new bounds afterwards."""
        shown = self.node.GetBoxVisible(), self.node.GetAxisLabelsVisible()
        self.node.SetBoxVisible(False)
        self.node.SetAxisLabelsVisible(False)
        bounds = self.renderer.ComputeVisiblePropBounds()
        if bounds[0] <= bounds[1]:
            self.cameraNode().SetFocalPoint([(bounds[2 * axis] + bounds[2 * axis + 1]) / 2 for axis in range(3)])
        self.node.SetBoxVisible(shown[0])
        self.node.SetAxisLabelsVisible(shown[1])
        self.node.InvokeEvent(slicer.vtkMRMLViewNode.ResetFocalPointRequestedEvent)
        self.renderer.ResetCameraClippingRange()

    def resetCamera(self, rotation: bool = True, translation: bool = True, distance: bool = True) -> None:
        self.cameraNode().Reset(rotation, translation, distance, self.renderer)

    def forceRender(self) -> None:
        self.window.Render()


class LayoutManager:
    """What the module asks of ``slicer.app.layoutManager()``, and the picture of the whole layout."""

    def __init__(self, scene: Any, application_logic: Any, size: Size = (900, 760)) -> None:
        self.scene = scene
        self.application_logic = application_logic
        self.size = size
        self.logic = slicer.vtkMRMLLayoutLogic()
        self.logic.SetMRMLScene(scene)
        self._views: dict[str, View] = {}
        self.four_up = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
        self.setLayout(self.four_up)

    # qMRMLLayoutManager
    @property
    def layout(self) -> int:
        return self._layout_node().GetViewArrangement()

    @layout.setter
    def layout(self, arrangement: int) -> None:
        self.setLayout(arrangement)

    @property
    def threeDViewCount(self) -> int:
        return len([view for view in self._current() if isinstance(view, ThreeDView)])

    def setLayout(self, arrangement: int) -> None:
        self._layout_node().SetViewArrangement(arrangement)
        self._current()

    def mrmlSliceLogics(self) -> Any:
        return self.application_logic.GetSliceLogics()

    def sliceViewNames(self) -> list[str]:
        return [view.node.GetLayoutName() for view in self._current() if isinstance(view, SliceView)]

    def sliceWidget(self, name: str) -> SliceView | None:
        self._current()
        return next(
            (v for v in self._views.values() if isinstance(v, SliceView) and v.node.GetLayoutName() == name), None
        )

    def threeDWidget(self, index: int) -> ThreeDView | None:
        views = [view for view in self._current() if isinstance(view, ThreeDView)]
        return views[index] if index < len(views) else None

    def resetSliceViews(self) -> None:
        for view in self._current():
            if isinstance(view, SliceView):
                view.fitSliceToBackground()

    def resetThreeDViews(self) -> None:
        for view in self._current():
            if isinstance(view, ThreeDView):
                view.resetFocalPoint()
                view.resetCamera()

    def setRenderPaused(self, paused: bool) -> None:
        """Nothing is rendered but for pictures."""

    # The stand-in's own
    def _layout_node(self) -> Any:
        return self.logic.GetLayoutNode()

    def _current(self) -> list[View]:
        """The views of the layout; one is made for each new view node."""
        nodes = self.logic.GetViewNodes()
        found = []
        for index in range(nodes.GetNumberOfItems()):
            node = nodes.GetItemAsObject(index)
            view = self._views.get(node.GetID())
            if view is None or view.node is not node:
                view = self._make(node)
            if view is not None:
                self._views[node.GetID()] = view
                found.append(view)
        return found

    def _make(self, node: Any) -> Any:
        """The view of a view node; None for a kind that is not stood in for."""
        size = (400, 360)
        if node.IsA("vtkMRMLPlotViewNode"):
            return PlotView(node, size)
        if node.IsA("vtkMRMLSliceNode"):
            return SliceView(node, self.scene, self.application_logic, size)
        if node.IsA("vtkMRMLViewNode"):
            return ThreeDView(node, self.scene, self.application_logic, size)
        return None

    def rectangles(self, size: Size | None = None) -> dict[str, tuple[int, int, int, int]]:
        """Where each view of the layout lies: view node ID to (left, top, width, height) in pixels."""
        self._current()
        root = ElementTree.fromstring(self._layout_node().GetCurrentLayoutDescription())
        placed: dict[str, tuple[int, int, int, int]] = {}
        self._place(root, (0, 0, *(size or self.size)), placed)
        return placed

    def _place(self, element: Any, box: tuple[int, int, int, int], placed: dict[str, Any]) -> None:
        if element.tag == "view":
            node = self.scene.GetSingletonNode(element.get("singletontag"), element.get("class"))
            if node is not None and node.GetID() in self._views:
                placed[node.GetID()] = box
            return
        items = [item for item in element if item.tag == "item"]
        vertical = element.get("type", "horizontal") == "vertical"
        left, top, width, height = box
        weights = [float(item.get("splitSize") or 0) or 1.0 for item in items]
        position = 0.0
        for item, weight in zip(items, weights, strict=True):
            share = weight / sum(weights)
            if vertical:
                inner = (left, top + round(position * height), width, round(share * height))
            else:
                inner = (left + round(position * width), top, round(share * width), height)
            position += share
            for child in item:
                self._place(child, inner, placed)

    def fit(self, size: Size | None = None) -> None:
        """Give each view the size that it has in the layout."""
        for node_id, (_, _, width, height) in self.rectangles(size).items():
            self._views[node_id].resize((width, height))

    def picture(self, size: Size | None = None) -> np.ndarray:
        """Render the layout as (height, width, 3) bytes: each view under the bar with its name and color."""
        size = size or self.size
        self.fit(size)
        canvas = np.full((size[1], size[0], 3), 60, dtype=np.uint8)
        for node_id, (left, top, width, height) in self.rectangles(size).items():
            view = self._views[node_id]
            pixels = view.pixels()
            color = np.asarray(view.node.GetLayoutColor()) * 255
            canvas[top : top + _BAR_HEIGHT - 2, left : left + width - 2] = color
            below = top + _BAR_HEIGHT
            high = min(height - _BAR_HEIGHT - 2, pixels.shape[0])
            wide = min(width - 2, pixels.shape[1])
            canvas[below : below + high, left : left + wide] = pixels[:high, :wide]
        return canvas

    def forget(self) -> None:
        """Let go of the views whose nodes a closed scene has taken away."""
        alive = {n.GetID() for n in slicer.util.getNodesByClass("vtkMRMLAbstractViewNode")}
        self._views = {key: view for key, view in self._views.items() if key in alive}
