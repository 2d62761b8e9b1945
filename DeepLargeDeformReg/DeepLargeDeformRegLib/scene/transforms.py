"""Displacement fields as transform nodes.

An ITK displacement field (fixed to moving, LPS, mm) is the node's transform *from* parent: with the moving volume
under the node, the volume lands on the fixed one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util import numpy_support

from ..core.raw_nrrd import RawFile, open_raw_nrrd
from .errors import SceneError
from .lazy_sitk import sitk
from .volumes import RAS_TO_LPS, array_to_matrix, remove_node

FIXED_ROLE = "DeepLargeDeformReg.fixed"
MOVING_ROLE = "DeepLargeDeformReg.moving"
ATTRIBUTE_PREFIX = "DeepLargeDeformReg."
LPS_TO_RAS = (-1.0, -1.0, 1.0)


def _grid_transform(field: sitk.Image | RawFile) -> Any:
    """vtkOrientedGridTransform (RAS) of an LPS displacement field."""
    if isinstance(field, RawFile):
        (depth, height, width), scalars = field.shape[:3], _vectors_of_file(field)
        spacing, origin, directions = field.spacing, field.origin, field.direction
    else:
        vectors = sitk.GetArrayViewFromImage(field) * np.array(LPS_TO_RAS)
        depth, height, width = vectors.shape[:3]
        scalars = numpy_support.numpy_to_vtk(vectors.reshape(-1, 3), deep=True)
        spacing, origin, directions = field.GetSpacing(), field.GetOrigin(), field.GetDirection()
    data = vtk.vtkImageData()
    data.SetDimensions(width, height, depth)
    data.SetSpacing(spacing)
    data.SetOrigin(np.array(origin) * LPS_TO_RAS)
    scalars.SetName("displacement")
    data.GetPointData().SetScalars(scalars)
    direction = np.eye(4)
    direction[:3, :3] = RAS_TO_LPS[:3, :3] @ np.array(directions).reshape(3, 3)
    grid = slicer.vtkOrientedGridTransform()
    grid.SetDisplacementGridData(data)
    grid.SetGridDirectionMatrix(array_to_matrix(direction))
    grid.SetInterpolationModeToLinear()
    return grid


def _vectors_of_file(file: RawFile) -> Any:
    """Vectors (RAS), single precision, read straight into VTK's memory."""
    scalars = vtk.vtkFloatArray()
    scalars.SetNumberOfComponents(3)
    scalars.SetNumberOfTuples(file.shape[0] * file.shape[1] * file.shape[2])
    file.read(factors=LPS_TO_RAS, out=numpy_support.vtk_to_numpy(scalars))
    return scalars


def new_grid_node(name: str) -> Any:
    """An empty transform node that can hold a grid, of the class that this Slicer prefers."""
    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", name)


def transform_from_field(
    field: sitk.Image | RawFile,
    name: str,
    node: Any = None,
    fixed: Any = None,
    moving: Any = None,
    attributes: dict[str, str] | None = None,
) -> Any:
    """Grid transform node of a displacement field.

    Args:
        field: vector image or file, displacement (x, y, z) in mm, LPS, from fixed to moving points.
        name: name of a new node.
        node: transform node to overwrite instead.
        fixed: fixed volume, kept as node reference.
        moving: moving volume, kept as node reference.
        attributes: what is recorded in the node, as model, version and settings.

    Raises:
        SceneError: if the image is not a 3D vector field.
    """
    if isinstance(field, RawFile):
        is_field = field.is_field
    else:
        is_field = field.GetDimension() == 3 and field.GetNumberOfComponentsPerPixel() == 3
    if not is_field:
        raise SceneError(_("The displacement field must be a 3D image with three values per voxel."))
    if node is None:
        node = new_grid_node(name)
    node.SetAndObserveTransformFromParent(_grid_transform(field))
    node.SetNodeReferenceID(FIXED_ROLE, fixed.GetID() if fixed else None)
    node.SetNodeReferenceID(MOVING_ROLE, moving.GetID() if moving else None)
    for key, value in (attributes or {}).items():
        node.SetAttribute(ATTRIBUTE_PREFIX + key, value)
    return node


def read_transform(path: str | Path, name: str, node: Any = None, **references: Any) -> Any:
    """Grid transform node of a field or transform file that the engine wrote."""
    path = Path(path)
    if path.suffix in (".h5", ".tfm", ".txt"):
        loaded = sitk.ReadTransform(str(path))
        if loaded.GetName() == "CompositeTransform":
            parts = sitk.CompositeTransform(loaded)
            loaded = parts.GetNthTransform(0) if parts.GetNumberOfTransforms() == 1 else loaded
        if loaded.GetName() != "DisplacementFieldTransform":
            raise SceneError(_("{name} does not hold one displacement field.").format(name=path.name))
        field = sitk.DisplacementFieldTransform(loaded).GetDisplacementField()
    else:
        field = open_raw_nrrd(path) or sitk.ReadImage(str(path))
    return transform_from_field(field, name, node, **references)


def keep_linear_interpolation(node: Any) -> None:
    """Set linear interpolation again: Slicer reads grids from files as cubic."""
    for grid in (
        node.GetTransformFromParentAs("vtkOrientedGridTransform", False),
        node.GetTransformToParentAs("vtkOrientedGridTransform", False),
    ):
        if grid is not None:
            grid.SetInterpolationModeToLinear()


def linear_node(matrix_lps: np.ndarray, name: str, node: Any = None) -> Any:
    """Linear transform node of a 4x4 matrix from fixed to moving points, LPS."""
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformFromParent(array_to_matrix(RAS_TO_LPS @ matrix_lps @ RAS_TO_LPS))
    return node


def split_linear(field: sitk.Image, matrix_lps: np.ndarray) -> sitk.Image:
    """The deformable rest s of a field phi = A o s: s(x) = A^-1 phi(x), on the same grid."""
    array = sitk.GetArrayFromImage(field).astype(np.float64)
    depth, height, width = array.shape[:3]
    index = np.stack(np.meshgrid(np.arange(depth), np.arange(height), np.arange(width), indexing="ij")[::-1], -1)
    axes = np.array(field.GetDirection()).reshape(3, 3) * np.array(field.GetSpacing())
    points = index @ axes.T + np.array(field.GetOrigin())
    inverse = np.linalg.inv(matrix_lps)
    rest = (points + array) @ inverse[:3, :3].T + inverse[:3, 3] - points
    image = sitk.GetImageFromArray(rest, isVector=True)
    image.CopyInformation(field)
    return image


def linear_and_grid(field: sitk.Image, matrix_lps: np.ndarray, name: str) -> tuple[Any, Any]:
    """Two nodes, (linear, grid): the linear one under the grid and the moving volume goes under the linear."""
    grid = transform_from_field(split_linear(field, matrix_lps), _("{name} (deformable part)").format(name=name))
    linear = linear_node(matrix_lps, _("{name} (linear part)").format(name=name))
    linear.SetAndObserveTransformNodeID(grid.GetID())
    return linear, grid


def inverse_grid(node: Any, reference: Any, name: str) -> Any:
    """The inverse of a transform as a grid of its own, sampled on the geometry of a volume.

    Args:
        node: transform node.
        reference: volume that covers the space of the inverse, that is the moving one.
        name: name of the new node.
    """
    copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "inverse")
    try:
        copy.SetAndObserveTransformFromParent(node.GetTransformToParent())
        inverse = slicer.modules.transforms.logic().ConvertToGridTransform(copy, reference)
    finally:
        remove_node(copy)
    if inverse is None:
        text = _("{name} could not be inverted. Check the transform for folds.")
        raise SceneError(text.format(name=node.GetName()))
    inverse.SetName(name)
    keep_linear_interpolation(inverse)
    return inverse


def export_transform(node: Any, path: str | Path) -> None:
    """Write a transform to .h5, .tfm, .nrrd, .mha or .nii.gz, as Slicer's own transform files.

    The node keeps the file that it is saved to with the scene.

    Raises:
        SceneError: if it could not be written.
    """
    problem = SceneError(
        _("{name} could not be written. Check the folder and the free space.").format(name=Path(path).name)
    )
    try:
        written = slicer.util.exportNode(node, str(path), {})
    except (RuntimeError, ValueError) as error:
        raise problem from error
    if not written:
        raise problem
