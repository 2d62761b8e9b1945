"""Other nodes of the moving side, brought onto the fixed volume."""

from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.core.metrics import Metrics

from .conftest import itk_warped


@pytest.fixture
def run(application: Any, fixed_image: sitk.Image, moving_image: sitk.Image, field: sitk.Image) -> Any:
    from DeepLargeDeformRegLib.scene import results, transforms
    from DeepLargeDeformRegLib.scene.volumes import volume_from_image

    fixed, moving = volume_from_image(fixed_image, "fixed"), volume_from_image(moving_image, "moving")
    transform = transforms.transform_from_field(field, "transform")
    return results.add_result({"fixed": fixed, "moving": moving, "transform": transform}, Metrics(), {})


def test_field_of_a_node_is_the_one_it_was_made_from(run: Any, field: sitk.Image) -> None:
    from DeepLargeDeformRegLib.scene.apply import field_of

    found = field_of(run.get("transform"))
    np.testing.assert_allclose(sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(field), atol=1e-5)
    for name in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(found, name)(), getattr(field, name)(), atol=1e-6)


def test_copies_of_all_kinds_lie_where_itk_puts_them(run: Any, moving_image: sitk.Image, field: sitk.Image) -> None:
    """A further phase of the moving scan, overlapping segments, points and a model; the originals stay."""
    import slicer
    import vtk
    from DeepLargeDeformRegLib.scene import apply, markups
    from DeepLargeDeformRegLib.scene.segmentations import SegmentLabel, segmentation_from_label_maps
    from DeepLargeDeformRegLib.scene.volumes import volume_from_image

    phase = moving_image * 0.5 - 900
    masks = {name: np.zeros(moving_image.GetSize()[::-1], dtype=np.uint8) for name in ("organ", "lesion")}
    masks["organ"][8:26, 10:34, 10:34] = 1
    masks["lesion"][14:20, 16:26, 16:26] = 1  # within the organ
    maps = []
    for name, mask in masks.items():
        image = sitk.GetImageFromArray(mask)
        image.CopyInformation(moving_image)
        maps.append((image, SegmentLabel(value=1, segment_id=name, name=name, color=(0.8, 0.4, 0.3))))
    start = np.array(field.TransformIndexToPhysicalPoint((10, 12, 8)))
    end = start + np.array(field[10, 12, 8])
    sphere = vtk.vtkSphereSource()
    sphere.SetCenter(-end[0], -end[1], end[2])
    sphere.SetRadius(0.2)
    sphere.Update()
    model = slicer.modules.models.logic().AddModel(sphere.GetOutput())
    nodes = [
        volume_from_image(phase, "late phase"),
        segmentation_from_label_maps(maps, "organs"),
        markups.points_node(end[None], ["lesion"], "marks"),
        model,
    ]
    volume, segmentation, points, surface = apply.copies(nodes, run)
    expected = sitk.Resample(
        phase, field, sitk.DisplacementFieldTransform(sitk.Image(field)), sitk.sitkLinear,
        float(sitk.GetArrayViewFromImage(phase).min()),
    )  # fmt: skip
    np.testing.assert_allclose(slicer.util.arrayFromVolume(volume), sitk.GetArrayFromImage(expected), atol=0.05)
    for image, label in maps:
        found = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, label.segment_id, run.get("fixed"))
        wanted = sitk.GetArrayFromImage(itk_warped(image, field, sitk.sitkNearestNeighbor))
        assert wanted.sum() > 20
        assert (found != wanted).sum() <= 2, label.name
    np.testing.assert_allclose(points.GetNthControlPointPositionWorld(0) * np.array([-1, -1, 1]), start, atol=0.05)
    center = np.array(surface.GetPolyData().GetCenter()) * (-1, -1, 1)
    np.testing.assert_allclose(center, start, atol=0.1)
    assert all(node.GetParentTransformNode() is None for node in (*nodes, volume, segmentation, points, surface))


def test_one_unusable_node_leaves_the_scene_as_it_was(run: Any) -> None:
    import slicer
    from DeepLargeDeformRegLib.scene import apply
    from DeepLargeDeformRegLib.scene.errors import SceneError

    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "numbers")
    count = slicer.mrmlScene.GetNumberOfNodes()
    for action in (lambda nodes: apply.copies(nodes, run), lambda nodes: apply.apply_to(nodes, run.get("transform"))):
        with pytest.raises(SceneError, match="numbers cannot be transformed"):
            action([run.get("moving"), table])
        assert run.get("moving").GetParentTransformNode() is None
        assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 2
    assert slicer.mrmlScene.GetNumberOfNodes() == count + 1 or slicer.mrmlScene.GetNumberOfNodes() == count
