"""Scans: what is read comes back in the right place, and what cannot be registered is refused with one clear line."""

from __future__ import annotations

import gzip
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.files import check_same_space, read_volume, write_volume
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import Volume

from .conftest import SFORM, write_meta, write_nifti, write_nrrd

Write = Callable[[Path, bytes], None]
SHEARED = ((1.5, 0, 1.2, 5), (0, 2, 0, 6), (0, 0, 2.5, 7))
SCALED = ((3.0, 0, 0, 5), (0, 2, 0, 6), (0, 0, 2.5, 7))
FOUR_AXES = "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1"


@pytest.mark.parametrize("name", ["a.nrrd", "a.nii", "a.nii.gz", "a.mha"])
def test_round_trip_keeps_voxels_and_place(tmp_path: Path, oblique_grid: ImageGrid, name: str) -> None:
    array = np.random.default_rng(1).normal(size=oblique_grid.shape).astype(np.float32)
    write_volume(Volume(array, oblique_grid), tmp_path / name)
    back = read_volume(tmp_path / name)
    np.testing.assert_array_equal(back.array, array)
    np.testing.assert_allclose(back.grid.corners, oblique_grid.corners, atol=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_sample_case_is_read_where_simpleitk_says(sample_case: Path) -> None:
    path = sample_case / "fixed.nii.gz"
    image = sitk.ReadImage(str(path))
    volume = read_volume(path)
    assert volume.grid == ImageGrid.from_image(image)
    np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(image).astype(np.float32))


def test_every_scan_of_the_development_data_is_read(shared_data: Path) -> None:
    folders = (
        "lung-pair/fixed",
        "abdomen-ct/*/image",
        "liver-4dmri/*/*",
        "lung-mr-lobes/*/image",
        "hippocampus/images/*1",
    )
    files = sorted(
        path for folder in folders for path in shared_data.glob(f"{folder}.nii.gz") if "label" not in path.name
    )
    assert len(files) > 20
    for path in files:
        assert read_volume(path).array.std() > 0


def test_nifti_geometry_is_that_of_its_bytes(tmp_path: Path, voxels: np.ndarray) -> None:
    write_nifti(tmp_path / "a.nii", voxels.tobytes(), size=(12, 11, 10, 1))
    grid = read_volume(tmp_path / "a.nii").grid
    assert grid.size == (12, 11, 10)
    np.testing.assert_allclose(grid.to_physical((1, 1, 1)), (-6.5, -8, 9.5))  # RAS (6.5, 8, 9.5) in the header


def test_big_endian_values(tmp_path: Path, voxels: np.ndarray) -> None:
    write_nifti(tmp_path / "a.nii", voxels.astype(">f4").tobytes(), order=">")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii").array, voxels)


def test_fourth_axis_of_length_one_is_dropped(tmp_path: Path, voxels: np.ndarray) -> None:
    write_meta(tmp_path / "a.mha", voxels.tobytes(), "12 11 10 1", "1.5 2 2.5 1", FOUR_AXES)
    write_nrrd(
        tmp_path / "a.nrrd",
        voxels.tobytes(),
        "1 12 11 10",
        "none (1.5,0,0) (0,2,0) (0,0,2.5)",
        "list domain domain domain",
    )
    for name in ("a.mha", "a.nrrd"):
        volume = read_volume(tmp_path / name)
        assert volume.grid.spacing == (1.5, 2.0, 2.5)
        np.testing.assert_array_equal(volume.array, voxels)


def test_header_beside_its_voxels(tmp_path: Path, voxels: np.ndarray) -> None:
    write_meta(tmp_path / "a.mhd", b"", data_file="a.raw")
    (tmp_path / "a.raw").write_bytes(voxels.tobytes())
    np.testing.assert_array_equal(read_volume(tmp_path / "a.mhd").array, voxels)
    (tmp_path / "a.raw").unlink()
    with pytest.raises(BadInputError, match="not there"):
        read_volume(tmp_path / "a.mhd")


def test_gzip_of_several_members_is_complete(tmp_path: Path, voxels: np.ndarray) -> None:
    write_nifti(tmp_path / "a.nii", voxels.tobytes())
    raw = (tmp_path / "a.nii").read_bytes()
    path = tmp_path / "b.nii.gz"
    path.write_bytes(gzip.compress(raw[:1000]) + gzip.compress(raw[1000:]))
    np.testing.assert_array_equal(read_volume(path).array, voxels)


BROKEN: list[tuple[str, str, Write]] = [
    ("a.nii", "voxel spacing", lambda p, d: write_nifti(p, d, spacing=(0, 2, 2.5))),
    ("a.nii", "voxel spacing", lambda p, d: write_nifti(p, d, spacing=(0, 2, 2.5), sform=None)),
    ("a.nii", "voxel spacing", lambda p, d: write_nifti(p, d, spacing=(-1.5, 2, 2.5), sform=None)),
    ("a.nii.gz", "voxel spacing", lambda p, d: write_nifti(p, d, spacing=(float("nan"), 2, 2.5))),
    ("a.nii", "right angles", lambda p, d: write_nifti(p, d, spacing=(1.5, 2, 2.77), sform=SHEARED)),
    ("a.nii", "two different voxel spacings", lambda p, d: write_nifti(p, d, sform=SCALED)),
    ("a.nii", "orientation", lambda p, d: write_nifti(p, d, sform=((0, 0, 0, 5), *SFORM[1:]))),
    ("a.nii", "incomplete", lambda p, d: write_nifti(p, d[:2000])),
    ("a.nii.gz", "incomplete", lambda p, d: write_nifti(p, d[:2000])),
    ("a.nii", "2D", lambda p, d: write_nifti(p, d, size=(12, 110), sform=None)),
    ("a.nii", "2D", lambda p, d: write_nifti(p, d, size=(12, 110, 1))),
    ("a.nii", "4D", lambda p, d: write_nifti(p, d, size=(12, 11, 5, 2))),
    ("a.nii", "complex", lambda p, d: write_nifti(p, d * 2, datatype=(32, 64))),
    ("a.nii", "not a NIfTI", lambda p, d: p.write_bytes(b"hello" * 200) and None),
    ("a.nii", "NIfTI-2", lambda p, d: p.write_bytes(struct.pack("<i", 540) + b"n+2\0\r\n\x1a\n" + d) and None),
    ("a.nii", "empty", lambda p, d: p.write_bytes(b"") and None),
    ("a.nii", "no file", lambda p, d: None),
    ("a.nrrd", "voxel spacing", lambda p, d: write_nrrd(p, d, directions="(0,0,0) (0,2,0) (0,0,2.5)")),
    ("a.nrrd", "right angles", lambda p, d: write_nrrd(p, d, directions="(1.5,0,0) (0,2,0) (1.2,0,2.5)")),
    ("a.nrrd", "right angles", lambda p, d: write_nrrd(p, d, directions="(1.5,0,0) (1.5,0,0) (0,0,2.5)")),
    ("a.nrrd", "incomplete", lambda p, d: write_nrrd(p, d[:2000])),
    ("a.nrrd", "another unit.*cm", lambda p, d: write_nrrd(p, d, extra='space units: "cm" "cm" "cm"\n')),
    ("a.nrrd", "not an NRRD", lambda p, d: p.write_bytes(b"hello") and None),
    (
        "a.nrrd",
        "2 values per voxel",
        lambda p, d: write_nrrd(p, d, "2 12 11 5", "none (1.5,0,0) (0,2,0) (0,0,2.5)", "vector domain domain domain"),
    ),
    (
        "a.nrrd",
        "2 values per voxel",
        lambda p, d: write_nrrd(p, d, "12 11 5 2", "(1.5,0,0) (0,2,0) (0,0,2.5) none", "domain domain domain list"),
    ),
    ("a.mha", "voxel spacing", lambda p, d: write_meta(p, d, spacing="0 2 2.5")),
    ("a.mha", "voxel spacing", lambda p, d: write_meta(p, d, spacing="-1.5 2 2.5")),
    ("a.mha", "right angles", lambda p, d: write_meta(p, d, matrix="1 0 0 0 1 0 0.5 0 0.866")),
    ("a.mha", "incomplete", lambda p, d: write_meta(p, d[:2000])),
    ("a.mha", "4D", lambda p, d: write_meta(p, d, "12 11 5 2", "1 1 1 1", FOUR_AXES)),
    ("a.mha", "2 values per voxel", lambda p, d: write_meta(p, d, "12 11 5", extra="ElementNumberOfChannels = 2\n")),
    ("a.mha", "not a MetaImage", lambda p, d: p.write_bytes(b"hello") and None),
    ("a.mha", "only 12 x 22 x 5", lambda p, d: write_meta(p, d, "12 22 5")),
]


@pytest.mark.parametrize(
    ("name", "words", "write"), BROKEN, ids=[f"{n}-{w}-{i}" for i, (n, w, _) in enumerate(BROKEN)]
)
def test_broken_file_is_refused(
    tmp_path: Path, voxels: np.ndarray, capfd: pytest.CaptureFixture[str], name: str, words: str, write: Write
) -> None:
    write(tmp_path / name, voxels.tobytes())
    with pytest.raises(BadInputError, match=words) as caught:
        read_volume(tmp_path / name)
    assert "\n" not in caught.value.message
    assert name in caught.value.message
    assert str(tmp_path) not in caught.value.message
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("keep", [0.2, 0.6, 0.95])
@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha"])
def test_cut_compressed_file_is_refused(
    tmp_path: Path, voxels: np.ndarray, capfd: pytest.CaptureFixture[str], name: str, keep: float
) -> None:
    path = tmp_path / name
    write_volume(Volume(voxels, ImageGrid.axis_aligned((12, 11, 10), (1, 1, 1))), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(BadInputError, match="incomplete"):
        read_volume(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "a.mha"])
@pytest.mark.parametrize("kind", ["<f4", "<f8", ">f4"])
def test_values_that_are_not_finite_are_counted(tmp_path: Path, voxels: np.ndarray, name: str, kind: str) -> None:
    wrong = voxels.copy()
    wrong[0, 0, :3] = np.nan
    wrong[5, 5, 5] = np.inf
    if "nii" in name:
        bits = (16, 32) if kind.endswith("4") else (64, 64)
        write_nifti(tmp_path / name, wrong.astype(kind).tobytes(), datatype=bits, order=kind[0])
    else:
        sitk.WriteImage(sitk.GetImageFromArray(wrong.astype(kind[1:])), str(tmp_path / name))
    with pytest.raises(BadInputError, match="4 voxels that are not finite"):
        read_volume(tmp_path / name)


def test_constant_image_is_refused(tmp_path: Path, voxels: np.ndarray) -> None:
    write_nrrd(tmp_path / "a.nrrd", np.full_like(voxels, -1000).tobytes())
    with pytest.raises(BadInputError, match="constant: all voxels are -1000"):
        read_volume(tmp_path / "a.nrrd")


def test_itk_warnings_are_as_before_afterwards(tmp_path: Path, voxels: np.ndarray) -> None:
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    write_nifti(tmp_path / "a.nii", voxels.tobytes())
    read_volume(tmp_path / "a.nii")
    assert sitk.ProcessObject.GetGlobalWarningDisplay() == before


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (ImageGrid.axis_aligned((10, 10, 9), (1, 1, 2)), "10 x 10 x 9 instead of 10 x 10 x 10 voxels"),
        (ImageGrid.axis_aligned((10, 10, 10), (1, 1, 2.5)), "spacing 1 x 1 x 2.5 instead of 1 x 1 x 2 mm"),
        (ImageGrid.axis_aligned((10, 10, 10), (1, 1, 2), (3, 0, 4)), "shifted by 5 mm"),
        (ImageGrid((10, 10, 10), (1, 1, 2), (0, 0, 0), (-1, 0, 0, 0, -1, 0, 0, 0, 1)), "another orientation"),
    ],
)
def test_other_geometry_is_named(other: ImageGrid, words: str) -> None:
    grid = ImageGrid.axis_aligned((10, 10, 10), (1, 1, 2))
    check_same_space(grid, grid, "fixed segmentation", "fixed scan")
    with pytest.raises(BadInputError, match=words):
        check_same_space(other, grid, "fixed segmentation", "fixed scan")


def test_reading_leaves_the_input_untouched(tmp_path: Path, sample_case: Path) -> None:
    path = tmp_path / "fixed.nii.gz"
    shutil.copy(sample_case / "fixed.nii.gz", path)
    before = path.read_bytes()
    read_volume(path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["fixed.nii.gz"]
