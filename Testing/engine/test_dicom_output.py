"""A job on DICOM folders that writes DICOM objects."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.settings import RegistrationSettings
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.job import RegistrationJob, run_job
from scipy.ndimage import gaussian_filter

from Testing.dicom_series import write_series

GRID = ImageGrid.axis_aligned((24, 22, 20), (2.0, 2.0, 2.5))
QUICK = RegistrationSettings(prealign="translation", iterations=3, organs="none", uncertainty=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("job")
    texture = gaussian_filter(np.random.default_rng(0).standard_normal(GRID.shape), 1.5)
    voxels = (300 * texture / texture.std()).astype(np.int16)
    write_series(place / "fixed", voxels, GRID)
    write_series(place / "moving", voxels, ImageGrid(GRID.size, GRID.spacing, (6.0, -4.0, 5.0)), PatientID="12")
    labels = np.zeros(GRID.shape, np.uint8)
    labels[5:15, 6:16, 7:17] = 1
    image = GRID.to_image(labels)
    image.SetOrigin((6.0, -4.0, 5.0))
    sitk.WriteImage(image, str(place / "labels.nrrd"))
    return place


def test_a_job_writes_what_it_found(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "dicom"
    job = RegistrationJob(
        str(folder / "fixed"),
        str(folder / "moving"),
        settings=QUICK,
        moving_segmentation=str(folder / "labels.nrrd"),
        output_dicom=str(out),
        output_transform=str(tmp_path / "t.nrrd"),
        metrics=str(tmp_path / "metrics.json"),
    )
    run_job(job)
    assert sorted(path.name for path in out.iterdir()) == ["registration.dcm", "segmentation.dcm"]
    (item,) = pydicom.dcmread(out / "registration.dcm").DeformableRegistrationSequence
    (grid,) = item.DeformableRegistrationGridSequence
    columns, rows, planes = grid.GridDimensions
    vectors = np.frombuffer(grid.VectorGridData, "<f4").reshape(planes, rows, columns, 3)
    transform = fields.read_transform(tmp_path / "t.nrrd")
    for index in ((3, 4, 5), (20, 17, 12)):
        point = GRID.to_physical(index).tolist()
        moved = np.subtract(transform.TransformPoint(point), point)
        np.testing.assert_allclose(vectors[index[::-1]], moved, atol=0.01)
        np.testing.assert_allclose(moved, (6.0, -4.0, 5.0), atol=1.0)
    (segment,) = pydicom.dcmread(out / "segmentation.dcm").SegmentSequence
    assert segment.SegmentLabel == "label 1"
    warnings = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))["warnings"]
    assert any("different patients" in warning for warning in warnings)
    assert not any("4711" in warning for warning in warnings)


def test_what_cannot_be_written_is_refused_before_the_work(folder: Path, tmp_path: Path) -> None:
    scan = tmp_path / "scan.nrrd"
    sitk.WriteImage(GRID.to_image(np.random.default_rng(0).normal(size=GRID.shape).astype(np.float32)), str(scan))
    for moving, out, reason in (
        (scan, tmp_path / "dicom", "moving scan is not from DICOM"),
        (folder / "moving", folder / "fixed", "holds a scan"),
    ):
        with pytest.raises(BadInputError, match=reason):
            run_job(RegistrationJob(str(folder / "fixed"), str(moving), settings=QUICK, output_dicom=str(out)))
    assert not (tmp_path / "dicom").exists()
    assert len(list((folder / "fixed").iterdir())) == GRID.size[2]
