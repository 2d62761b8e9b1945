"""Segmentations as exact label maps, and back."""

from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

TERMS = "Segmentation category and type~SCT^123037004^Anatomical Structure~SCT^10200004^Liver~^^~Anatomic codes~^^~^^"


@pytest.fixture
def label_image(fixed_image: sitk.Image) -> sitk.Image:
    array = np.zeros(fixed_image.GetSize()[::-1], dtype=np.uint16)
    array[3:9, 4:12, 5:15] = 1
    array[10:15, 12:20, 3:9] = 2
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(fixed_image)
    return image


@pytest.fixture
def segmentation(application: Any, label_image: sitk.Image) -> Any:
    from DeepLargeDeformRegLib.scene.segmentations import SegmentLabel, segmentation_from_label_map

    labels = [
        SegmentLabel(value=1, segment_id="a", name="Liver", color=(0.8, 0.4, 0.3), terminology=TERMS),
        SegmentLabel(value=2, segment_id="b", name="Left kidney", color=(0.1, 0.5, 0.9)),
    ]
    return segmentation_from_label_map(label_image, labels, "organs")


def test_label_map_comes_back_exactly(segmentation: Any, label_image: sitk.Image) -> None:
    from DeepLargeDeformRegLib.scene.segmentations import label_map_of

    image, labels, warnings = label_map_of(segmentation, label_image)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(label_image))
    assert [label.name for label in labels] == ["Liver", "Left kidney"]
    assert labels[0].terminology == TERMS
    assert "Tissue" in labels[1].terminology  # what Slicer gives a segment that has none
    np.testing.assert_allclose(labels[0].color, (0.8, 0.4, 0.3), atol=1e-6)
    assert warnings == []


def test_other_geometry_is_resampled_by_nearest_neighbor(segmentation: Any, label_image: sitk.Image) -> None:
    from DeepLargeDeformRegLib.scene.segmentations import label_map_of

    finer = sitk.Expand(label_image, [2, 2, 2], sitk.sitkNearestNeighbor)
    image, _labels, _warnings = label_map_of(segmentation, finer)
    for value in (1, 2):
        volumes = [
            (sitk.GetArrayFromImage(one) == value).sum() * np.prod(one.GetSpacing()) for one in (image, label_image)
        ]
        assert volumes[0] == pytest.approx(volumes[1], rel=0.05)


def test_engine_reads_the_file_with_names_and_terminology(
    segmentation: Any, label_image: sitk.Image, tmp_path: Any
) -> None:
    from DeepLargeDeformRegLib.core.files.label_maps import read_label_map
    from DeepLargeDeformRegLib.scene.segmentations import write_label_map

    write_label_map(segmentation, label_image, tmp_path / "organs.seg.nrrd", names={"b": "Kidney"})
    found = read_label_map(tmp_path / "organs.seg.nrrd")
    np.testing.assert_array_equal(found.array, sitk.GetArrayFromImage(label_image))
    assert [label.name for label in found.labels] == ["Liver", "Kidney"]
    assert found.labels[0].terminology == TERMS


def test_segments_are_matched_by_name(segmentation: Any, label_image: sitk.Image) -> None:
    from DeepLargeDeformRegLib.scene.segmentations import SegmentLabel, match_by_name, segmentation_from_label_map

    labels = [
        SegmentLabel(value=1, segment_id="x", name="left_kidney", color=(1, 0, 0)),
        SegmentLabel(value=2, segment_id="y", name="Spleen", color=(0, 1, 0)),
    ]
    other = segmentation_from_label_map(label_image, labels, "other")
    assert match_by_name(segmentation, other) == [("b", "x")]


def test_empty_and_foreign_segments_are_said(segmentation: Any, label_image: sitk.Image) -> None:
    import slicer
    from DeepLargeDeformRegLib.scene.errors import SceneError
    from DeepLargeDeformRegLib.scene.segmentations import label_map_of

    segmentation.GetSegmentation().AddEmptySegment("empty", "Nothing")
    _image, _labels, warnings = label_map_of(segmentation, label_image)
    assert any("Nothing" in warning for warning in warnings)
    blank = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "blank")
    with pytest.raises(SceneError, match="no segments"):
        label_map_of(blank, label_image)
    far = sitk.Image(label_image)
    far.SetOrigin((5000.0, 0.0, 0.0))
    with pytest.raises(SceneError, match="belong to this volume"):
        label_map_of(segmentation, far)


def test_segmentation_under_a_transform_stands_in_the_world(segmentation: Any, label_image: sitk.Image) -> None:
    from DeepLargeDeformRegLib.scene.segmentations import label_map_of
    from DeepLargeDeformRegLib.scene.transforms import linear_node

    matrix = np.eye(4)
    matrix[:3, 3] = (30.0, -20.0, 10.0)
    segmentation.SetAndObserveTransformNodeID(linear_node(matrix, "shift").GetID())
    moved = sitk.Image(label_image)
    moved.SetOrigin((np.array(label_image.GetOrigin()) - matrix[:3, 3]).tolist())
    image, _labels, _warnings = label_map_of(segmentation, moved)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(label_image))
