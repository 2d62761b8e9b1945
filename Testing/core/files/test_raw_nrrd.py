"""Uncompressed NRRD is read as SimpleITK reads it, and left to SimpleITK where it is anything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.core.raw_nrrd import open_raw_nrrd, read_raw_nrrd, write_raw_nrrd

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


@pytest.mark.parametrize("pixel", PIXELS)
def test_what_is_written_is_read_by_simpleitk(pixel: int, tmp_path: Path) -> None:
    image = an_image(pixel)
    path = tmp_path / "scan.nrrd"
    array = sitk.GetArrayViewFromImage(image)
    write_raw_nrrd(array, image.GetSpacing(), image.GetOrigin(), image.GetDirection(), path)
    again = sitk.ReadImage(str(path))
    assert again.GetPixelID() == image.GetPixelID()
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(again), array)
    np.testing.assert_allclose(again.GetDirection(), image.GetDirection(), atol=1e-12)
    np.testing.assert_allclose(again.GetOrigin(), image.GetOrigin(), atol=1e-12)


@pytest.mark.parametrize("pixel", PIXELS)
def test_types_are_converted_on_the_way(pixel: int, tmp_path: Path) -> None:
    image = an_image(pixel)
    file = open_raw_nrrd(write(tmp_path / "scan.nrrd", image))
    assert file is not None
    read = file.read(np.float32)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, sitk.GetArrayViewFromImage(image).astype(np.float32))


def test_a_field_of_many_slabs_is_read_into_given_memory_with_signs(tmp_path: Path) -> None:
    vectors = np.random.default_rng(2).normal(size=(40, 50, 70, 3)).astype(np.float32)
    path = tmp_path / "field.nrrd"
    write_raw_nrrd(np.asfortranarray(vectors), (1, 1, 1), (0, 0, 0), np.eye(3).ravel().tolist(), path)
    file = open_raw_nrrd(path)
    assert file is not None
    assert file.is_field
    flat = np.empty((40 * 50 * 70, 3), np.float32)
    file.read(factors=(-1, -1, 1), out=flat)
    np.testing.assert_array_equal(flat.reshape(vectors.shape), vectors * np.float32([-1, -1, 1]))
    np.testing.assert_array_equal(file.read(np.float64, factors=(2, 3, 4)), vectors.astype(np.float64) * (2, 3, 4))
    with pytest.raises(ValueError, match="contiguous"):
        file.read(out=np.empty((3, flat.shape[0]), np.float32).T)


def test_a_file_that_became_shorter_is_an_error_and_no_crash(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.nrrd", an_image())
    file = open_raw_nrrd(path)
    assert file is not None
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size - 1)
    with pytest.raises(OSError, match="too early"):
        file.read()


@pytest.mark.parametrize("vectors", [False, True])
def test_compressed_it_is_read_by_simpleitk(vectors: bool, tmp_path: Path) -> None:
    """Of several blocks, vectors in the memory layout of torch."""
    shape = (70, 50, 60, 3) if vectors else (70, 100, 90)
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    array = np.moveaxis(np.ascontiguousarray(np.moveaxis(values, -1, 0)), 0, -1)
    write_raw_nrrd(array, (0.7, 1.3, 2.1), (1, 2, 3), ROTATED, tmp_path / "scan.nrrd", compress=True)
    assert (tmp_path / "scan.nrrd").stat().st_size < array.nbytes
    assert open_raw_nrrd(tmp_path / "scan.nrrd") is None
    image = sitk.ReadImage(str(tmp_path / "scan.nrrd"))
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(image), values)
    np.testing.assert_allclose(image.GetDirection(), ROTATED, atol=1e-12)
    first = (tmp_path / "scan.nrrd").read_bytes()
    write_raw_nrrd(array, (0.7, 1.3, 2.1), (1, 2, 3), ROTATED, tmp_path / "again.nrrd", compress=True)
    assert (tmp_path / "again.nrrd").read_bytes() == first
