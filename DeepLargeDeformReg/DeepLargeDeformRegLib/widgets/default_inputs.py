"""What is chosen where the user has chosen nothing yet, and the choice the other way round."""

from __future__ import annotations

from typing import Any

import slicer

from ..scene import exchange, results
from ..scene.markups import BELONGS_TO_ROLE
from .parameters import joined


def choose_inputs(node: Any) -> None:
    """The two newest scans, and the outlines and landmarks that belong to them, where a parameter node has none."""
    made = {output for run in results.list_results() for output in run.outputs()}
    scans = [
        volume
        for volume in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        if not exchange.volumes.reason_against(volume) and volume not in made
    ]
    if node.fixedVolume is None and node.movingVolume is None and len(scans) >= 2:
        node.fixedVolume, node.movingVolume = scans[-2], scans[-1]
    geometry_role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    for side in ("fixed", "moving"):
        volume = getattr(node, f"{side}Volume")
        for kind, class_name, role in (
            ("Segmentation", "vtkMRMLSegmentationNode", geometry_role),
            ("Landmarks", "vtkMRMLMarkupsFiducialNode", BELONGS_TO_ROLE),
        ):
            if volume is None or getattr(node, f"{side}{kind}") is not None:
                continue
            for found in slicer.util.getNodesByClass(class_name):
                if found.GetNodeReference(role) is volume and found not in made:
                    setattr(node, f"{side}{kind}", found)


def swap_sides(node: Any, logic: Any) -> None:
    """Exchange the fixed and the moving side of a parameter node, and all that belongs to them.

    Args:
        node: the parameter node.
        logic: the module's logic, which reads the choice of segments.
    """
    with slicer.util.NodeModify(node.parameterNode):
        pairs, unused = logic.matches(node) or [], logic.unused(node)
        for kind in ("Volume", "Segmentation", "Landmarks", "Mask"):
            fixed, moving = getattr(node, f"fixed{kind}"), getattr(node, f"moving{kind}")
            setattr(node, f"fixed{kind}", moving)
            setattr(node, f"moving{kind}", fixed)
        node.segmentMatches = [joined(moving, fixed) for fixed, moving in pairs]
        other = {"fixed": "moving", "moving": "fixed"}
        node.unusedSegments = [joined(other[side], identifier) for side, identifier in unused]
