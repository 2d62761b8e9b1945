"""Scalar volume nodes to and from LPS images and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from ..core.raw_nrrd import RawImage, read_raw_nrrd, write_raw_nrrd
from .errors import SceneError
from .lazy_sitk import sitk

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def matrix_to_array(matrix: Any) -> np.ndarray:
    """4x4 float64 array of a vtkMatrix4x4."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def array_to_matrix(array: np.ndarray) -> Any:
    """vtkMatrix4x4 of a 4x4 array."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(array, dtype=float).ravel())
    return matrix


def reason_against(node: Any) -> str:
    """Why a node cannot be registered, in a sentence; empty if it can."""
    if node is None:
        return _("no volume is selected.")
    name = node.GetName()
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        return _("{name} is a label map. Select the scan, and give the labels as a segmentation.").format(name=name)
    if node.IsA("vtkMRMLTensorVolumeNode") or not node.IsA("vtkMRMLScalarVolumeNode"):
        return _("{name} is not a scalar volume. Select a CT or MR volume.").format(name=name)
    image = node.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0:
        return _("{name} has no image data. Load it again.").format(name=name)
    if image.GetNumberOfScalarComponents() != 1:
        text = _("{name} has {count} values per voxel. Select a scalar volume.")
        return text.format(name=name, count=image.GetNumberOfScalarComponents())
    if min(image.GetDimensions()) < 2:
        return _("{name} is a single slice. Registration needs a 3D volume.").format(name=name)
    return ""


def require_scalar_volume(node: Any) -> None:
    """Raise SceneError where :func:`reason_against` has one."""
    reason = reason_against(node)
    if reason:
        raise SceneError(_("This volume cannot be registered: {reason}").format(reason=reason))


def _image(array: np.ndarray, ijk_to_ras: np.ndarray) -> sitk.Image:
    ijk_to_lps = RAS_TO_LPS @ ijk_to_ras
    spacing = np.linalg.norm(ijk_to_lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((ijk_to_lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(ijk_to_lps[:3, 3].tolist())
    return image


def _is_rigid_grid(ijk_to_world: np.ndarray) -> bool:
    axes = ijk_to_world[:3, :3] / np.linalg.norm(ijk_to_world[:3, :3], axis=0)
    return bool(np.allclose(axes.T @ axes, np.eye(3), atol=1e-5))


def _resampled_from_shear(array: np.ndarray, ijk_to_ras: np.ndarray, to_world: np.ndarray) -> sitk.Image:
    """Resample a volume under a shearing transform onto an axis-aligned grid that holds all of it."""
    image = _image(array, ijk_to_ras)
    node_to_world = RAS_TO_LPS @ to_world @ RAS_TO_LPS
    size = np.array(image.GetSize())
    corners = np.array(np.meshgrid(*[(0.0, n - 1.0) for n in size])).reshape(3, -1)
    ijk_to_world = RAS_TO_LPS @ to_world @ ijk_to_ras
    points = ijk_to_world[:3, :3] @ corners + ijk_to_world[:3, 3:]
    spacing = float(min(image.GetSpacing()))
    transform = sitk.AffineTransform(3)
    inverse = np.linalg.inv(node_to_world)
    transform.SetMatrix(inverse[:3, :3].ravel().tolist())
    transform.SetTranslation(inverse[:3, 3].tolist())
    extent = points.max(axis=1) - points.min(axis=1)
    count = [int(np.ceil(length / spacing)) + 1 for length in extent]
    fill = float(array.min())
    return sitk.Resample(
        image, count, transform, sitk.sitkLinear, points.min(axis=1).tolist(), [spacing] * 3,
        [1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0], fill,
    )  # fmt: skip


def image_of(node: Any, any_kind: bool = False) -> sitk.Image:
    """The volume where it stands in the world, as an LPS image.

    Parent transforms are applied: rigid ones (with scaling) exactly, in the header; others by resampling a copy.

    Args:
        node: scalar volume node.
        any_kind: take label maps too.

    Raises:
        SceneError: if the node is no scalar volume.
    """
    if not any_kind:
        require_scalar_volume(node)
    ijk_to_ras = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(ijk_to_ras)
    local = matrix_to_array(ijk_to_ras)
    array = slicer.util.arrayFromVolume(node)  # what is made of it below is a copy
    parent = node.GetParentTransformNode()
    if parent is None:
        return _image(array, local)
    if parent.IsTransformToWorldLinear():
        matrix = vtk.vtkMatrix4x4()
        parent.GetMatrixTransformToWorld(matrix)
        to_world = matrix_to_array(matrix)
        if _is_rigid_grid(to_world @ local):
            return _image(array, to_world @ local)
        return _resampled_from_shear(array, local, to_world)
    copy = slicer.modules.volumes.logic().CloneVolume(slicer.mrmlScene, node, "hardened copy")
    try:
        copy.SetAndObserveTransformNodeID(parent.GetID())
        copy.HardenTransform()
        copy.GetIJKToRASMatrix(ijk_to_ras)
        return _image(slicer.util.arrayFromVolume(copy).copy(), matrix_to_array(ijk_to_ras))
    finally:
        remove_node(copy)


def leave_views(node: Any) -> None:
    """Take a volume out of the slice views: Slicer would put a neighbor into its place when it is removed."""
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        for layer in ("Background", "Foreground", "Label"):
            if getattr(composite, f"Get{layer}VolumeID")() == node.GetID():
                getattr(composite, f"Set{layer}VolumeID")(None)


def remove_node(node: Any) -> None:
    """Remove a node together with its own display and storage nodes."""
    if node is None or node.GetScene() is None:
        return
    if node.IsA("vtkMRMLVolumeNode"):
        leave_views(node)
    scene = node.GetScene()
    own = []
    if node.IsA("vtkMRMLDisplayableNode"):
        own += [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]
    if node.IsA("vtkMRMLStorableNode"):
        own += [node.GetNthStorageNode(index) for index in range(node.GetNumberOfStorageNodes())]
    scene.RemoveNode(node)
    for other in own:
        if other is not None and other.GetScene() is not None:
            scene.RemoveNode(other)


def set_image(node: Any, image: sitk.Image) -> None:
    """Give a volume node the voxels and the geometry of an LPS image."""
    array = sitk.GetArrayViewFromImage(image)
    _set_voxels(node, RawImage(array, image.GetSpacing(), image.GetOrigin(), image.GetDirection()))


def _set_voxels(node: Any, image: RawImage) -> None:
    ijk_to_lps = np.eye(4)
    ijk_to_lps[:3, :3] = np.array(image.direction).reshape(3, 3) * np.array(image.spacing)
    ijk_to_lps[:3, 3] = image.origin
    slicer.util.updateVolumeFromArray(node, image.array)
    node.SetIJKToRASMatrix(array_to_matrix(RAS_TO_LPS @ ijk_to_lps))
    node.SetAndObserveTransformNodeID(None)


def volume_from_image(image: sitk.Image, name: str, node: Any = None) -> Any:
    """Volume node of an LPS image: ``node`` overwritten, or a new one of that name."""
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    set_image(node, image)
    node.CreateDefaultDisplayNodes()
    return node


def same_grid(first: Any, second: Any) -> bool:
    """True if two volumes have the same voxels in the scene."""
    if first.GetImageData().GetDimensions() != second.GetImageData().GetDimensions():
        return False
    matrices = []
    for node in (first, second):
        matrix = vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(matrix)
        matrices.append(matrix_to_array(matrix))
    return bool(np.allclose(matrices[0], matrices[1], atol=1e-3))


def share_window(source: Any, target: Any) -> None:
    """Show ``target`` with the gray window of ``source``."""
    source.CreateDefaultDisplayNodes()
    target.CreateDefaultDisplayNodes()
    window, level = source.GetDisplayNode().GetWindow(), source.GetDisplayNode().GetLevel()
    display = target.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevel(window, level)
    display.SetAndObserveColorNodeID(source.GetDisplayNode().GetColorNodeID())


def write_volume(node: Any, path: str | Path) -> sitk.Image:
    """Write a volume where it stands in the world to an LPS file; return the image that was written.

    A .nrrd file is written without compression, straight from memory.

    Raises:
        OSError: if it could not be written.
    """
    image = image_of(node)
    array = sitk.GetArrayViewFromImage(image)
    if Path(path).suffix == ".nrrd" and array.dtype.itemsize < 8:
        write_raw_nrrd(array, image.GetSpacing(), image.GetOrigin(), image.GetDirection(), Path(path))
    else:
        sitk.WriteImage(image, str(path))
    return image


def read_volume(path: str | Path, name: str, node: Any = None) -> Any:
    """Volume node of a file that the engine wrote."""
    raw = read_raw_nrrd(path)
    if raw is None:
        return volume_from_image(sitk.ReadImage(str(path)), name, node)
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    _set_voxels(node, raw)
    node.CreateDefaultDisplayNodes()
    return node
