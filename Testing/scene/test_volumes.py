"""Volumes of the scene as LPS images."""

from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk


def test_image_comes_back_with_its_geometry(application: Any, fixed_image: sitk.Image) -> None:
    from DeepLargeDeformRegLib.scene import volumes

    back = volumes.image_of(volumes.volume_from_image(fixed_image, "fixed"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(fixed_image))
    for name in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(back, name)(), getattr(fixed_image, name)(), atol=1e-9)


def test_file_is_what_slicer_itself_reads(application: Any, fixed_image: sitk.Image, tmp_path: Any) -> None:
    import slicer
    from DeepLargeDeformRegLib.scene import volumes

    node = volumes.volume_from_image(fixed_image, "fixed")
    volumes.write_volume(node, tmp_path / "fixed.nrrd")
    loaded = slicer.util.loadVolume(str(tmp_path / "fixed.nrrd"))
    first, second = slicer.vtkMRMLVolumeNode, slicer.util.arrayFromVolume(loaded)
    assert loaded.IsA(first.__name__)
    np.testing.assert_array_equal(second, sitk.GetArrayFromImage(fixed_image))
    for get in ("GetOrigin", "GetSpacing"):
        np.testing.assert_allclose(getattr(loaded, get)(), getattr(node, get)(), atol=1e-5)


def test_rigid_parent_is_applied_in_the_header(application: Any, fixed_image: sitk.Image) -> None:
    import slicer
    from DeepLargeDeformRegLib.scene import transforms, volumes

    node = volumes.volume_from_image(fixed_image, "fixed")
    matrix = np.eye(4)
    matrix[:3, 3] = (10.0, -20.0, 30.0)
    parent = transforms.linear_node(matrix, "shift")  # from parent: world to node, so the world is 10 mm back
    node.SetAndObserveTransformNodeID(parent.GetID())
    image = volumes.image_of(node)
    np.testing.assert_allclose(np.add(image.GetOrigin(), (10, -20, 30)), fixed_image.GetOrigin(), atol=1e-9)
    assert node.GetParentTransformNode() is parent
    assert slicer.util.arrayFromVolume(node).shape == sitk.GetArrayFromImage(image).shape


def test_shear_is_resampled(application: Any, fixed_image: sitk.Image) -> None:
    from DeepLargeDeformRegLib.scene import transforms, volumes

    node = volumes.volume_from_image(fixed_image, "fixed")
    matrix = np.eye(4)
    matrix[0, 1] = 0.3
    node.SetAndObserveTransformNodeID(transforms.linear_node(matrix, "shear").GetID())
    image = volumes.image_of(node)
    center = fixed_image.TransformContinuousIndexToPhysicalPoint([11.5, 12.5, 8.5])
    world = np.linalg.solve(matrix, [*center, 1.0])[:3]
    expected = fixed_image.EvaluateAtContinuousIndex([11.5, 12.5, 8.5])
    found = image.EvaluateAtPhysicalPoint(world.tolist())
    assert found == pytest.approx(expected, abs=0.15 * float(sitk.GetArrayFromImage(fixed_image).std()))


def test_grid_parent_is_hardened_in_a_copy(application: Any, fixed_image: sitk.Image, field: sitk.Image) -> None:
    import slicer
    from DeepLargeDeformRegLib.scene import transforms, volumes

    node = volumes.volume_from_image(fixed_image, "fixed")
    before = slicer.util.arrayFromVolume(node).copy()
    count = slicer.mrmlScene.GetNumberOfNodes()
    parent = transforms.transform_from_field(field, "field")
    node.SetAndObserveTransformNodeID(parent.GetID())
    image = volumes.image_of(node)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), before)
    assert not np.array_equal(sitk.GetArrayFromImage(image), before)
    assert slicer.mrmlScene.GetNumberOfNodes() == count + 1


def test_what_cannot_be_registered_is_refused_with_a_reason(application: Any) -> None:
    import slicer
    from DeepLargeDeformRegLib.scene import volumes
    from DeepLargeDeformRegLib.scene.errors import SceneError

    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    vector = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "vector")
    slicer.util.updateVolumeFromArray(vector, np.zeros((4, 4, 4, 3), np.float32))
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    flat = slicer.util.addVolumeFromArray(np.zeros((1, 8, 8), np.float32), name="flat")
    for node, words in ((labels, "label map"), (vector, "scalar"), (empty, "no image data"), (flat, "single slice")):
        assert words in volumes.reason_against(node)
        with pytest.raises(SceneError, match=words):
            volumes.image_of(node)
    assert volumes.reason_against(None)
