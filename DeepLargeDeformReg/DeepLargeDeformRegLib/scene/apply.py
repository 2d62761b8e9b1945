"""Other nodes of the moving side, brought onto the fixed volume: put under the transform, or as copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from .errors import SceneError
from .lazy_sitk import sitk
from .results import RunResult
from .segmentations import SegmentLabel, label_map_of, segment_names, segmentation_from_label_maps
from .volumes import image_of, reason_against, share_window, volume_from_image

MIRROR = np.array((-1.0, -1.0, 1.0))


def apply_to(nodes: Sequence[Any], transform: Any) -> None:
    """Put nodes of the moving side (volumes, segmentations, markups, models) under the transform.

    A node that is already under transforms keeps them: the topmost of them goes under this one, which leads from
    where the node stands in the world.

    Raises:
        SceneError: for a node that cannot be transformed; then none is.
    """
    for node in nodes:
        if node is transform or not node.IsA("vtkMRMLTransformableNode"):
            raise SceneError(_("{name} cannot be transformed.").format(name=node.GetName()))
    for node in nodes:
        top = node
        while top.GetParentTransformNode() is not None and top is not transform:
            top = top.GetParentTransformNode()
        if top is not transform:
            top.SetAndObserveTransformNodeID(transform.GetID())


def field_of(transform: Any) -> sitk.Image:
    """The displacement field (LPS, mm, float64) of a node that holds a grid from fixed to moving points.

    Raises:
        SceneError: if the node holds something else.
    """
    grid = transform.GetTransformFromParentAs("vtkOrientedGridTransform", False)
    if grid is None or grid.GetDisplacementGrid() is None:
        raise SceneError(
            _("{name} holds no displacement grid. Choose a result of this module.").format(name=transform.GetName())
        )
    data = grid.GetDisplacementGrid()
    vectors = slicer.util.arrayFromGridTransform(transform).astype(np.float64) * MIRROR
    image = sitk.GetImageFromArray(vectors, isVector=True)
    direction = slicer.util.arrayFromVTKMatrix(grid.GetGridDirectionMatrix())[:3, :3]
    image.SetSpacing(data.GetSpacing())
    image.SetOrigin((np.array(data.GetOrigin()) * MIRROR).tolist())
    image.SetDirection((np.diag(MIRROR) @ direction).ravel().tolist())
    return image


def copies(nodes: Sequence[Any], run: RunResult) -> list[Any]:
    """Copies of nodes of the moving side, in the fixed volume's place; the nodes themselves stay as they are.

    Volumes are resampled onto the fixed grid (label maps by the nearest neighbor), segments exactly, by the nearest
    neighbor from the moving grid, markups and models point by point.

    Raises:
        SceneError: for a node that cannot be transformed, or if the result lacks what it takes; nothing is then made.
    """
    transform, fixed, moving = (run.get(role) for role in ("transform", "fixed", "moving"))
    if transform is None or fixed is None or moving is None:
        raise SceneError(_("This result has lost its transform or its scans, so nothing can be transformed."))
    made: list[Any] = []
    mapping = sitk.DisplacementFieldTransform(field_of(transform))
    reference = image_of(fixed)
    try:
        for node in nodes:
            name = f"{node.GetName()} ({run.name.lower()})"
            if node.IsA("vtkMRMLSegmentationNode"):
                made.append(_segmentation(node, name, mapping, reference, moving, fixed))
            elif node.IsA("vtkMRMLVolumeNode"):
                made.append(_volume(node, name, mapping, reference))
            elif node.IsA("vtkMRMLMarkupsNode") or node.IsA("vtkMRMLModelNode"):
                made.append(_points(node, name, transform))
            else:
                raise SceneError(_("{name} cannot be transformed.").format(name=node.GetName()))
    except Exception:
        for node in made:
            slicer.mrmlScene.RemoveNode(node)
        raise
    return made


def _volume(node: Any, name: str, mapping: sitk.Transform, reference: sitk.Image) -> Any:
    is_labels = node.IsA("vtkMRMLLabelMapVolumeNode")
    reason = "" if is_labels else reason_against(node)
    if reason:
        raise SceneError(_("This volume cannot be transformed: {reason}").format(reason=reason))
    image = image_of(node, any_kind=True)
    # What lies outside the moving volume is as dark as its darkest voxel: 0 would be water in a CT.
    outside = 0.0 if is_labels else float(slicer.util.arrayFromVolume(node).min())
    interpolator = sitk.sitkNearestNeighbor if is_labels else sitk.sitkLinear
    warped = sitk.Resample(image, reference, mapping, interpolator, outside)
    target = slicer.mrmlScene.AddNewNodeByClass(node.GetClassName(), name)
    volume_from_image(warped, name, target)
    if node.GetDisplayNode() is not None and not is_labels:
        share_window(node, target)
    return target


def _segmentation(
    node: Any, name: str, mapping: sitk.Transform, reference: sitk.Image, moving: Any, fixed: Any
) -> Any:
    source = image_of(moving)
    maps: list[tuple[sitk.Image, SegmentLabel]] = []
    for identifier in segment_names(node):  # one by one, as segments may overlap
        image, (label,), _warnings = label_map_of(node, source, [identifier])
        maps.append((sitk.Resample(image, reference, mapping, sitk.sitkNearestNeighbor, 0), label))
    if not maps:
        raise SceneError(_("{name} has no segments.").format(name=node.GetName()))
    return segmentation_from_label_maps(maps, name, fixed)


def _points(node: Any, name: str, transform: Any) -> Any:
    copy = slicer.mrmlScene.AddNewNodeByClass(node.GetClassName(), name)
    copy.CopyContent(node)
    copy.SetName(name)
    copy.CreateDefaultDisplayNodes()
    if node.GetDisplayNode() is not None:
        copy.GetDisplayNode().CopyContent(node.GetDisplayNode())
    copy.SetAndObserveTransformNodeID(node.GetTransformNodeID())
    copy.HardenTransform()
    copy.SetAndObserveTransformNodeID(transform.GetID())
    copy.HardenTransform()
    return copy
