"""Label maps and Slicer segmentations: what is written comes back, and what is no label map is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.core.errors import BadInputError, OutputError
from DeepLargeDeformRegLib.core.files import read_label_map, read_volume, write_label_map
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import Label, LabelMap

from .conftest import write_nifti, write_nrrd

LIVER = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure~"
    "SCT^10200004^Liver~^^~Anatomic codes - DICOM master list~^^~^^"
)
LABELS = (
    Label(value=1, name='Liver, "left"', color=(0.8, 0.4, 0.2), terminology=LIVER),
    Label(value=7, name="Läsion 2", color=(0.0, 1.0, 0.5)),
)


@pytest.fixture
def label_map(oblique_grid: ImageGrid) -> LabelMap:
    array = np.zeros(oblique_grid.shape, dtype=np.int16)
    array[2:9, 3:15, 4:12] = 1
    array[10:14, 5:20, 2:9] = 7
    return LabelMap(array, oblique_grid, LABELS)


def cube(shape: tuple[int, ...], start: int, stop: int) -> npt.NDArray[np.uint8]:
    array = np.zeros(shape, dtype=np.uint8)
    array[start:stop, start:stop, start:stop] = 1
    return array


@pytest.mark.parametrize("name", ["a.nrrd", "a.nii.gz", "a.mha"])
def test_plain_label_map_keeps_its_values(tmp_path: Path, label_map: LabelMap, name: str) -> None:
    write_label_map(label_map, tmp_path / name)
    back = read_label_map(tmp_path / name, label_map.grid)
    np.testing.assert_array_equal(back.array, label_map.array)
    assert [(one.value, one.name) for one in back.labels] == [(1, "label 1"), (7, "label 7")]
    assert back.grid == label_map.grid


def test_a_table_beside_it_names_the_structures(tmp_path: Path, label_map: LabelMap) -> None:
    """As in BIDS; what the table does not name, and a table of something else, leave the value as the name."""
    write_label_map(label_map, tmp_path / "a.nii.gz")
    for table, names in (
        ("index\tname\tcolor\n7\tLeft\x1b lung\tred\nx\ty\tz\n", ["label 1", "Left lung"]),
        ("subject\tage\n1\t2\n", ["label 1", "label 7"]),
        ("\x00\n\n", ["label 1", "label 7"]),
    ):
        (tmp_path / "a.tsv").write_text(table, encoding="utf-8")
        assert [one.name for one in read_label_map(tmp_path / "a.nii.gz").labels] == names


def test_segmentation_keeps_names_colors_and_terminology(tmp_path: Path, label_map: LabelMap) -> None:
    write_label_map(label_map, tmp_path / "a.seg.nrrd")
    back = read_label_map(tmp_path / "a.seg.nrrd", label_map.grid)
    np.testing.assert_array_equal(back.array, label_map.array)
    assert back.labels[0] == LABELS[0]
    assert (back.labels[1].name, back.labels[1].color) == ("Läsion 2", (0.0, 1.0, 0.5))


@pytest.mark.parametrize("largest", [255, 256, 40000, 100000])
def test_large_values_survive(tmp_path: Path, oblique_grid: ImageGrid, largest: int) -> None:
    array = np.zeros(oblique_grid.shape, dtype=np.int32)
    array[3:6] = largest
    write_label_map(LabelMap(array, oblique_grid), tmp_path / "a.nrrd")
    assert read_label_map(tmp_path / "a.nrrd").array.max() == largest


def test_unsigned_values_do_not_wrap(tmp_path: Path, oblique_grid: ImageGrid) -> None:
    array = np.zeros(oblique_grid.shape, dtype=np.uint16)
    array[3:6] = 65000
    sitk.WriteImage(oblique_grid.to_image(array), str(tmp_path / "a.nii.gz"))
    assert [one.value for one in read_label_map(tmp_path / "a.nii.gz").labels] == [65000]


def test_mask_stored_as_floats_is_read(tmp_path: Path, sample_case: Path) -> None:
    mask = sitk.ReadImage(str(sample_case / "fixed_mask.nii.gz"))
    sitk.WriteImage(sitk.Cast(mask, sitk.sitkFloat64), str(tmp_path / "a.nii.gz"))
    scan = read_volume(sample_case / "fixed.nii.gz")
    found = read_label_map(tmp_path / "a.nii.gz", scan.grid)
    np.testing.assert_array_equal(found.array, sitk.GetArrayFromImage(mask))
    assert found.array.dtype == np.int16


def test_what_is_no_label_map_is_refused(tmp_path: Path, voxels: np.ndarray, sample_case: Path) -> None:
    path = tmp_path / "a.nii.gz"
    for values, words in (
        (voxels, "fractions"),
        (np.rint(voxels) - 5, "negative"),
        (np.arange(voxels.size), "1319 different values"),
        (np.where(voxels > 0, np.nan, 1.0), "not finite"),
        (np.zeros_like(voxels), "is empty"),
    ):
        write_nifti(path, values.astype(np.float32).tobytes())
        with pytest.raises(BadInputError, match=words):
            read_label_map(path)
    with pytest.raises(BadInputError, match="no label map"):
        read_label_map(sample_case / "fixed.nii.gz")
    with pytest.raises(BadInputError, match="no file"):
        read_label_map(tmp_path / "missing.seg.nrrd")


def test_other_geometry_is_refused(tmp_path: Path, label_map: LabelMap) -> None:
    write_label_map(label_map, tmp_path / "a.nii.gz")
    for grid, words in (
        (label_map.grid.cropped((1, 0, 0), (19, 24, 18)), "20 x 24 x 18 instead of 19 x 24 x 18"),
        (label_map.grid.padded((1, 0, 0), (-1, 0, 0)), "shifted by 1.2 mm"),
    ):
        with pytest.raises(BadInputError, match=f"moving segmentation .* moving scan .*{words}"):
            read_label_map(tmp_path / "a.nii.gz", grid, what="moving segmentation", of="moving scan")


def test_cropped_segmentation_returns_into_its_scan(tmp_path: Path, label_map: LabelMap) -> None:
    grid = label_map.grid
    part = LabelMap(label_map.array[1:15, 2:22, 1:14], grid.cropped((1, 2, 1), (13, 20, 14)), LABELS)
    write_label_map(part, tmp_path / "a.seg.nrrd")
    back = read_label_map(tmp_path / "a.seg.nrrd", grid)
    np.testing.assert_array_equal(back.array, label_map.array)
    assert back.grid == grid
    for wrong in (
        ImageGrid(grid.size, grid.spacing, tuple(np.add(grid.origin, 0.5)), grid.direction),
        ImageGrid(grid.size, (1.2, 2.1, 3.0), grid.origin, grid.direction),
    ):
        with pytest.raises(BadInputError, match="not on the grid"):
            read_label_map(tmp_path / "a.seg.nrrd", wrong)
    with pytest.raises(BadInputError, match="outside of the scan"):
        read_label_map(tmp_path / "a.seg.nrrd", grid.padded((-18, 0, 0), (40, 0, 0)))


def test_segmentation_that_sticks_out_of_the_scan_is_cut(tmp_path: Path, label_map: LabelMap) -> None:
    write_label_map(label_map, tmp_path / "a.seg.nrrd")
    notes: list[str] = []
    back = read_label_map(tmp_path / "a.seg.nrrd", label_map.grid.cropped((0, 0, 0), (20, 24, 10)), notes.append)
    np.testing.assert_array_equal(back.array, label_map.array[:10])
    assert [one.value for one in back.labels] == [1]
    assert len(notes) == 1
    assert f"{(label_map.array[10:] != 0).sum()} voxels of a.seg.nrrd lie outside" in notes[0]


def layered(path: Path, layers: list[npt.NDArray[np.uint8]], header: str) -> None:
    """Segmentation file of several layers, as Slicer writes it where segments overlap."""
    data = np.stack(layers, axis=-1)
    sizes = f"{len(layers)} {' '.join(str(n) for n in layers[0].shape[::-1])}"
    kinds = "list domain domain domain"
    write_nrrd(path, data.tobytes(), sizes, "none (1,0,0) (0,1,0) (0,0,2)", kinds, header, "unsigned char")


def test_overlapping_segments_are_kept_whole(tmp_path: Path) -> None:
    liver, tumor, cyst = cube((12, 12, 12), 1, 11), cube((12, 12, 12), 4, 7), cube((12, 12, 12), 11, 12)
    header = (
        "Segment0_ID:=a\nSegment0_Name:=tumor\nSegment0_LabelValue:=1\nSegment0_Layer:=1\n"
        "Segment1_ID:=b\nSegment1_Name:=liver\nSegment1_LabelValue:=1\nSegment1_Layer:=0\n"
        "Segment2_ID:=c\nSegment2_Name:=cyst\nSegment2_LabelValue:=2\nSegment2_Layer:=0\n"
        "Segment3_ID:=d\nSegment3_Name:=nothing\nSegment3_LabelValue:=3\nSegment3_Layer:=0\n"
    )
    layered(tmp_path / "a.seg.nrrd", [liver + 2 * cyst, tumor], header)
    notes: list[str] = []
    found = read_label_map(tmp_path / "a.seg.nrrd", warn=notes.append)
    masks = {one.name: found.mask(one.value) for one in found.labels}
    assert list(masks) == ["tumor", "liver", "cyst"]
    np.testing.assert_array_equal(masks["tumor"], tumor == 1)
    np.testing.assert_array_equal(masks["liver"], liver == 1)
    by_name = {one.name: one.value for one in found.labels}
    np.testing.assert_array_equal(found.array == by_name["liver"], (liver == 1) & (tumor == 0))
    np.testing.assert_array_equal(found.array == by_name["tumor"], tumor == 1)
    np.testing.assert_array_equal(masks["cyst"], cyst == 1)
    assert "nothing" in notes[0]
    assert "tumor and liver (27 voxels)" in notes[1]

    write_label_map(found, tmp_path / "b.seg.nrrd")
    again = read_label_map(tmp_path / "b.seg.nrrd", warn=notes.append)
    assert [one.name for one in again.labels] == ["tumor", "liver", "cyst"]
    for one in again.labels:
        np.testing.assert_array_equal(again.mask(one.value), masks[one.name])


def test_layers_of_old_files_are_segments(tmp_path: Path) -> None:
    first, second = cube((12, 12, 12), 1, 4), cube((12, 12, 12), 6, 9)
    layered(
        tmp_path / "a.nrrd",
        [first, second],
        "Segment0_ID:=a\nSegment0_Name:=one\nSegment1_ID:=b\nSegment1_Name:=two\n",
    )
    notes: list[str] = []
    found = read_label_map(tmp_path / "a.nrrd", warn=notes.append)
    assert {one.name: int(found.mask(one.value).sum()) for one in found.labels} == {"one": 27, "two": 27}
    assert notes == []


def test_segmentation_that_is_no_binary_label_map_is_refused(tmp_path: Path) -> None:
    header = "Segment0_ID:=a\nSegmentation_MasterRepresentation:=Fractional labelmap\n"
    layered(tmp_path / "a.seg.nrrd", [cube((12, 12, 12), 1, 4)], header)
    with pytest.raises(BadInputError, match="fractional labelmap"):
        read_label_map(tmp_path / "a.seg.nrrd")


def test_empty_segmentation_of_slicer_is_refused(tmp_path: Path, oblique_grid: ImageGrid) -> None:
    """Slicer saves a segmentation without voxels as a single one."""
    header = "Segment0_ID:=a\nSegment0_Name:=liver\n"
    write_nrrd(
        tmp_path / "a.seg.nrrd", b"\0", "1 1 1", "(1,0,0) (0,1,0) (0,0,1)", extra=header, element="unsigned char"
    )
    with pytest.raises(BadInputError, match=r"moving segmentation a\.seg\.nrrd is empty"):
        read_label_map(tmp_path / "a.seg.nrrd", oblique_grid, what="moving segmentation")


def test_ending_and_folder_are_checked(tmp_path: Path, label_map: LabelMap) -> None:
    with pytest.raises(BadInputError, match=r"must end in \.seg\.nrrd"):
        write_label_map(label_map, tmp_path / "a.png")
    with pytest.raises(OutputError, match="folder does not exist"):
        write_label_map(label_map, tmp_path / "missing" / "a.nrrd")
    assert list(tmp_path.iterdir()) == []


def test_every_label_map_of_the_development_data_is_read(shared_data: Path) -> None:
    for case in ("chaos-01", "totalsegmentator-example"):
        folder = shared_data / "abdomen-ct" / case
        found = read_label_map(folder / "labels.nii.gz", read_volume(folder / "image.nii.gz").grid)
        assert found.labels


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_labels_a_little_off_are_rounded(tmp_path: Path, oblique_grid: ImageGrid, kind: type) -> None:
    """Scaled integers come back as 0.9961 or 1.00002; a hundredth off is a label, more is a scan."""
    values = np.zeros(oblique_grid.shape, dtype=kind)
    values[3:6], values[8:9] = 0.99607849, 2.00000012
    sitk.WriteImage(oblique_grid.to_image(values), str(tmp_path / "a.nii.gz"))
    found = read_label_map(tmp_path / "a.nii.gz")
    assert [one.value for one in found.labels] == [1, 2]
    assert int(found.mask(1).sum()) == 3 * 24 * 20
    values[4, 4, 4] = 1.02
    sitk.WriteImage(oblique_grid.to_image(values), str(tmp_path / "a.nii.gz"))
    with pytest.raises(BadInputError, match="fractions"):
        read_label_map(tmp_path / "a.nii.gz")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"L\xf6we", "L\u00f6we"),
        ("L\u00f6we".encode(), "L\u00f6we"),
        (b"\x1b[31mred\x07 [b]", "[31mred [b]"),
        (b"a\\nb\xe2\x80\xae", "a b"),
        (b"\x81\x8d", "\ufffd\ufffd"),
    ],
)
def test_any_bytes_are_a_name(tmp_path: Path, name: bytes, shown: str) -> None:
    path = tmp_path / "a.seg.nrrd"
    layered(path, [cube((12, 12, 12), 1, 4)], "Segment0_ID:=a\nSegment0_Name:=NAME\nSegment0_LabelValue:=1\n")
    path.write_bytes(path.read_bytes().replace(b"NAME", name))
    found = read_label_map(path)
    assert [one.name for one in found.labels] == [shown]
    write_label_map(found, tmp_path / "b.seg.nrrd")
    assert [one.name for one in read_label_map(tmp_path / "b.seg.nrrd").labels] == [shown]


@pytest.mark.parametrize("value", ["-1", "0", "1.5", "nan", "x", "9" * 5000, "99999999999"])
def test_label_value_that_is_none_is_refused(tmp_path: Path, value: str) -> None:
    header = f"Segment0_ID:=a\nSegment0_Name:=liver\nSegment0_LabelValue:={value}\n"
    layered(tmp_path / "a.seg.nrrd", [cube((12, 12, 12), 1, 4)], header)
    with pytest.raises(BadInputError, match=r"segment 1 is damaged \(its LabelValue"):
        read_label_map(tmp_path / "a.seg.nrrd")
