"""Segmentations to exact label maps and back, with names, colors and terminology."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util import numpy_support

from ..core.text import pairs_of_same_name
from .errors import SceneError
from .lazy_sitk import sitk
from .volumes import RAS_TO_LPS, array_to_matrix, remove_node, volume_from_image

if TYPE_CHECKING:
    from ..core.images import LabelMap


@dataclass(frozen=True, kw_only=True)
class SegmentLabel:
    """One segment as a label: ``value`` in the map, and what belongs to the segment in the scene."""

    value: int
    segment_id: str
    name: str
    color: tuple[float, float, float]
    terminology: str = ""

    def to_json(self) -> dict[str, Any]:
        """As the engine's ``Label``."""
        return {"value": self.value, "name": self.name, "color": list(self.color), "terminology": self.terminology}


def terminology_tag() -> str:
    """Name of the tag that holds a segment's terminology."""
    return slicer.vtkSegment.GetTerminologyEntryTagName()


def segment_names(node: Any) -> dict[str, str]:
    """Names by segment id, in the order of the segmentation."""
    if node is None:
        return {}
    segmentation = node.GetSegmentation()
    ids = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
    return {identifier: segmentation.GetSegment(identifier).GetName() for identifier in ids}


def match_by_name(fixed: Any, moving: Any) -> list[tuple[str, str]]:
    """Pairs of segment ids (fixed, moving) with the same name, as :mod:`..core.labels` compares names."""
    first, second = segment_names(fixed), segment_names(moving)
    pairs = pairs_of_same_name(list(first.values()), list(second.values()))
    return [(list(first)[one], list(second)[other]) for one, other in pairs]


def _world_copy(node: Any) -> Any:
    """A copy of a segmentation with its parent transforms applied."""
    copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "hardened copy")
    copy.GetSegmentation().DeepCopy(node.GetSegmentation())
    copy.SetAndObserveTransformNodeID(node.GetTransformNodeID())
    copy.HardenTransform()
    return copy


def _mask_of(node: Any, segment_id: str, grid: Any) -> np.ndarray:
    """Voxels of a segment on the grid of a volume node, (z, y, x).

    As ``slicer.util.arrayFromSegmentBinaryLabelmap``, which leaves a display node in the scene at each call.
    """
    identifiers = vtk.vtkStringArray()
    identifiers.InsertNextValue(segment_id)
    export = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "export")
    try:
        logic = slicer.modules.segmentations.logic()
        if not logic.ExportSegmentsToLabelmapNode(node, identifiers, export, grid):
            raise SceneError(_("A segment of {name} could not be read as voxels.").format(name=node.GetName()))
        return slicer.util.arrayFromVolume(export) > 0
    finally:
        colors = export.GetDisplayNode().GetColorNode() if export.GetDisplayNode() else None
        remove_node(export)
        if colors is not None and colors.GetScene() is not None:
            slicer.mrmlScene.RemoveNode(colors)


def label_map_of(
    node: Any, reference: sitk.Image, segment_ids: list[str] | None = None
) -> tuple[sitk.Image, list[SegmentLabel], list[str]]:
    """Segments as one label map on the geometry of an image.

    Args:
        node: segmentation node; parent transforms are applied to a copy.
        reference: LPS image that gives the geometry.
        segment_ids: which segments; None takes all.

    Returns:
        label map (uint16, the n-th segment has value n), the labels, and warnings in sentences.

    Raises:
        SceneError: if the node has no segments, or none of them reaches into the image.
    """
    names = segment_names(node)
    chosen = list(names) if segment_ids is None else segment_ids
    if not chosen:
        raise SceneError(_("{name} has no segments to use. Select another one or none.").format(name=node.GetName()))
    source = _world_copy(node) if node.GetParentTransformNode() else node
    blank = sitk.Image(reference.GetSize(), sitk.sitkUInt8)
    blank.CopyInformation(reference)
    grid = volume_from_image(blank, "reference grid")
    labels, warnings = [], []
    result = np.zeros(reference.GetSize()[::-1], dtype=np.uint16)
    overlap = 0
    try:
        for value, identifier in enumerate(chosen, start=1):
            segment = source.GetSegmentation().GetSegment(identifier)
            inside = _mask_of(source, identifier, grid)
            if not inside.any():
                text = _("The segment {segment} of {name} has no voxel in the volume.")
                warnings.append(text.format(segment=segment.GetName(), name=node.GetName()))
            overlap += int(np.count_nonzero(inside & (result > 0)))
            result[inside] = value
            tag = vtk.reference("")
            segment.GetTag(terminology_tag(), tag)
            labels.append(
                SegmentLabel(
                    value=value,
                    segment_id=identifier,
                    name=segment.GetName(),
                    color=tuple(segment.GetColor()),
                    terminology=str(tag),
                )
            )
    finally:
        remove_node(grid)
        if source is not node:
            remove_node(source)
    if not result.any():
        text = _("No segment of {name} has a voxel in the volume. Does it belong to this volume?")
        raise SceneError(text.format(name=node.GetName()))
    if overlap:
        text = _("{count} voxels of {name} belong to several segments; the later one is used.")
        warnings.append(text.format(count=overlap, name=node.GetName()))
    image = sitk.GetImageFromArray(result)
    image.CopyInformation(reference)
    return image, labels, warnings


def write_label_map(
    node: Any,
    reference: sitk.Image,
    path: str | Path,
    segment_ids: list[str] | None = None,
    names: dict[str, str] | None = None,
) -> tuple[list[SegmentLabel], list[str]]:
    """Write :func:`label_map_of` to a .seg.nrrd file, which names the segments; return labels and warnings.

    ``names`` (by segment id) replaces names in the file, so that matched segments are called the same.

    Raises:
        SceneError: as :func:`label_map_of`.
        OutputError: if the file could not be written.
    """
    from ..core.files import label_maps  # it loads SimpleITK, which the opening of the panel must not wait for

    image, labels, warnings = label_map_of(node, reference, segment_ids)
    label_maps.write_label_map(_label_map(image, labels, names or {}), path)
    return labels, warnings


def read_labels(node: Any, reference: sitk.Image) -> LabelMap:
    """All segments as :func:`label_map_of` has them, with names, colors and terminology.

    Raises:
        SceneError: as :func:`label_map_of`.
    """
    image, labels, _warnings = label_map_of(node, reference)
    return _label_map(image, labels, {})


def _label_map(image: sitk.Image, labels: list[SegmentLabel], names: dict[str, str]) -> LabelMap:
    """Label map of an image and its labels, some of them renamed by their segment id."""
    from ..core import images
    from ..core.geometry import ImageGrid

    named = tuple(
        images.Label(
            value=label.value,
            name=names.get(label.segment_id, label.name),
            color=label.color,
            terminology=label.terminology or None,
        )
        for label in labels
    )
    array = sitk.GetArrayFromImage(image).astype(np.int32)
    return images.LabelMap(array, ImageGrid.from_image(image), named)


def _oriented_image(mask: np.ndarray, reference: sitk.Image) -> Any:
    """vtkOrientedImageData (RAS) of a (z, y, x) mask on an LPS grid."""
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*reference.GetSize())
    scalars = numpy_support.numpy_to_vtk(np.ascontiguousarray(mask, dtype=np.uint8).ravel(), deep=True)
    image.GetPointData().SetScalars(scalars)
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(reference.GetDirection()).reshape(3, 3) * np.array(reference.GetSpacing())
    matrix[:3, 3] = reference.GetOrigin()
    image.SetGeometryFromImageToWorldMatrix(array_to_matrix(RAS_TO_LPS @ matrix))
    return image


def segmentation_from_label_map(
    image: sitk.Image, labels: list[SegmentLabel], name: str, node: Any = None, reference: Any = None
) -> Any:
    """Segmentation node of a label map; each segment keeps id, name, color and terminology of its label.

    Args:
        image: LPS label map.
        labels: what each value stands for; values that are not listed are left out.
        name: name of a new node.
        node: segmentation node to overwrite instead.
        reference: volume whose geometry the segmentation takes.
    """
    return segmentation_from_label_maps([(image, label) for label in labels], name, reference, node)


def segmentation_from_label_maps(
    maps: list[tuple[sitk.Image, SegmentLabel]], name: str, reference: Any = None, node: Any = None
) -> Any:
    """As :func:`segmentation_from_label_map`, each segment from a label map of its own: they may overlap."""
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetAndObserveTransformNodeID(None)
    segmentation = node.GetSegmentation()
    segmentation.RemoveAllSegments()
    if reference is not None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    for image, label in maps:
        segment = slicer.vtkSegment()
        segment.SetName(label.name)
        segment.SetColor(*label.color)
        segment.AddRepresentation(
            slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName(),
            _oriented_image(sitk.GetArrayViewFromImage(image) == label.value, image),
        )
        if label.terminology:
            segment.SetTag(terminology_tag(), label.terminology)
        segmentation.AddSegment(segment, label.segment_id)
    return node


def read_label_map(
    path: str | Path, labels: list[SegmentLabel], name: str, node: Any = None, reference: Any = None
) -> Any:
    """Segmentation node of a label map file that the engine wrote."""
    return segmentation_from_label_map(sitk.ReadImage(str(path)), labels, name, node, reference)


def read_organs(path: str | Path, name: str, reference: Any) -> Any:
    """New segmentation node of outlines that the engine found, named and colored as in the file; hidden."""
    from ..core.files.label_maps import generic_color
    from ..core.files.label_maps import read_label_map as read

    labels = [
        SegmentLabel(
            value=label.value,
            segment_id=f"organ_{label.value}",
            name=label.name,
            color=label.color or generic_color(label.value),
        )
        for label in read(path).labels
    ]
    node = read_label_map(path, labels, name, reference=reference)
    node.GetDisplayNode().SetVisibility(False)
    return node


def _override_colors(node: Any, color: tuple[float, float, float] | None) -> None:
    display = node.GetDisplayNode()
    for identifier in segment_names(node):
        if color is not None:
            display.SetSegmentOverrideColor(identifier, *color)
        else:
            display.UnsetSegmentOverrideColor(identifier)


def show_outlines(
    node: Any, color: tuple[float, float, float] | None = None, from_within: bool = False, width: int = 2
) -> None:
    """Show segments as outlines in slices and as surfaces in 3D, all in one color if one is given.

    The segments keep their own colors. A surface seen from within is drawn where it is turned away from the eye
    alone: behind one that is drawn whole, it shows where it reaches beyond, and no two coincident surfaces mottle.
    """
    display = node.GetDisplayNode()
    display.SetVisibility(True)
    display.SetVisibility2DFill(False)
    display.SetVisibility2DOutline(True)
    display.SetSliceIntersectionThickness(width)
    converter = slicer.vtkSegmentationConverter
    display.SetPreferredDisplayRepresentationName2D(converter.GetSegmentationBinaryLabelmapRepresentationName())
    node.CreateClosedSurfaceRepresentation()
    display.SetVisibility3D(True)
    display.SetOpacity3D(1.0)
    display.SetFrontfaceCulling(from_within)
    _override_colors(node, color)


def keep_surfaces(node: Any, color: tuple[float, float, float], from_within: bool = False) -> None:
    """Show in 3D alone the surfaces that :func:`show_outlines` has made; others are not made, as that takes time."""
    surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    if node is None or node.GetDisplayNode() is None or not node.GetSegmentation().ContainsRepresentation(surface):
        return
    display = node.GetDisplayNode()
    display.SetVisibility(True)
    display.SetVisibility2DFill(False)
    display.SetVisibility2DOutline(False)
    display.SetVisibility3D(True)
    display.SetOpacity3D(1.0)
    display.SetFrontfaceCulling(from_within)
    _override_colors(node, color)
