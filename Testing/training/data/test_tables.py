"""Tables of subjects and pairs, on the sample case that ships."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.files import read_landmark_pairs

from training.data import open_data_set


@pytest.fixture
def folder(sample_case: Path, tmp_path: Path) -> Path:
    for file in sample_case.iterdir():
        shutil.copy(file, tmp_path)
    return tmp_path


def test_pairs(folder: Path) -> None:
    table = folder / "pairs.csv"
    table.write_text(
        "fixed,moving,fixed_mask,moving_mask,landmarks,patient,split\n"
        "fixed.nii.gz,moving.nii.gz,fixed_mask.nii.gz,moving_mask.nii.gz,landmarks_lps.csv,p1,test\n"
    )
    data_set = open_data_set("csv", table)
    (pair,) = data_set.listed("test")
    assert pair.same_patient
    assert pair.keypoints() is None
    truth = read_landmark_pairs(folder / "landmarks_lps.csv")
    landmarks, swapped = pair.landmarks(), data_set.pair("moving", "fixed").landmarks()
    assert landmarks is not None
    assert swapped is not None
    assert np.array_equal(landmarks.fixed, truth.fixed)
    assert np.array_equal(swapped.fixed, truth.moving)
    assert np.array_equal(swapped.moving, truth.fixed)
    mask = pair.moving.mask()
    assert mask is not None
    assert mask.grid.same_geometry(pair.moving.image().grid)
    with pytest.raises(BadInputError, match="lists no pairs of a split 'train'; it has test"):
        data_set.listed("train")


def test_subjects(folder: Path) -> None:
    table = folder / "subjects.csv"
    table.write_text(
        "name,image,labels,patient,split\n"
        "first,fixed.nii.gz,fixed_mask.nii.gz,p1,train\nsecond,moving.nii.gz,,p1,test\n"
    )
    data_set = open_data_set("csv", table)
    assert data_set.splits == {"train": ["first"], "test": ["second"]}
    assert data_set.pair("first", "second").same_patient
    assert data_set.subject("second").labels() is None
    assert data_set.subject("first").labels() is not None


def test_structures_get_the_values_that_the_table_says(folder: Path) -> None:
    table = folder / "pairs.csv"
    table.write_text(
        "fixed,moving,fixed_labels,moving_labels,fixed_structures,moving_structures\n"
        "fixed.nii.gz,moving.nii.gz,fixed_mask.nii.gz,moving_mask.nii.gz,1=9 4=2,3=1\n"
    )
    (pair,) = open_data_set("csv", table).listed("train")
    fixed, moving = pair.fixed.labels(), pair.moving.labels()
    assert fixed is not None
    assert moving is not None
    assert np.array_equal(fixed.array == 9, sitk.GetArrayFromImage(sitk.ReadImage(folder / "fixed_mask.nii.gz")) == 1)
    assert set(np.unique(fixed.array)) == {0, 9}
    assert not moving.array.any()


def test_scans_of_one_name_in_several_folders_are_told_apart(folder: Path) -> None:
    for case in ("case1", "case2"):
        (folder / case).mkdir()
        shutil.copy(folder / "fixed.nii.gz", folder / case / "exhale.nii.gz")
        shutil.copy(folder / "moving.nii.gz", folder / case / "inhale.nii.gz")
    table = folder / "pairs.csv"
    rows = "".join(f"{case}/exhale.nii.gz,{case}/inhale.nii.gz\n" for case in ("case1", "case2"))
    table.write_text("fixed,moving\n" + rows)
    data_set = open_data_set("csv", table)
    assert list(data_set.subjects) == ["exhale", "inhale", "case2/exhale", "case2/inhale"]
    assert len(data_set.listed("train")) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fixed,moving\nfixed.nii.gz,missing.nii.gz\n", r"Line 2 of table.csv: missing.nii.gz \(moving\) does not"),
        ("fixed,moving\nfixed.nii.gz,\n", "Line 2 of table.csv has no moving scan"),
        ("fixed,moving,colour\nfixed.nii.gz,moving.nii.gz,red\n", "unknown column 'colour'"),
        ("a,b\n1,2\n", "must name its columns"),
        ("image\n", "no row"),
        ("image\nfixed.nii.gz\nfixed.nii.gz\n", "already a subject called fixed"),
        ("image,labels\n,\n", "neither an image nor labels"),
        (
            "fixed,moving,fixed_landmarks\nfixed.nii.gz,moving.nii.gz,landmarks_lps.csv\n",
            "landmarks of one scan only",
        ),
        ("image,labels,structures\nfixed.nii.gz,fixed_mask.nii.gz,1:2\n", "'1:2' .structures. does not say"),
        ("", "is empty"),
    ],
)
def test_what_is_wrong_is_said(folder: Path, text: str, message: str) -> None:
    table = folder / "table.csv"
    table.write_text(text)
    with pytest.raises(BadInputError, match=message):
        open_data_set("csv", table)
