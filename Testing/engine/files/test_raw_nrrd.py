"""Uncompressed NRRD is read as SimpleITK reads it, and left to SimpleITK where it is anything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.raw_nrrd import read_raw_nrrd

ROTATED = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, -1.0)
PIXELS = (sitk.sitkUInt8, sitk.sitkInt16, sitk.sitkUInt16, sitk.sitkInt32, sitk.sitkFloat32, sitk.sitkFloat64)


def an_image(pixel: int = sitk.sitkInt16, vectors: bool = False) -> sitk.Image:
    shape = (5, 6, 7, 3) if vectors else (5, 6, 7)
    values = np.random.default_rng(0).uniform(0, 200, shape)
    image = sitk.GetImageFromArray(values, isVector=vectors)
    image = sitk.Cast(image, sitk.sitkVectorFloat32 if vectors else pixel)
    image.SetSpacing((0.7, 1.3, 2.1))
    image.SetOrigin((-17.25, 1 / 3, 1e-3))
    image.SetDirection(ROTATED)
    return image


def write(path: Path, image: sitk.Image, compress: bool = False) -> Path:
    sitk.WriteImage(image, str(path), useCompression=compress)
    return path


@pytest.mark.parametrize("pixel", PIXELS)
def test_scans_of_every_type_are_those_of_simpleitk(pixel: int, tmp_path: Path) -> None:
    image = an_image(pixel)
    raw = read_raw_nrrd(write(tmp_path / "scan.nrrd", image))
    assert raw is not None
    np.testing.assert_array_equal(raw.array, sitk.GetArrayViewFromImage(image))
    assert raw.array.dtype == sitk.GetArrayViewFromImage(image).dtype
    for found, true in (
        (raw.spacing, image.GetSpacing()),
        (raw.origin, image.GetOrigin()),
        (raw.direction, image.GetDirection()),
    ):
        np.testing.assert_allclose(found, true, atol=1e-12)


def test_vectors_come_last(tmp_path: Path) -> None:
    image = an_image(vectors=True)
    raw = read_raw_nrrd(write(tmp_path / "field.nrrd", image))
    assert raw is not None
    np.testing.assert_array_equal(raw.array, sitk.GetArrayViewFromImage(image))


def test_voxels_can_be_changed_and_outlive_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.nrrd", an_image())
    raw = read_raw_nrrd(path)
    assert raw is not None
    path.unlink()
    raw.array[...] = 1
    assert int(raw.array.sum()) == raw.array.size


def _changed(path: Path, old: bytes, new: bytes) -> Path:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"encoding: raw", b"encoding: gzip"),
        (b"endian: little", b"endian: big"),
        (b"type: short", b"type: block"),
        (b"left-posterior-superior", b"right-anterior-superior"),
        (b"encoding: raw", b"encoding: raw\nbyte skip: 1"),
        (b"encoding: raw", b"encoding: raw\ndata file: other.raw"),
        (b"sizes: 7 6 5", b"sizes: 7 6 6"),
        (b"sizes: 7 6 5", b"sizes: 7 6 4"),
        (b"sizes: 7 6 5", b"sizes: 7 6 -5"),
        (b"space origin: (", b"space origin: (x"),
        (b"NRRD000", b"NOTNRRD"),
    ],
)
def test_what_is_not_plain_is_left_to_simpleitk(old: bytes, new: bytes, tmp_path: Path) -> None:
    path = write(tmp_path / "scan.nrrd", an_image())
    assert read_raw_nrrd(path) is not None
    assert read_raw_nrrd(_changed(path, old, new)) is None


def test_other_files_are_left_to_simpleitk(tmp_path: Path) -> None:
    assert read_raw_nrrd(tmp_path / "missing.nrrd") is None
    assert read_raw_nrrd(tmp_path) is None
    assert read_raw_nrrd(write(tmp_path / "zipped.nrrd", an_image(), compress=True)) is None
    assert read_raw_nrrd(write(tmp_path / "scan.nii", an_image())) is None
    color = sitk.Image([4, 4, 4], sitk.sitkVectorUInt8, 2)
    assert read_raw_nrrd(write(tmp_path / "two.nrrd", color)) is None
