"""From the scene into a job folder; :mod:`.collect` leads back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from ..core.display import MAPS
from . import markups, segmentations, transforms, volumes
from .errors import SceneError
from .lazy_sitk import sitk

# What a run makes beside the transform. "maps": the quality maps; "parts": the linear and the deformable part of the
# transform as two further nodes.
OUTPUTS = ("warped", "segmentation", "jacobian", "maps", "table", "charts", "landmarks", "report", "parts")
ORGANS = {
    "fixed_organs": "output_fixed_organs",
    "moving_organs": "output_moving_organs",
    "organs": "output_warped_organs",
}
"""Outlines that the engine finds by itself: role in the scene, and entry of the job."""
DEFAULT_OUTPUTS = frozenset(OUTPUTS) - {"parts"}


@dataclass(kw_only=True)
class Inputs:
    """What a run takes from the scene.

    Args:
        fixed, moving: scalar volumes.
        fixed_segmentation, moving_segmentation: segmentations that belong to them.
        matches: pairs of segment ids (fixed, moving); None matches by name.
        unused_fixed, unused_moving: ids of segments that are left out.
        fixed_landmarks, moving_landmarks: corresponding points; moving ones alone are carried over.
        initial_transform: transform with which registration begins: the moving volume under it is nearly right.
        region: box to which the registration is limited.
        fixed_mask, moving_mask: segmentations of what is left out, as one scan alone shows it.
    """

    fixed: Any
    moving: Any
    fixed_segmentation: Any = None
    moving_segmentation: Any = None
    matches: list[tuple[str, str]] | None = None
    fixed_landmarks: Any = None
    moving_landmarks: Any = None
    initial_transform: Any = None
    region: Any = None
    fixed_mask: Any = None
    moving_mask: Any = None
    unused_fixed: Collection[str] = ()
    unused_moving: Collection[str] = ()

    def problem(self) -> str:
        """What is missing, in a sentence; empty if registration can start."""
        for name, node in (("fixed", self.fixed), ("moving", self.moving)):
            reason = volumes.reason_against(node)
            if reason:
                fixed = _("Select a fixed volume: {reason}")
                return (fixed if name == "fixed" else _("Select a moving volume: {reason}")).format(reason=reason)
        if self.fixed is self.moving:
            return _("Fixed and moving are the same volume. Select two different ones.")
        if self.fixed_landmarks is not None and self.moving_landmarks is None:
            return _("Select the moving landmarks too, or no fixed ones: each fixed landmark needs its moving one.")
        if self.fixed_landmarks is not None and self.fixed_landmarks is self.moving_landmarks:
            return _("Fixed and moving landmarks are the same list. Select two different ones.")
        for mask, segmentation in (
            (self.fixed_mask, self.fixed_segmentation),
            (self.moving_mask, self.moving_segmentation),
        ):
            if mask is not None and mask is segmentation:
                return _(
                    "The segmentation of the structures is also selected to be left out. Mark what shall be left out "
                    "in a segmentation of its own."
                )
        return ""

    def gone(self) -> str:
        """Why the results of a run cannot be taken in any more; empty if they can."""
        for name, node in (("fixed", self.fixed), ("moving", self.moving)):
            if node.GetScene() is None:
                fixed = _("The fixed volume was removed from the scene, so the result was discarded.")
                return (
                    fixed
                    if name == "fixed"
                    else _("The moving volume was removed from the scene, so the result was discarded.")
                )
        return ""


@dataclass
class Targets:
    """Nodes to overwrite, by role; a role without a node gets a new one. ``wanted`` are the roles that are made."""

    nodes: dict[str, Any] = field(default_factory=dict)
    wanted: frozenset[str] = DEFAULT_OUTPUTS

    def node(self, role: str) -> Any:
        """Node to overwrite, if it is still in the scene."""
        node = self.nodes.get(role)
        return node if node is not None and node.GetScene() is not None else None


@dataclass
class Prepared:
    """A job folder that is ready: the payload for the worker, and what is needed to take the results in."""

    payload: dict[str, Any]
    moving_labels: list[segmentations.SegmentLabel]
    warnings: list[str]


def needed_bytes(inputs: Inputs, targets: Targets) -> int:
    """What the job folder will hold at most: inputs, and field, scans, maps and labels on the fixed grid."""
    voxels, largest = [], 1
    for node in (inputs.fixed, inputs.moving):
        image = node.GetImageData() if node is not None else None
        voxels.append(image.GetNumberOfPoints() if image is not None else 0)
        largest = max(largest, image.GetScalarSize() if image is not None else 1)
    labels = inputs.fixed_segmentation is not None or inputs.moving_segmentation is not None
    labels = labels or "segmentation" in targets.wanted  # organs that are found
    single = 4  # bytes of a float32
    scalars = 1 + ("jacobian" in targets.wanted) + len(MAPS) * ("maps" in targets.wanted)
    each = single * (3 + scalars) + 2 * labels
    return sum(voxels) * largest + voxels[0] * each


def prepare(inputs: Inputs, targets: Targets, settings: Mapping[str, Any], folder: Path) -> Prepared:
    """Write the inputs into a job folder.

    Raises:
        SceneError: if an input cannot be used; the message is for people.
    """
    problem = inputs.problem()
    if problem:
        raise SceneError(problem)
    payload: dict[str, Any] = {"settings": dict(settings)}
    images = {}
    for name in ("fixed", "moving"):
        path = folder / f"{name}.nrrd"
        images[name] = volumes.write_volume(getattr(inputs, name), path)
        payload[name] = str(path)
    labels, warnings = _write_segmentations(inputs, images, folder, payload)
    warnings += _write_masks(inputs, images, folder, payload)
    _write_landmarks(inputs, folder, payload)
    if inputs.initial_transform is not None:
        path = folder / "initial.h5"
        write_initial_transform(inputs.initial_transform, path)
        payload["initial_transform"] = str(path)
    if inputs.region is not None:
        path = folder / "region.nrrd"
        sitk.WriteImage(region_mask(inputs.region, images["fixed"]), str(path), useCompression=True)
        payload["region"] = str(path)
    outputs = {"output_transform": "transform.nrrd", "output_volume": "warped.nrrd", "metrics": "metrics.json"}
    if "jacobian" in targets.wanted:
        outputs["output_jacobian"] = "jacobian.nrrd"
    if "segmentation" in targets.wanted and labels:
        outputs["output_segmentation"] = "propagated.seg.nrrd"
    if "segmentation" in targets.wanted and settings.get("organs") != "none":
        outputs |= {key: f"{role}.seg.nrrd" for role, key in ORGANS.items()}  # written if any are found
    if "maps" in targets.wanted:
        outputs["output_maps"] = "maps"
    if "report" in targets.wanted:
        outputs["report"] = "report.html"
    payload |= {key: str(folder / name) for key, name in outputs.items()}
    return Prepared(payload, labels, warnings)


def _write_segmentations(
    inputs: Inputs, images: Mapping[str, sitk.Image], folder: Path, payload: dict[str, Any]
) -> tuple[list[segmentations.SegmentLabel], list[str]]:
    """Write both label maps; matched segments get the same value and, in the files, the fixed name."""
    nodes = {"fixed": inputs.fixed_segmentation, "moving": inputs.moving_segmentation}
    unused = {"fixed": set(inputs.unused_fixed), "moving": set(inputs.unused_moving)}
    chosen = {
        side: [identifier for identifier in segmentations.segment_names(node) if identifier not in unused[side]]
        for side, node in nodes.items()
    }
    renamed: dict[str, str] = {}
    if nodes["fixed"] is not None and nodes["moving"] is not None:
        pairs = inputs.matches
        if pairs is None:
            pairs = segmentations.match_by_name(nodes["fixed"], nodes["moving"])
        pairs = [pair for pair in pairs if pair[0] in chosen["fixed"] and pair[1] in chosen["moving"]]
        names = segmentations.segment_names(nodes["fixed"])
        renamed = {moving: names[fixed] for fixed, moving in pairs}
        first = {"fixed": [pair[0] for pair in pairs], "moving": [pair[1] for pair in pairs]}
        for side, rest in chosen.items():
            chosen[side] = first[side] + [identifier for identifier in rest if identifier not in first[side]]
    labels: list[segmentations.SegmentLabel] = []
    warnings: list[str] = []
    for side, node in nodes.items():
        if node is None or (unused[side] and not chosen[side]):
            continue
        path = folder / f"{side}.seg.nrrd"
        found, said = segmentations.write_label_map(
            node, images[side], path, chosen[side], renamed if side == "moving" else None
        )
        payload[f"{side}_segmentation"] = str(path)
        warnings += said
        if side == "moving":
            labels = found
    return labels, warnings


def _write_masks(
    inputs: Inputs, images: Mapping[str, sitk.Image], folder: Path, payload: dict[str, Any]
) -> list[str]:
    """Write what is left out of each scan; returns what the user should know."""
    warnings: list[str] = []
    for side, node in (("fixed", inputs.fixed_mask), ("moving", inputs.moving_mask)):
        if node is not None:
            path = folder / f"{side}-mask.seg.nrrd"
            warnings += segmentations.write_label_map(node, images[side], path)[1]
            payload[f"{side}_mask"] = str(path)
    return warnings


def _write_landmarks(inputs: Inputs, folder: Path, payload: dict[str, Any]) -> None:
    if inputs.fixed_landmarks is None:
        return
    from ..core.files.landmarks import write_landmark_pairs

    path = folder / "landmarks.csv"
    write_landmark_pairs(markups.landmark_pairs(inputs.fixed_landmarks, inputs.moving_landmarks), path)
    payload["landmarks"] = str(path)


def write_initial_transform(node: Any, path: Path) -> None:
    """Write the world's view of a transform, fixed to moving points, to a file that ITK reads."""
    copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "initial")
    try:
        if node.IsTransformToWorldLinear():
            matrix = vtk.vtkMatrix4x4()
            node.GetMatrixTransformFromWorld(matrix)
            copy.SetMatrixTransformFromParent(matrix)
        else:
            general = vtk.vtkGeneralTransform()
            slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, node, general)
            copy.SetAndObserveTransformFromParent(general)
        transforms.export_transform(copy, path)
    finally:
        volumes.remove_node(copy)


def region_mask(region: Any, reference: sitk.Image) -> sitk.Image:
    """Mask (1 inside) of a box markup on the grid of an image.

    Raises:
        SceneError: if no voxel lies in the box.
    """
    to_object = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(region.GetObjectToWorldMatrix(), to_object)
    width, height, depth = reference.GetSize()
    index = np.stack(np.meshgrid(*(np.arange(n) for n in (depth, height, width)), indexing="ij")[::-1], axis=-1)
    axes = np.array(reference.GetDirection()).reshape(3, 3) * np.array(reference.GetSpacing())
    points = (index @ axes.T + np.array(reference.GetOrigin())) * (-1.0, -1.0, 1.0)
    world_to_object = volumes.matrix_to_array(to_object)
    local = points @ world_to_object[:3, :3].T + world_to_object[:3, 3]
    inside = (np.abs(local) <= np.array(region.GetSize()) / 2).all(axis=-1)
    if not inside.any():
        text = _("The region {name} lies outside the fixed volume. Move it, or select none.")
        raise SceneError(text.format(name=region.GetName()))
    mask = sitk.GetImageFromArray(inside.astype(np.uint8))
    mask.CopyInformation(reference)
    return mask
