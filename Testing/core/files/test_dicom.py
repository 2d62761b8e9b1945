"""DICOM folders, written slice by slice with SimpleITK and read back as volumes or refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.files import read_volume

SLICES = 12
UID = "1.2.826.0.1.3680043.2.1125.1."
OBLIQUE = tuple(sitk.VersorTransform((0.3, 0.5, -0.2), 0.4).GetMatrix())
PATIENT = "Doe^Jane"


def write_series(
    folder: Path,
    array: npt.NDArray[np.int16],
    positions: npt.NDArray[np.float64],
    number: int = 1,
    modality: str = "CT",
    direction: Sequence[float] = OBLIQUE,
) -> None:
    """Slices ``(n, rows, columns)`` at LPS ``positions (n, 3)``, in files whose names do not tell their order.

    The files of a CT hold ``array + 1000`` with a rescale intercept of -1000.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    axes = np.array(direction).reshape(3, 3)
    cosines = "\\".join(f"{value:.8f}" for value in (*axes[:, 0], *axes[:, 1]))
    for index, (pixels, position) in enumerate(zip(array, positions, strict=True)):
        image = sitk.GetImageFromArray(pixels[None])
        image.SetSpacing((0.8, 1.1, 1.0))
        tags = {
            "0008|0060": modality,
            "0010|0010": PATIENT,
            "0010|0020": "4711",
            "0008|0018": f"{UID}{number}.{index + 1}",
            "0020|000d": f"{UID}9",
            "0020|000e": f"{UID}{number}",
            "0020|0032": "\\".join(f"{value:.6f}" for value in position),
            "0020|0037": cosines,
            "0020|0013": str(index + 1),
            "0028|1052": "-1000" if modality == "CT" else "0",
            "0028|1053": "1",
        }
        for key, value in tags.items():
            image.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{number}-{(index * 7) % 97:02d}.dcm"))
        writer.Execute(image)


@pytest.fixture(scope="module")
def slices() -> npt.NDArray[np.int16]:
    return np.random.default_rng(0).integers(0, 400, (SLICES, 16, 20)).astype(np.int16)


def places(distance: float = 2.5, direction: Sequence[float] = OBLIQUE) -> npt.NDArray[np.float64]:
    normal = np.array(direction).reshape(3, 3)[:, 2]
    return np.array([10.0, -20.0, 30.0]) + np.arange(SLICES)[:, None] * distance * normal


def test_oblique_series_is_a_volume(tmp_path: Path, slices: npt.NDArray[np.int16]) -> None:
    write_series(tmp_path / "ct", slices, places())
    volume = read_volume(tmp_path / "ct")
    np.testing.assert_array_equal(volume.array, slices)
    np.testing.assert_allclose(volume.grid.spacing, (0.8, 1.1, 2.5), atol=1e-4)
    np.testing.assert_allclose(volume.grid.direction, OBLIQUE, atol=1e-5)
    np.testing.assert_allclose(volume.grid.to_physical((0, 0, 3)), places()[3], atol=1e-3)


def test_sub_folders_are_searched(tmp_path: Path, slices: npt.NDArray[np.int16]) -> None:
    write_series(tmp_path / "study" / "DICOM" / "S1", slices, places())
    assert read_volume(tmp_path / "study").array.shape == slices.shape


def test_short_series_do_not_stand_in_the_way(tmp_path: Path, slices: npt.NDArray[np.int16]) -> None:
    write_series(tmp_path, slices, places())
    write_series(tmp_path, slices[:2], places()[:2], number=2)
    assert read_volume(tmp_path).array.shape == slices.shape


def test_several_series_are_listed_without_the_patient(tmp_path: Path, slices: npt.NDArray[np.int16]) -> None:
    write_series(tmp_path / "exam", slices, places())
    write_series(tmp_path / "exam", slices[:10] + 1, places()[:10], number=2, modality="MR")
    with pytest.raises(BadInputError) as caught:
        read_volume(tmp_path / "exam")
    message = caught.value.message
    assert "1: CT, 12 slices of 20 x 16; 2: MR, 10 slices of 20 x 16" in message
    assert PATIENT not in message
    assert "4711" not in message
    np.testing.assert_array_equal(read_volume(tmp_path / "exam", series=2).array, slices[:10] + 1)
    np.testing.assert_array_equal(read_volume(tmp_path / "exam#2").array, slices[:10] + 1)
    np.testing.assert_array_equal(read_volume(tmp_path / "exam", series=f"{UID}1").array, slices)
    with pytest.raises(BadInputError, match="no DICOM series 3"):
        read_volume(tmp_path / "exam#3")


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ([0, 1, 2, 3, 4, 5, 8, 9, 10, 11], r"2 slice\(s\) of the DICOM series are missing after slice 6"),
        ([*range(SLICES - 1), SLICES - 2], "share one position"),
    ],
)
def test_missing_or_doubled_slices_are_refused(
    tmp_path: Path, slices: npt.NDArray[np.int16], kept: list[int], words: str
) -> None:
    write_series(tmp_path, slices[kept], places()[kept])
    with pytest.raises(BadInputError, match=words):
        read_volume(tmp_path)


def test_uneven_slices_are_refused(tmp_path: Path, slices: npt.NDArray[np.int16]) -> None:
    positions = places()
    positions[6:] += 0.4 * np.array(OBLIQUE).reshape(3, 3)[:, 2]
    write_series(tmp_path, slices, positions)
    with pytest.raises(BadInputError, match=r"unevenly spaced \(2.5 to 2.9 mm\)"):
        read_volume(tmp_path)


def test_tilted_gantry_is_refused(tmp_path: Path, slices: npt.NDArray[np.int16]) -> None:
    positions = places(direction=(1, 0, 0, 0, 1, 0, 0, 0, 1)) + np.arange(SLICES)[:, None] * np.array([0, 0.7, 0])
    write_series(tmp_path, slices, positions, direction=(1, 0, 0, 0, 1, 0, 0, 0, 1))
    with pytest.raises(BadInputError, match="tilted gantry"):
        read_volume(tmp_path)


def test_folder_without_images_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(BadInputError, match="contains no DICOM images"):
        read_volume(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_one_slice_is_no_volume(tmp_path: Path, slices: npt.NDArray[np.int16]) -> None:
    write_series(tmp_path, slices[:1], places()[:1])
    for path in (next(tmp_path.iterdir()), tmp_path):
        with pytest.raises(BadInputError, match="2D"):
            read_volume(path)
