"""From the scene into a job folder, and from a job folder into the scene."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer
import vtk

from . import markups, results, segmentations, tables, transforms, volumes
from .color_map import show_as_jacobian
from .errors import SceneError

OUTPUTS = ("warped", "segmentation", "jacobian", "table", "landmarks", "report")


@dataclass
class Inputs:
    """What a run takes from the scene.

    Args:
        fixed, moving: scalar volumes.
        fixed_segmentation, moving_segmentation: segmentations that belong to them.
        matches: pairs of segment ids (fixed, moving); None matches by name.
        fixed_landmarks, moving_landmarks: corresponding points.
        initial_transform: transform from which registration starts: the moving volume under it is nearly right.
        region: box to which the registration is limited.
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

    def problem(self) -> str:
        """What is missing, in a sentence; empty if registration can start."""
        for name, node in (("fixed", self.fixed), ("moving", self.moving)):
            reason = volumes.reason_against(node)
            if reason:
                return f"Select a {name} volume: {reason}"
        if self.fixed is self.moving:
            return "Fixed and moving are the same volume. Select two different ones."
        if (self.fixed_landmarks is None) != (self.moving_landmarks is None):
            return "Select landmarks of both volumes, or of neither."
        if self.fixed_landmarks is not None and self.fixed_landmarks is self.moving_landmarks:
            return "Fixed and moving landmarks are the same list. Select two different ones."
        return ""

    def gone(self) -> str:
        """Why the results of a run cannot be taken in any more; empty if they can."""
        for name, node in (("fixed", self.fixed), ("moving", self.moving)):
            if node.GetScene() is None:
                return f"The {name} volume was removed from the scene, so the result was discarded."
        return ""


@dataclass
class Targets:
    """Nodes to overwrite, by role; a role without a node gets a new one. ``wanted`` are the roles that are made."""

    nodes: dict[str, Any] = field(default_factory=dict)
    wanted: frozenset[str] = frozenset(OUTPUTS)

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
    landmark_names: list[str]


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
    names = _write_landmarks(inputs, folder, payload)
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
    if "report" in targets.wanted:
        outputs["report"] = "report.html"
    payload |= {key: str(folder / name) for key, name in outputs.items()}
    return Prepared(payload, labels, warnings, names)


def _write_segmentations(
    inputs: Inputs, images: Mapping[str, sitk.Image], folder: Path, payload: dict[str, Any]
) -> tuple[list[segmentations.SegmentLabel], list[str]]:
    """Write both label maps; matched segments get the same value and, in the files, the fixed name."""
    nodes = {"fixed": inputs.fixed_segmentation, "moving": inputs.moving_segmentation}
    chosen: dict[str, list[str] | None] = {"fixed": None, "moving": None}
    renamed: dict[str, str] = {}
    if nodes["fixed"] is not None and nodes["moving"] is not None:
        pairs = inputs.matches
        if pairs is None:
            pairs = segmentations.match_by_name(nodes["fixed"], nodes["moving"])
        names = segmentations.segment_names(nodes["fixed"])
        renamed = {moving: names[fixed] for fixed, moving in pairs}
        first = {"fixed": [pair[0] for pair in pairs], "moving": [pair[1] for pair in pairs]}
        for side, node in nodes.items():
            chosen[side] = first[side] + [i for i in segmentations.segment_names(node) if i not in first[side]]
    labels: list[segmentations.SegmentLabel] = []
    warnings: list[str] = []
    for side, node in nodes.items():
        if node is None:
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


def _write_landmarks(inputs: Inputs, folder: Path, payload: dict[str, Any]) -> list[str]:
    if inputs.fixed_landmarks is None:
        return []
    fixed, moving, names = markups.landmark_pairs(inputs.fixed_landmarks, inputs.moving_landmarks)
    path = folder / "landmarks.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["fixed_x", "fixed_y", "fixed_z", "moving_x", "moving_y", "moving_z"])
        writer.writerows(np.hstack([fixed, moving]).tolist())
    payload["landmarks"] = str(path)
    return names


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
        raise SceneError(f"The region {region.GetName()} lies outside the fixed volume. Move it, or select none.")
    mask = sitk.GetImageFromArray(inside.astype(np.uint8))
    mask.CopyInformation(reference)
    return mask


def collect(
    inputs: Inputs, targets: Targets, settings: Mapping[str, Any], prepared: Prepared, metrics: Mapping[str, Any]
) -> results.RunResult:
    """Take the files of a finished job into the scene.

    Raises:
        SceneError: if fixed or moving volume are gone; the scene is then left as it is.
    """
    gone = inputs.gone()
    if gone:
        raise SceneError(gone)
    number = results.next_number()
    payload = prepared.payload
    label = f"{inputs.moving.GetName()} to {inputs.fixed.GetName()}, run {number}"
    attributes = {
        "model": str(metrics.get("model") or "none"),
        "settings": json.dumps(dict(settings)),
        "version": str((metrics.get("provenance") or {}).get("version", "")),
    }
    made: dict[str, Any] = {
        "fixed": inputs.fixed,
        "moving": inputs.moving,
        "fixed_segmentation": _present(inputs.fixed_segmentation),
        "moving_segmentation": _present(inputs.moving_segmentation),
        "fixed_landmarks": _present(inputs.fixed_landmarks),
        "moving_landmarks": _present(inputs.moving_landmarks),
    }
    made["transform"] = transforms.read_transform(
        payload["output_transform"],
        f"{label} transform",
        targets.node("transform"),
        fixed=inputs.fixed,
        moving=inputs.moving,
        attributes=attributes,
    )
    if "warped" in targets.wanted:
        made["warped"] = volumes.read_volume(payload["output_volume"], f"{label} warped", targets.node("warped"))
        volumes.share_window(inputs.fixed, made["warped"])
    if "output_jacobian" in payload:
        made["jacobian"] = volumes.read_volume(
            payload["output_jacobian"], f"{label} Jacobian", targets.node("jacobian")
        )
        show_as_jacobian(made["jacobian"])
    if "output_segmentation" in payload and Path(payload["output_segmentation"]).exists():
        made["segmentation"] = segmentations.read_label_map(
            payload["output_segmentation"],
            prepared.moving_labels,
            f"{label} labels",
            targets.node("segmentation"),
            inputs.fixed,
        )
    _collect_measures(made, targets, payload, metrics, label)
    if "landmarks" in targets.wanted and _present(inputs.fixed_landmarks):
        made["landmarks"] = carried_landmarks(
            inputs.fixed_landmarks, made["transform"], f"{label} landmarks", targets.node("landmarks")
        )
    return results.add_result(made, metrics, settings, number)


def _collect_measures(
    made: dict[str, Any], targets: Targets, payload: Mapping[str, Any], metrics: Mapping[str, Any], label: str
) -> None:
    if "table" in targets.wanted:
        made["table"] = tables.metrics_table(metrics, f"{label} metrics", targets.node("table"))
    if metrics.get("folds"):
        made["folds"] = markups.fold_points(metrics["folds"], f"{label} folds")
        made["folds"].GetDisplayNode().SetVisibility(False)
    if "report" in payload and Path(payload["report"]).exists():
        report = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", f"{label} report")
        report.SetForceCreateStorageNode(True)
        report.SetText(Path(payload["report"]).read_text(encoding="utf-8"))
        made["report"] = report


def carried_landmarks(fixed: Any, transform: Any, name: str, node: Any = None) -> Any:
    """The fixed landmarks where the transform puts them in the moving volume."""
    points, names = markups.points_lps(fixed)
    from_parent = transform.GetTransformFromParent()
    ras = [from_parent.TransformPoint((-x, -y, z)) for x, y, z in points]
    moved = np.array(ras).reshape(-1, 3) * (-1.0, -1.0, 1.0)
    return markups.points_node(moved, names, name, node)


def _present(node: Any) -> Any:
    return node if node is not None and node.GetScene() is not None else None
