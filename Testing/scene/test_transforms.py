"""Transform nodes against ITK: the direction, the axes, the interpolation."""

from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from .conftest import itk_warped


def resampled_by_slicer(moving: Any, fixed: Any) -> np.ndarray:
    """The moving volume under its transform on the fixed grid, sampled by VTK through MRML's own world transform."""
    import slicer
    import vtk

    ijk_to_ras, ras_to_ijk = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    fixed.GetIJKToRASMatrix(ijk_to_ras)
    moving.GetRASToIJKMatrix(ras_to_ijk)
    world = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, moving.GetParentTransformNode(), world)
    whole = vtk.vtkGeneralTransform()
    whole.PostMultiply()
    whole.Concatenate(ijk_to_ras)
    whole.Concatenate(world)
    whole.Concatenate(ras_to_ijk)
    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(moving.GetImageData())
    reslice.SetResliceTransform(whole)
    reslice.SetInterpolationModeToLinear()
    reslice.SetOutputOrigin(0, 0, 0)
    reslice.SetOutputSpacing(1, 1, 1)
    reslice.SetOutputExtent(fixed.GetImageData().GetExtent())
    reslice.Update()
    output = slicer.vtkMRMLScalarVolumeNode()
    output.SetAndObserveImageData(reslice.GetOutput())
    return slicer.util.arrayFromVolume(output).copy()


@pytest.fixture
def scene(application: Any, fixed_image: sitk.Image, moving_image: sitk.Image, field: sitk.Image) -> Any:
    from DeepLargeDeformRegLib.scene import transforms, volumes

    fixed = volumes.volume_from_image(fixed_image, "fixed")
    moving = volumes.volume_from_image(moving_image, "moving")
    node = transforms.transform_from_field(
        field, "fixed to moving", fixed=fixed, moving=moving, attributes={"model": "none"}
    )
    return fixed, moving, node


def test_moving_volume_under_the_node_lands_on_the_fixed_one(
    scene: Any, moving_image: sitk.Image, field: sitk.Image
) -> None:
    fixed, moving, node = scene
    moving.SetAndObserveTransformNodeID(node.GetID())
    expected = sitk.GetArrayFromImage(itk_warped(moving_image, field))
    span = expected.max() - expected.min()
    np.testing.assert_allclose(resampled_by_slicer(moving, fixed), expected, atol=1e-4 * span)
    assert np.abs(sitk.GetArrayFromImage(sitk.Resample(moving_image, field)) - expected).max() > 0.2 * span


def test_linear_and_grid_parts_together_are_the_field(
    scene: Any, moving_image: sitk.Image, field: sitk.Image
) -> None:
    from DeepLargeDeformRegLib.scene import transforms

    fixed, moving, _ = scene
    matrix = np.array([[1.02, 0.03, 0.0, 1.0], [-0.02, 0.98, 0.01, -2.0], [0.0, 0.01, 1.0, 1.5], [0, 0, 0, 1.0]])
    linear, _grid = transforms.linear_and_grid(field, matrix, "parts")
    moving.SetAndObserveTransformNodeID(linear.GetID())
    expected = sitk.GetArrayFromImage(itk_warped(moving_image, field))
    span = expected.max() - expected.min()
    np.testing.assert_allclose(resampled_by_slicer(moving, fixed), expected, atol=1e-3 * span)


def test_node_keeps_references_and_records(scene: Any) -> None:
    from DeepLargeDeformRegLib.scene import transforms

    fixed, moving, node = scene
    assert node.GetNodeReference(transforms.FIXED_ROLE) is fixed
    assert node.GetNodeReference(transforms.MOVING_ROLE) is moving
    assert node.GetAttribute("DeepLargeDeformReg.model") == "none"


def test_overwriting_keeps_the_node(scene: Any, field: sitk.Image) -> None:
    import slicer
    from DeepLargeDeformRegLib.scene import transforms

    node = scene[2]
    count = slicer.mrmlScene.GetNumberOfNodes()
    assert transforms.transform_from_field(field, "other", node) is node
    assert slicer.mrmlScene.GetNumberOfNodes() == count


@pytest.mark.parametrize("ending", [".h5", ".tfm", ".nrrd", ".mha", ".nii.gz"])
def test_exported_file_is_the_same_for_itk(scene: Any, field: sitk.Image, tmp_path: Any, ending: str) -> None:
    from DeepLargeDeformRegLib.scene import transforms

    path = tmp_path / f"transform{ending}"
    transforms.export_transform(scene[2], path)
    node = transforms.read_transform(path, "again")
    point = field.TransformIndexToPhysicalPoint((10, 12, 7))
    expected = np.array(point) + field[10, 12, 7]
    found = node.GetTransformFromParent().TransformPoint((-point[0], -point[1], point[2]))
    np.testing.assert_allclose(found * np.array([-1, -1, 1]), expected, atol=1e-4)


def test_inverse_is_a_grid_that_leads_back(scene: Any, field: sitk.Image) -> None:
    from DeepLargeDeformRegLib.scene import transforms

    _fixed, moving, node = scene
    inverse = transforms.inverse_grid(node, moving, "inverse")
    for index in ((10, 12, 8), (12, 10, 9)):
        point = field.TransformIndexToPhysicalPoint(index)
        ras = np.array([-point[0], -point[1], point[2]])
        moved = node.GetTransformFromParent().TransformPoint(ras)
        np.testing.assert_allclose(inverse.GetTransformFromParent().TransformPoint(moved), ras, atol=0.3)


def test_wrong_image_is_refused(application: Any, fixed_image: sitk.Image) -> None:
    from DeepLargeDeformRegLib.scene import transforms
    from DeepLargeDeformRegLib.scene.errors import SceneError

    with pytest.raises(SceneError, match="three values"):
        transforms.transform_from_field(fixed_image, "no field")
