"""Folders of images and label maps, one file a class, and tables: real scans in the layouts of their data sets."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.files import read_label_map, read_volume

from training.data import assignments, open_data_set


def test_hippocampus(shared_data: Path) -> None:
    data_set = open_data_set("image-label", shared_data / "hippocampus")
    assert len(data_set) == 230
    assert len(data_set.splits["train"]) == 200
    assert len(data_set.pairs["test"]) == 100
    tested = {scan.name for pair in data_set.pairs["test"] for scan in (pair.fixed, pair.moving)}
    assert len(tested) == 30
    assert not tested & set(data_set.splits["train"])
    subject = data_set.subject(data_set.splits["train"][0])
    image, labels = subject.image(), subject.labels()
    assert labels is not None
    assert image.grid.same_geometry(labels.grid)
    assert [label.value for label in labels.labels] == [1, 2]
    assert not data_set.pairs["test"][0].same_patient


def test_label_maps_without_images(shared_data: Path) -> None:
    data_set = open_data_set("image-label", shared_data / "liver-segments", labels=".")
    assert len(data_set) == 149
    labels = data_set.subject("3Dircadb-10").labels()
    assert labels is not None
    assert {label.value for label in labels.labels} == set(range(1, 9))
    with pytest.raises(BadInputError, match="label maps only"):
        data_set.subject("3Dircadb-10").image()


def test_suffixes_in_one_folder(sample_case: Path, tmp_path: Path) -> None:
    # As IXI and OASIS have it: the kinds of one subject differ in what follows its name.
    for name, source in (("a", "fixed"), ("b", "moving")):
        shutil.copy(sample_case / f"{source}.nii.gz", tmp_path / f"{name}_t1.nii.gz")
        shutil.copy(sample_case / f"{source}_mask.nii.gz", tmp_path / f"{name}_seg.nii.gz")
    options = {"images": ".", "labels": ".", "image_suffix": "_t1", "label_suffix": "_seg"}
    data_set = open_data_set("image-label", tmp_path, **options)
    assert sorted(data_set.subjects) == ["a", "b"]
    labels = data_set.subject("b").labels()
    assert labels is not None
    assert np.array_equal(labels.array, read_label_map(sample_case / "moving_mask.nii.gz").array)
    assert np.array_equal(data_set.subject("a").image().array, read_volume(sample_case / "fixed.nii.gz").array)


def test_a_label_map_of_another_scan_is_refused(sample_case: Path, tmp_path: Path) -> None:
    for kind, source in (("images", "fixed"), ("labels", "moving_mask")):
        (tmp_path / kind).mkdir()
        shutil.copy(sample_case / f"{source}.nii.gz", tmp_path / kind / "one.nii.gz")
    with pytest.raises(BadInputError, match="not on the grid of the scan"):
        open_data_set("image-label", tmp_path).subject("one").labels()


def test_missing_parts_are_named(tmp_path: Path, sample_case: Path) -> None:
    with pytest.raises(BadInputError, match="downloaded"):
        open_data_set("image-label", tmp_path / "nowhere")
    with pytest.raises(BadInputError, match="neither a folder images nor"):
        open_data_set("image-label", tmp_path)
    with pytest.raises(BadInputError, match="no reader 'ixi'; there are csv,"):
        open_data_set("ixi", tmp_path)
    with pytest.raises(BadInputError, match="no option 'image'"):
        open_data_set("image-label", tmp_path, image="t1")
    (tmp_path / "images").mkdir()
    shutil.copy(sample_case / "fixed.nii.gz", tmp_path / "images" / "case-1.nii.gz")
    (tmp_path / "train.txt").write_text("case-2\n")
    with pytest.raises(BadInputError, match="no subject case-2; did you mean case-1"):
        open_data_set("image-label", tmp_path)


def test_a_folder_a_subject(shared_data: Path) -> None:
    data_set = open_data_set("subject-folders", shared_data / "lung-mr-lobes", mask="lungs.nii.gz")
    assert sorted(data_set.subjects) == ["0004", "0006", "0007"]
    subject = data_set.subject("0006")
    labels, mask = subject.labels(), subject.mask()
    assert labels is not None
    assert mask is not None
    assert [label.value for label in labels.labels] == [1, 2, 3, 4, 5]
    assert np.mean(mask.mask()[labels.mask()]) > 0.95
    with pytest.raises(BadInputError, match="no folder with a file scan"):
        open_data_set("subject-folders", shared_data / "lung-mr-lobes", image="scan.nii.gz")


@pytest.fixture
def class_files(shared_data: Path, tmp_path: Path) -> Path:
    """The TotalSegmentator example as the TotalSegmentator data set lays out its subjects, and a second subject."""
    source = shared_data / "abdomen-ct" / "totalsegmentator-example"
    labels = sitk.ReadImage(str(source / "labels.nii.gz"))
    for subject, classes in (("s0001", {"liver": 5, "spleen": 1, "kidney_left": 3}), ("s0002", {"spleen": 1})):
        folder = tmp_path / subject / "segmentations"
        folder.mkdir(parents=True)
        shutil.copy(source / "image.nii.gz", folder.parent / "ct.nii.gz")
        for name, value in classes.items():
            sitk.WriteImage(labels == value, str(folder / f"{name}.nii.gz"))
    sitk.WriteImage(labels == 999, str(tmp_path / "s0002" / "segmentations" / "liver.nii.gz"))  # not in the scan
    return tmp_path


def test_one_file_a_class(class_files: Path, shared_data: Path) -> None:
    data_set = open_data_set("totalsegmentator", class_files, classes=["spleen", "liver"])
    labels = data_set.subject("s0001").labels()
    assert labels is not None
    truth = read_label_map(shared_data / "abdomen-ct" / "totalsegmentator-example" / "labels.nii.gz").array
    assert [(label.value, label.name) for label in labels.labels] == [(1, "spleen"), (2, "liver")]
    assert np.array_equal(labels.array == 2, truth == 5)
    assert np.array_equal(labels.array == 1, truth == 1)
    assert labels.array.max() == 2
    other = data_set.subject("s0002").labels()
    assert other is not None
    assert [label.name for label in other.labels] == ["spleen"]
    assert data_set.subject("s0001").image().grid.same_geometry(labels.grid)


def test_all_classes_have_one_value_everywhere(class_files: Path) -> None:
    data_set = open_data_set("totalsegmentator", class_files)
    values = {}
    for name in data_set.subjects:
        labels = data_set.subject(name).labels()
        assert labels is not None
        for label in labels.labels:
            assert values.setdefault(label.name, label.value) == label.value
    assert values == {"kidney_left": 1, "liver": 2, "spleen": 3}


def test_one_class_may_be_named_without_a_list(class_files: Path) -> None:
    labels = (
        open_data_set("totalsegmentator", class_files, **assignments(["classes=liver"])).subject("s0001").labels()
    )
    assert labels is not None
    assert [label.name for label in labels.labels] == ["liver"]


def test_a_class_that_nobody_has_is_refused(class_files: Path) -> None:
    with pytest.raises(BadInputError, match="class pancreas"):
        open_data_set("totalsegmentator", class_files, classes=["liver", "pancreas"])
