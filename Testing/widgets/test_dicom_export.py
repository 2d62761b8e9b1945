"""A result of two DICOM series, exported by the panel as DICOM objects and read back by others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.metrics import Metrics
from DeepLargeDeformRegLib.resources import SAMPLE_CASE

from Testing.dicom_series import write_series
from Testing.end_to_end.cases import crop_around

from .nodes import MODULE

MOVED = (3.0, -2.0, 35.0)  # LPS mm


def scan_from_dicom(side: str, folder: Path) -> tuple[Any, sitk.Image]:
    """A part of the sample case as a DICOM series in Slicer's database, and its volume as Slicer loads it."""
    import slicer

    whole = sitk.ReadImage(str(SAMPLE_CASE / f"{side}.nii.gz"))
    middle = whole.TransformContinuousIndexToPhysicalPoint([(size - 1) / 2 for size in whole.GetSize()])
    image = crop_around(whole, np.array(middle), (24, 28, 20))
    voxels = sitk.GetArrayFromImage(image).astype(np.int16)
    files = write_series(folder / side, voxels, ImageGrid.from_image(image))
    slicer.dicomDatabase.files |= {instance: str(path) for instance, path in files.items()}
    sitk.WriteImage(image, str(folder / f"{side}.nrrd"))
    volume = slicer.util.loadVolume(str(folder / f"{side}.nrrd"), {"name": side})
    volume.SetAttribute("DICOM.instanceUIDs", " ".join(files))
    return volume, image


def test_the_panel_exports_what_others_read(application: Any, tmp_path: Path) -> None:
    from DeepLargeDeformRegLib.scene import results, segmentations, transforms

    fixed, image = scan_from_dicom("fixed", tmp_path)
    moving, _image = scan_from_dicom("moving", tmp_path)
    vectors = np.broadcast_to(np.float32(MOVED), (*image.GetSize()[::-1], 3))
    field = sitk.GetImageFromArray(vectors, isVector=True)
    field.CopyInformation(image)
    lung = sitk.Cast(image < -500, sitk.sitkUInt16)
    label = segmentations.SegmentLabel(value=1, segment_id="lung", name="Lung", color=(0.2, 0.6, 0.9))
    roles = {
        **{"fixed": fixed, "moving": moving},
        "transform": transforms.transform_from_field(field, "transform", fixed=fixed, moving=moving),
        "segmentation": segmentations.segmentation_from_label_map(lung, [label], "propagated"),
    }
    results.add_result(roles, Metrics.from_json({}), {})
    widget = application.open_module(MODULE)
    widget.results.refresh(newest=True)
    widget.ui.exportWhatBox.currentIndex = widget.ui.exportWhatBox.count - 1
    assert widget.ui.exportWhatBox.currentText == "DICOM (radiotherapy)"
    (tmp_path / "out").mkdir()
    widget.ui.exportDirectory.directory = str(tmp_path / "out")
    widget.ui.exportOneButton.click()
    assert widget.ui.exportLabel.text.startswith("registration.dcm, segmentation.dcm written to ")
    (folder,) = (tmp_path / "out").iterdir()

    registration = pydicom.dcmread(folder / "registration.dcm")
    series = {side: pydicom.dcmread(next((tmp_path / side).iterdir())) for side in ("fixed", "moving")}
    (item,) = registration.DeformableRegistrationSequence
    assert registration.FrameOfReferenceUID == series["fixed"].FrameOfReferenceUID
    assert item.SourceFrameOfReferenceUID == series["moving"].FrameOfReferenceUID
    (grid,) = item.DeformableRegistrationGridSequence
    np.testing.assert_allclose(np.frombuffer(grid.VectorGridData, "<f4").reshape(vectors.shape), vectors, atol=1e-3)

    highdicom = pytest.importorskip("highdicom", reason="highdicom (pip install '.[test]') reads it back")
    read = highdicom.seg.segread(folder / "segmentation.dcm")
    assert read.get_segment_description(1).segment_label == "Lung"
    sources = sorted((tmp_path / "fixed").iterdir(), key=lambda path: pydicom.dcmread(path).InstanceNumber)
    instances = [pydicom.dcmread(path).SOPInstanceUID for path in sources]
    pixels = read.get_pixels_by_source_instance(
        instances, combine_segments=False, assert_missing_frames_are_empty=True
    )
    assert np.array_equal(pixels[..., 0] > 0, sitk.GetArrayFromImage(lung) > 0)
