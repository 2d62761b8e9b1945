"""DICOM objects of a registration, read back by other programs: where they map to, and what they say."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.files import dicom_objects, read_volume
from DeepLargeDeformRegLib.core.files.dicom_objects import write_dicom
from DeepLargeDeformRegLib.core.files.dicom_reference import (
    DicomReference,
    check_place,
    notice_of_patients,
    read_reference,
)
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import Label, LabelMap
from scipy.ndimage import gaussian_filter

from Testing.dicom_series import PATIENT, write_series

TURNED = tuple(sitk.VersorTransform((0.3, 0.5, -0.2), 0.4).GetMatrix())
GRID = ImageGrid((20, 16, 12), (1.5, 2.0, 2.5), (10.0, -20.0, 30.0), TURNED)
SHIFT = np.array((7.0, -4.0, 11.0))
LIVER = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure~"
    "SCT^10200004^Liver~^^~Anatomic codes - DICOM master list~^^~^^"
)


def moved(grid: ImageGrid, by: npt.NDArray[np.float64]) -> ImageGrid:
    return ImageGrid(grid.size, grid.spacing, tuple((np.array(grid.origin) + by).tolist()), grid.direction)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fixed series, and a moving one of another study with the same anatomy 14 mm away."""
    place = tmp_path_factory.mktemp("series")
    voxels = np.random.default_rng(0).integers(-900, 1000, GRID.shape).astype(np.int16)
    write_series(place / "fixed", voxels, GRID)
    write_series(place / "moving", voxels, moved(GRID, SHIFT))
    return place


@pytest.fixture(scope="module")
def series(folder: Path) -> tuple[DicomReference, DicomReference]:
    return read_reference(folder / "fixed", "fixed"), read_reference(folder / "moving", "moving")


def labels() -> LabelMap:
    """Two structures that overlap."""
    first, second = np.zeros(GRID.shape, np.int16), np.zeros(GRID.shape, np.int16)
    first[3:8, 4:10, 5:12], second[6:10, 8:14, 2:8] = 1, 2
    liver = Label(value=1, name="Leber größe", color=(0.8, 0.4, 0.3), terminology=LIVER)
    known = (liver, Label(value=2, name="spleen"))
    return LabelMap(np.where(second > 0, second, first), GRID, known, (first, second))


def constant(grid: ImageGrid, value: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    return np.broadcast_to(value.astype(np.float32), (*grid.shape, 3))


def transform_of(path: Path) -> sitk.DisplacementFieldTransform:
    """The map of a Deformable Spatial Registration, from registered to source coordinates (PS3.3 C.20.3.1)."""
    (item,) = pydicom.dcmread(path).DeformableRegistrationSequence
    for name in ("PreDeformationMatrixRegistrationSequence", "PostDeformationMatrixRegistrationSequence"):
        (matrix,) = item[name].value
        numbers = np.array(matrix.FrameOfReferenceTransformationMatrix, dtype=float)
        assert np.array_equal(numbers.reshape(4, 4), np.eye(4))
    (field,) = item.DeformableRegistrationGridSequence
    columns, rows, planes = field.GridDimensions
    vectors = np.frombuffer(field.VectorGridData, "<f4").reshape(planes, rows, columns, 3)
    image = sitk.GetImageFromArray(vectors.astype(np.float64), isVector=True)
    row, column = np.reshape(field.ImageOrientationPatient, (2, 3)).astype(float)
    image.SetDirection(np.stack((row, column, np.cross(row, column)), axis=1).ravel().tolist())
    image.SetOrigin([float(value) for value in field.ImagePositionPatient])
    image.SetSpacing([float(value) for value in field.GridResolution])
    return sitk.DisplacementFieldTransform(image)


def test_the_registration_brings_the_moving_scan_onto_the_fixed_one(
    folder: Path, series: tuple[DicomReference, DicomReference], tmp_path: Path
) -> None:
    paths = write_dicom(tmp_path / "out", constant(GRID, SHIFT), GRID, None, *series)
    assert [path.name for path in paths] == ["registration.dcm"]
    fixed, moving = (read_volume(folder / name).to_image() for name in ("fixed", "moving"))
    warped = sitk.Resample(moving, fixed, transform_of(paths[0]), sitk.sitkLinear, -5000.0)
    inner = (slice(1, -1),) * 3
    difference = sitk.GetArrayFromImage(warped)[inner] - sitk.GetArrayFromImage(fixed)[inner]
    assert np.abs(difference).max() < 1.0  # of 1900; SimpleITK reads positions of six digits


@pytest.mark.parametrize("handed", [1.0, -1.0])
def test_the_registration_maps_points_as_the_field_does(
    series: tuple[DicomReference, DicomReference], tmp_path: Path, handed: float
) -> None:
    axes = np.reshape(TURNED, (3, 3)) * (1.0, 1.0, handed)
    grid = ImageGrid((14, 12, 10), (3.0, 4.0, 5.0), (0.0, 5.0, -9.0), tuple(axes.ravel().tolist()))
    noise = np.random.default_rng(1).normal(size=(*grid.shape, 3))
    displacement = (80 * gaussian_filter(noise, (2, 2, 2, 0)) + SHIFT).astype(np.float32)
    (path,) = write_dicom(tmp_path, displacement, grid, None, *series)
    ours = sitk.DisplacementFieldTransform(grid.to_image(displacement.astype(np.float64), is_vector=True))
    theirs = transform_of(path)
    index = np.random.default_rng(2).uniform(0.01, 0.99, (100, 3)) * (np.array(grid.size) - 1)
    moves = []
    for point in grid.to_physical(index).tolist():
        np.testing.assert_allclose(theirs.TransformPoint(point), ours.TransformPoint(point), atol=1e-3)
        moves.append(np.linalg.norm(np.subtract(ours.TransformPoint(point), point)))
    assert np.std(moves) > 1.0  # mm: the order of the vectors matters


# Attributes of the modules of PS3.3 A.39.2 and A.51: those of type 1 have a value, those of type 2 are there.
VALUED = """
StudyInstanceUID SeriesInstanceUID SOPClassUID SOPInstanceUID Modality FrameOfReferenceUID InstanceNumber ContentLabel
ContentDate ContentTime SeriesNumber Manufacturer ManufacturerModelName DeviceSerialNumber SoftwareVersions
ReferencedSeriesSequence
"""
PRESENT = """
PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime StudyID AccessionNumber ReferringPhysicianName
PositionReferenceIndicator ContentDescription ContentCreatorName
"""
OWN = (
    "DeformableRegistrationSequence",
    """
    ImageType SegmentationType SegmentSequence SamplesPerPixel PhotometricInterpretation Rows Columns BitsAllocated
    BitsStored LossyImageCompression NumberOfFrames PixelData SharedFunctionalGroupsSequence
    PerFrameFunctionalGroupsSequence DimensionOrganizationSequence DimensionIndexSequence
    """,
)


@pytest.fixture(scope="module")
def written(series: tuple[DicomReference, DicomReference], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_dicom(tmp_path_factory.mktemp("written"), constant(GRID, SHIFT), GRID, labels(), *series)


def test_all_that_the_standard_asks_for_is_there(
    written: list[Path], series: tuple[DicomReference, DicomReference]
) -> None:
    fixed, moving = series
    objects = [pydicom.dcmread(path) for path in written]
    for content, own in zip(objects, OWN, strict=True):
        assert [name for name in (VALUED + own).split() if content.get(name) in (None, "", [])] == []
        assert [name for name in PRESENT.split() if name not in content] == []
        assert str(content.PatientName) == PATIENT
        assert (content.PatientID, content.StudyInstanceUID) == ("4711", fixed.study)
        assert content.FrameOfReferenceUID == fixed.frame_of_reference
        (here,) = content.ReferencedSeriesSequence
        assert here.SeriesInstanceUID == fixed.series
        instances = [one.ReferencedSOPInstanceUID for one in here.ReferencedInstanceSequence]
        assert sorted(instances) == sorted(image.instance for image in fixed.images)
    assert len({one.SeriesInstanceUID for one in objects} | {fixed.series}) == 3
    (item,) = objects[0].DeformableRegistrationSequence
    assert item.SourceFrameOfReferenceUID == moving.frame_of_reference
    referenced = {one.ReferencedSOPInstanceUID for one in item.ReferencedImageSequence}
    assert referenced == {image.instance for image in moving.images}
    (elsewhere,) = objects[0].StudiesContainingOtherReferencedInstancesSequence
    assert elsewhere.StudyInstanceUID == moving.study


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian: dicom3tools) is not installed")
def test_a_checker_of_dicom_objects_finds_no_error(written: list[Path]) -> None:
    for path in written:
        done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, encoding="utf-8")
        assert [line for line in done.stderr.splitlines() if line.startswith("Error")] == []


def test_the_segmentation_is_read_by_another_program(
    written: list[Path], series: tuple[DicomReference, DicomReference]
) -> None:
    highdicom = pytest.importorskip("highdicom", reason="highdicom (pip install '.[test]') reads it back")
    read = highdicom.seg.segread(written[1])
    ours = labels()
    assert [read.get_segment_description(n).segment_label for n in (1, 2)] == ["Leber größe", "spleen"]
    assert [kind.meaning for kind in read.segmented_property_types] == ["Liver", "Tissue"]
    uids = [next(i.instance for i in series[0].images if i.path == frame.file) for frame in series[0].frames]
    pixels = read.get_pixels_by_source_instance(uids, combine_segments=False, assert_missing_frames_are_empty=True)
    for number in (1, 2):
        assert np.array_equal(pixels[..., number - 1] > 0, ours.mask(number))
    volume = read.get_volume(combine_segments=False)  # of the planes that have a segment
    last = np.array(volume.spatial_shape) - 1
    theirs = volume.map_indices_to_reference(np.array(list(np.ndindex(2, 2, 2))) * last)
    expected = GRID.cropped((0, 0, 3), (GRID.size[0], GRID.size[1], 7)).corners
    distances = np.linalg.norm(theirs[:, None] - expected[None], axis=-1)
    assert distances.min(axis=0).max() < 0.01


def test_a_color_is_that_of_the_segment() -> None:
    from DeepLargeDeformRegLib.core.files.dicom_segmentation import _cielab

    # White is L = 100, a = b = 0; red after Lindbloom: 53.24, 80.09, 67.20.
    for color, lab in (((1.0, 1.0, 1.0), (100.0, 0.0, 0.0)), ((1.0, 0.0, 0.0), (53.24, 80.09, 67.20))):
        light, a, b = _cielab(color)
        found = (light / 655.35, a / 257 - 128, b / 257 - 128)
        np.testing.assert_allclose(found, lab, atol=0.1)


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    assert [path.name for path in tmp_path.rglob("*") if "unfinished" in path.name] == []


def test_scans_that_are_not_from_dicom_are_refused(folder: Path, scratch: Path) -> None:
    scan = scratch / "scan.nii.gz"
    sitk.WriteImage(read_volume(folder / "fixed").to_image(), str(scan))
    with pytest.raises(BadInputError, match="fixed scan is not from DICOM"):
        read_reference(scan, "fixed")
    with pytest.raises(BadInputError, match="no file nowhere"):
        read_reference(scratch / "nowhere", "fixed")
    voxels = np.zeros(GRID.shape, np.int16)
    write_series(scratch / "bare", voxels, GRID, FrameOfReferenceUID=None)
    with pytest.raises(BadInputError, match="moving DICOM series has no UID of its frame of reference"):
        read_reference(scratch / "bare", "moving")
    files = write_series(scratch / "other", voxels, GRID, PatientID="4712", PatientName="Roe^Jane")
    first, other = read_reference(folder / "fixed", "fixed"), read_reference(list(files.values()), "moving")
    notice = notice_of_patients(first, other)
    assert notice is not None
    assert "different patients" in notice
    assert not any(word in notice for word in ("4711", "4712", "Roe", "Müller"))
    assert notice_of_patients(first, first) is None


def test_a_scan_that_was_moved_is_refused(series: tuple[DicomReference, DicomReference]) -> None:
    fixed = series[0]
    check_place(fixed, GRID, "fixed")
    check_place(fixed, GRID.cropped((2, 3, 1), (10, 8, 6)), "fixed")
    turned = GRID.direction_matrix * (1.0, 1.0, -1.0)  # planes in the other order
    back = tuple(GRID.to_physical((0.0, 0.0, GRID.size[2] - 1.0)).tolist())
    check_place(fixed, ImageGrid(GRID.size, GRID.spacing, back, tuple(turned.ravel().tolist())), "fixed")
    for grid in (moved(GRID, np.array((0.5, 0.0, 0.0))), GRID.with_spacing(1.1), GRID.padded((1, 0, 0), (0, 0, 0))):
        with pytest.raises(BadInputError, match="fixed scan does not lie where its DICOM files say"):
            check_place(fixed, grid, "fixed")


def test_all_objects_are_written_or_none(
    series: tuple[DicomReference, DicomReference], scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise BadInputError("no")

    monkeypatch.setattr(dicom_objects, "segmentation", fail)
    with pytest.raises(BadInputError, match="no"):
        write_dicom(scratch / "out", constant(GRID, SHIFT), GRID, labels(), *series)
    assert list(scratch.iterdir()) == []
