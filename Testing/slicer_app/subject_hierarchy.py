"""The items of the subject hierarchy, which Slicer's Qt plugins make for the nodes of a scene.

Written from qSlicerSubjectHierarchyPluginLogic.cxx and ``canAddNodeToSubjectHierarchy`` of the plugins in
Slicer/Slicer; the hierarchy itself is Slicer's own node. The items of single segments are left out.
"""

from __future__ import annotations

from typing import Any

import slicer
import vtk

# The plugin that takes a class of nodes, the most particular class first.
PLUGINS = (
    ("vtkMRMLSegmentationNode", "Segmentations"),
    ("vtkMRMLLabelMapVolumeNode", "LabelMaps"),
    ("vtkMRMLScalarVolumeNode", "Volumes"),
    ("vtkMRMLTransformNode", "Transforms"),
    ("vtkMRMLMarkupsNode", "Markups"),
    ("vtkMRMLModelNode", "Models"),
    ("vtkMRMLTableNode", "Tables"),
    ("vtkMRMLTextNode", "Texts"),
    ("vtkMRMLPlotChartNode", "Plots"),
    ("vtkMRMLPlotSeriesNode", "Plots"),
)


class SubjectHierarchy:
    """Keeps one item for each node of the scene that a plugin takes."""

    def __init__(self, scene: Any) -> None:
        self.scene = scene

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def added(caller: Any, event: Any, node: Any) -> None:
            if isinstance(node, slicer.vtkMRMLSubjectHierarchyNode):
                self._resolve()
            elif not scene.IsImporting():
                self._add(node)

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def leaves(caller: Any, event: Any, node: Any) -> None:
            if not scene.IsClosing() and not isinstance(node, slicer.vtkMRMLSubjectHierarchyNode):
                item = self.node.GetItemByDataNode(node)
                if item:
                    self.node.RemoveItem(item, False, False)

        scene.AddObserver(scene.NodeAddedEvent, added)
        scene.AddObserver(scene.NodeAboutToBeRemovedEvent, leaves)
        scene.AddObserver(scene.EndImportEvent, lambda caller, event: self._complete(), 10.0)
        scene.AddObserver(scene.EndBatchProcessEvent, lambda caller, event: self._complete(), 10.0)
        scene.AddObserver(scene.EndCloseEvent, lambda caller, event: self._resolve())
        self._resolve()

    @property
    def node(self) -> Any:
        """The one hierarchy of the scene."""
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)

    def _resolve(self) -> None:
        """Merge a hierarchy that came with a file into that of the scene."""
        slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(self.scene)

    def _complete(self) -> None:
        """Give an item to each node that came without one."""
        self._resolve()
        hierarchy = self.node
        for index in range(self.scene.GetNumberOfNodes()):
            node = self.scene.GetNthNode(index)
            if not hierarchy.GetItemByDataNode(node):
                self._add(node)

    def _add(self, node: Any) -> None:
        plugin = next((name for kind, name in PLUGINS if node is not None and node.IsA(kind)), None)
        if plugin is not None and not node.GetHideFromEditors():
            self.node.CreateItem(self.node.GetSceneItemID(), node, plugin)
