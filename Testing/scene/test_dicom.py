"""A result in the scene as DICOM objects: from volumes that Slicer loaded from its DICOM database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.metrics import Metrics

from Testing.dicom_series import write_series

from .conftest import METRICS


def load(volume: Any, image: sitk.Image, folder: Path) -> None:
    """As Slicer's DICOM module does: the series is in the database, and the volume knows its instances."""
    import slicer

    voxels = sitk.GetArrayFromImage(image).astype(np.int16)
    files = write_series(folder, voxels, ImageGrid.from_image(image))
    slicer.dicomDatabase.files |= {instance: str(path) for instance, path in files.items()}
    volume.SetAttribute("DICOM.instanceUIDs", " ".join(files))


@pytest.fixture
def run(nodes: Any, fixed_image: sitk.Image, field: sitk.Image) -> Any:
    """A result with a transform and a segmentation on the fixed volume."""
    from DeepLargeDeformRegLib.scene import results, segmentations, transforms

    array = np.zeros(fixed_image.GetSize()[::-1], dtype=np.uint16)
    array[4:12, 6:18, 5:15] = 1
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(fixed_image)
    label = segmentations.SegmentLabel(value=1, segment_id="liver", name="Liver", color=(0.8, 0.4, 0.3))
    segmentation = segmentations.segmentation_from_label_map(image, [label], "propagated")
    transform = transforms.transform_from_field(field, "transform", fixed=nodes[0], moving=nodes[1])
    roles = {"fixed": nodes[0], "moving": nodes[1], "transform": transform, "segmentation": segmentation}
    return results.add_result(roles, Metrics.from_json(METRICS), {})


def test_objects_refer_to_the_series_and_hold_the_field(
    run: Any, fixed_image: sitk.Image, moving_image: sitk.Image, field: sitk.Image, tmp_path: Path
) -> None:
    from DeepLargeDeformRegLib.scene.dicom import save_dicom

    load(run.get("fixed"), fixed_image, tmp_path / "fixed")
    load(run.get("moving"), moving_image, tmp_path / "moving")
    paths = save_dicom(run, tmp_path / "out")
    assert [path.name for path in paths] == ["registration.dcm", "segmentation.dcm"]
    registration, segmentation = (pydicom.dcmread(path) for path in paths)
    fixed, moving = (pydicom.dcmread(next((tmp_path / name).iterdir())) for name in ("fixed", "moving"))
    (item,) = registration.DeformableRegistrationSequence
    assert registration.FrameOfReferenceUID == segmentation.FrameOfReferenceUID == fixed.FrameOfReferenceUID
    assert item.SourceFrameOfReferenceUID == moving.FrameOfReferenceUID
    (grid,) = item.DeformableRegistrationGridSequence
    vectors = np.frombuffer(grid.VectorGridData, "<f4").reshape(*field.GetSize()[::-1], 3)
    np.testing.assert_allclose(vectors, sitk.GetArrayFromImage(field), atol=1e-3)
    np.testing.assert_allclose(np.array(grid.ImagePositionPatient, dtype=float), field.GetOrigin(), atol=1e-3)
    assert segmentation.SegmentSequence[0].SegmentLabel == "Liver"
    assert segmentation.pixel_array.shape == (8, *fixed_image.GetSize()[1::-1])
    assert segmentation.pixel_array.sum() == 8 * 12 * 10


def test_scans_that_slicer_did_not_load_from_dicom_are_refused(
    run: Any, fixed_image: sitk.Image, moving_image: sitk.Image, tmp_path: Path
) -> None:
    import slicer
    from DeepLargeDeformRegLib.scene.dicom import save_dicom
    from DeepLargeDeformRegLib.scene.errors import SceneError

    def refusal() -> str:
        with pytest.raises(SceneError) as refused:
            save_dicom(run, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        return str(refused.value)

    assert "fixed was not loaded from DICOM" in refusal()
    load(run.get("fixed"), fixed_image, tmp_path / "fixed")
    assert "moving was not loaded from DICOM" in refusal()
    load(run.get("moving"), moving_image, tmp_path / "moving")
    slicer.dicomDatabase.files.popitem()
    assert "moving are not in Slicer's DICOM database any more" in refusal()
    load(run.get("moving"), moving_image, tmp_path / "moving again")
    shifted = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift")
    from DeepLargeDeformRegLib.scene.volumes import array_to_matrix

    matrix = np.eye(4)
    matrix[0, 3] = 3.3
    shifted.SetMatrixTransformToParent(array_to_matrix(matrix))
    run.get("fixed").SetAndObserveTransformNodeID(shifted.GetID())
    assert "fixed scan does not lie where its DICOM files say" in refusal()
