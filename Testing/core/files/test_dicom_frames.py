"""Enhanced multi-frame DICOM, written with pydicom: each frame's own place and rescaling count, or the file is "
"refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from DeepLargeDeformRegLib.core.errors import BadInputError, MemoryExhaustedError
from DeepLargeDeformRegLib.core.files import read_label_map, read_volume
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian

from .test_dicom import places, write_series

COUNT = 12
ENHANCED_CT, RT_DOSE, SEGMENTATION = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2.1", "481.2", "66.4"))
AXES = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def item(**values: Any) -> Items:
    one = Dataset()
    for key, value in values.items():
        setattr(one, key, value)
    return Items([one])


def write_enhanced(
    path: Path,
    frames: npt.NDArray[np.int16],
    positions: Sequence[Sequence[float]],
    slopes: Sequence[float] | None = None,
    orientations: Sequence[Sequence[float]] | None = None,
    change: Callable[[Dataset], None] = lambda _: None,
) -> None:
    """Frames ``(n, rows, columns)`` in one file; ``change`` may spoil it before it is written."""
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID, data.SeriesInstanceUID = ENHANCED_CT, "1.2.3.4", "1.2.3"
    data.Modality, data.ImageType = "CT", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    data.PatientName = "Doe^Jane"
    data.NumberOfFrames, data.Rows, data.Columns = frames.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    shared = Dataset()
    shared.PixelMeasuresSequence = item(PixelSpacing=[1.1, 0.8], SliceThickness=2.5)
    data.SharedFunctionalGroupsSequence = Items([shared])
    groups = []
    for index, position in enumerate(positions):
        group = Dataset()
        group.PlanePositionSequence = item(ImagePositionPatient=[float(value) for value in position])
        axes = AXES if orientations is None else orientations[index]
        group.PlaneOrientationSequence = item(ImageOrientationPatient=list(axes))
        slope = 1.0 if slopes is None else slopes[index]
        group.PixelValueTransformationSequence = item(RescaleSlope=slope, RescaleIntercept=-100, RescaleType="HU")
        groups.append(group)
    data.PerFrameFunctionalGroupsSequence = Items(groups)
    data.PixelData = frames.astype("<i2").tobytes()
    data["PixelData"].VR = "OW"
    change(data)
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.save_as(path, enforce_file_format=True)


@pytest.fixture(scope="module")
def frames() -> npt.NDArray[np.int16]:
    return np.random.default_rng(0).integers(0, 400, (COUNT, 16, 20)).astype(np.int16)


def line(distance: float = 2.5, count: int = COUNT) -> npt.NDArray[np.float64]:
    return np.array([10.0, -20.0, 30.0]) + np.arange(count)[:, None] * [0, 0, distance]


@pytest.mark.parametrize("by_file", [True, False])
def test_frames_are_sorted_by_place_and_rescaled_each(
    tmp_path: Path, frames: npt.NDArray[np.int16], by_file: bool
) -> None:
    order = np.argsort(np.arange(COUNT) % 3, kind="stable")  # three interleaved stacks
    slopes = np.where(np.arange(COUNT) % 2 == 0, 1.0, 0.5)
    write_enhanced(tmp_path / "a.dcm", frames[order], line()[order], slopes[order])
    volume = read_volume(tmp_path / "a.dcm" if by_file else tmp_path)
    np.testing.assert_allclose(volume.array, frames * slopes[:, None, None] - 100)
    np.testing.assert_allclose(volume.grid.spacing, (0.8, 1.1, 2.5))
    np.testing.assert_allclose(volume.grid.origin, (10, -20, 30))


def test_oblique_and_reversed_stack(tmp_path: Path, frames: npt.NDArray[np.int16]) -> None:
    axes = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    axes[:, 2] = np.cross(axes[:, 0], axes[:, 1])
    positions = np.array([5.0, 6.0, 7.0]) + np.arange(COUNT)[:, None] * 3.0 * axes[:, 2]
    orientations = [(*axes[:, 0], *axes[:, 1])] * COUNT
    write_enhanced(tmp_path / "a.dcm", frames[::-1], positions[::-1], orientations=orientations)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, frames - 100.0)
    np.testing.assert_allclose(np.array(volume.grid.direction).reshape(3, 3), axes, atol=1e-6)
    np.testing.assert_allclose(volume.grid.to_physical((0, 0, 4)), positions[4], atol=1e-5)


def test_frames_of_several_files_are_one_stack(tmp_path: Path, frames: npt.NDArray[np.int16]) -> None:
    for number, part in enumerate((slice(6, 12), slice(0, 6))):
        write_enhanced(
            tmp_path / f"{number}.dcm",
            frames[part],
            line()[part],
            change=lambda data, number=number: setattr(data, "SOPInstanceUID", f"1.2.3.{number}"),
        )
    np.testing.assert_array_equal(read_volume(tmp_path).array, frames - 100.0)


def _tilted() -> npt.NDArray[np.float64]:
    return line() + np.arange(COUNT)[:, None] * [0, 0.5, 0]


def _without_place(data: Dataset) -> None:
    for group in data.PerFrameFunctionalGroupsSequence:
        del group.PlanePositionSequence


def _as_color(data: Dataset) -> None:
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
    data.PixelData = data.PixelData * 3


STACKS: list[tuple[str, npt.NDArray[np.float64], Callable[[Dataset], None]]] = [
    ("share one position", np.repeat(line(count=6), 2, axis=0), lambda _: None),
    ("share one position", np.tile(line(count=6), (2, 1)), lambda _: None),
    (
        r"3 slice\(s\) .* missing after slice 6",
        line() + (np.arange(COUNT) > 5)[:, None] * [0, 0, 7.5],
        lambda _: None,
    ),
    ("unevenly spaced", line() + (np.arange(COUNT) == 5)[:, None] * [0, 0, 1.0], lambda _: None),
    ("tilted gantry", _tilted(), lambda _: None),
    ("no positions", line(), _without_place),
    ("RGB", line(), _as_color),
    ("mosaic", line(), lambda data: setattr(data, "ImageType", ["ORIGINAL", "PRIMARY", "M", "MOSAIC"])),
    ("localizer", line(), lambda data: setattr(data, "ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"])),
    ("RT Dose", line(), lambda data: setattr(data, "SOPClassUID", RT_DOSE)),
    ("DICOM segmentation", line(), lambda data: setattr(data, "SOPClassUID", SEGMENTATION)),
    ("damaged", line(), lambda data: data.PerFrameFunctionalGroupsSequence.pop()),
    ("damaged", line(), lambda data: setattr(data, "Rows", 5000)),
    ("damaged", line(), lambda data: setattr(data, "PixelData", data.PixelData[:-400])),
]


@pytest.mark.parametrize(
    ("words", "positions", "change"), STACKS, ids=[f"{n}-{w}" for n, (w, _, _) in enumerate(STACKS)]
)
def test_frames_that_are_no_stack_are_refused(
    tmp_path: Path,
    frames: npt.NDArray[np.int16],
    words: str,
    positions: npt.NDArray[np.float64],
    change: Callable[[Dataset], None],
) -> None:
    write_enhanced(tmp_path / "a.dcm", frames, positions, change=change)
    for read in (read_volume, read_label_map):
        with pytest.raises(BadInputError, match=words) as caught:
            read(tmp_path)
        assert "Jane" not in caught.value.message + caught.value.detail


def test_orientations_of_several_stacks_are_refused(tmp_path: Path, frames: npt.NDArray[np.int16]) -> None:
    sagittal = (0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    write_enhanced(tmp_path / "a.dcm", frames, line(), orientations=[AXES] * 6 + [sagittal] * 6)
    with pytest.raises(BadInputError, match="different orientations"):
        read_volume(tmp_path)


def test_copies_of_slices_are_named(tmp_path: Path, frames: npt.NDArray[np.int16]) -> None:
    write_series(tmp_path, frames, places())
    one = next(tmp_path.iterdir())
    (tmp_path / "copy.dcm").write_bytes(one.read_bytes())
    with pytest.raises(BadInputError, match="contains 1 images twice"):
        read_volume(tmp_path)


def test_compressed_file_that_asks_for_too_much_is_refused(tmp_path: Path, frames: npt.NDArray[np.int16]) -> None:
    """Compressed frames may be small: what the header asks for is held against this machine's memory."""

    def enlarge(data: Dataset) -> None:
        data.Rows, data.Columns = 60000, 60000

    write_enhanced(tmp_path / "a.dcm", frames, line(), change=enlarge)
    content = (tmp_path / "a.dcm").read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0")
    with (tmp_path / "a.dcm").open("wb") as stream:
        stream.write(content)
        stream.truncate(1 << 32)
    with pytest.raises((MemoryExhaustedError, BadInputError), match=r"GB are free|damaged"):
        read_volume(tmp_path)
