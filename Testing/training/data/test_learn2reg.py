"""Learn2Reg task folders, written exactly as the challenge lays them out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.files import read_volume

from training.data import open_data_set


def write_task(folder: Path, **content: Any) -> Path:
    base = {"name": "LungCT", "tensorImageSize": {"0": "3D"}, "modality": {"0": "CT", "1": "CT"}, "labels": {}}
    (folder / "LungCT_dataset.json").write_text(json.dumps({**base, **content}))
    return folder


def name(subject: int, time: int) -> str:
    return f"LungCT_{subject:04d}_{time:04d}"


@pytest.fixture
def paired(sample_case: Path, tmp_path: Path) -> Path:
    """Three patients at two breathing states with masks and keypoints; the third is for validation."""
    for kind in ("imagesTr", "masksTr", "keypointsTr", "landmarksTr"):
        (tmp_path / kind).mkdir()
    for subject in (1, 2, 3):
        for time, source in ((0, "fixed"), (1, "moving")):
            shutil.copy(sample_case / f"{source}.nii.gz", tmp_path / "imagesTr" / f"{name(subject, time)}.nii.gz")
            shutil.copy(sample_case / f"{source}_mask.nii.gz", tmp_path / "masksTr" / f"{name(subject, time)}.nii.gz")
            rows = "".join(f"{10 + subject}.000,{20 + time}.500,{n}.000\n" for n in (5, 6, 7))
            (tmp_path / "keypointsTr" / f"{name(subject, time)}.csv").write_text(rows)
    for time in (0, 1):
        (tmp_path / "landmarksTr" / f"{name(3, time)}.csv").write_text("56.0,30.0,11.0\n")

    def pair(subject: int) -> dict[str, str]:
        fixed, moving = (f"./imagesTr/{name(subject, time)}.nii.gz" for time in (0, 1))
        return {"fixed": fixed, "moving": moving}

    # As in the releases, validation pairs are among the training pairs, and keypoints are given an image's ending.
    training = [
        {"image": f"./imagesTr/{name(s, t)}.nii.gz", "keypoints": f"./keypointsTr/{name(s, t)}.nii.gz"}
        for s in (1, 2, 3)
        for t in (0, 1)
    ]
    return write_task(
        tmp_path,
        pairings="paired",
        training=training,
        test=[],
        training_paired_images=[pair(1), pair(2), pair(3)],
        registration_val=[pair(3)],
    )


def test_paired_task(paired: Path) -> None:
    data_set = open_data_set("learn2reg", paired)
    assert len(data_set) == 6
    assert [pair.fixed.name for pair in data_set.listed("train")] == [name(1, 0), name(2, 0)]
    assert [pair.moving.name for pair in data_set.listed("validation")] == [name(3, 1)]
    assert set(data_set.splits["train"]) == {name(s, t) for s in (1, 2) for t in (0, 1)}
    pair = data_set.listed("validation")[0]
    assert pair.same_patient
    mask = pair.fixed.mask()
    assert mask is not None
    assert mask.mask().any()
    keypoints, landmarks = pair.keypoints(), pair.landmarks()
    assert keypoints is not None
    assert landmarks is not None
    # Voxel indices from 0 along the file's axes, in each scan's own grid.
    for side, scan, y in ((keypoints.fixed, pair.fixed, 20.5), (keypoints.moving, pair.moving, 21.5)):
        image = sitk.ReadImage(str(paired / "imagesTr" / f"{scan.name}.nii.gz"))
        assert side[0] == pytest.approx(image.TransformContinuousIndexToPhysicalPoint((13.0, y, 5.0)), abs=1e-3)
    assert len(landmarks) == 1
    assert data_set.listed("train")[0].landmarks() is None


def test_keypoints_of_a_scan_in_several_pairs(paired: Path) -> None:
    (paired / "keypointsTr").rename(paired / "keypoints01Tr")
    keypoints = open_data_set("learn2reg", paired).listed("train")[0].keypoints()
    assert keypoints is not None
    assert len(keypoints) == 3


def test_unpaired_task(shared_data: Path, tmp_path: Path) -> None:
    """The hippocampus task, from the scans that it was made of."""
    source = shared_data / "hippocampus"
    numbers = [int(path.name[12:15]) for path in sorted((source / "images").iterdir())[:4]]
    for kind in ("images", "labels"):
        (tmp_path / f"{kind}Tr").mkdir()
        for n in numbers:
            target = tmp_path / f"{kind}Tr" / f"HippocampusMR_{n:04d}_0000.nii.gz"
            shutil.copy(source / kind / f"hippocampus_{n:03d}.nii.gz", target)
    paths = [f"./imagesTr/HippocampusMR_{n:04d}_0000.nii.gz" for n in numbers]
    write_task(
        tmp_path,
        pairings="unpaired",
        training=[{"image": path, "label": path.replace("images", "labels")} for path in paths],
        registration_val=[{"fixed": paths[2], "moving": paths[3]}],
    )
    data_set = open_data_set("learn2reg", tmp_path)
    assert len(data_set.splits["train"]) == 2
    (pair,) = data_set.listed("validation")
    assert not pair.same_patient
    assert set(data_set.splits["validation"]) == {pair.fixed.name, pair.moving.name}
    labels = pair.fixed.labels()
    assert labels is not None
    assert [label.value for label in labels.labels] == [1, 2]
    original = read_volume(source / "images" / f"hippocampus_{numbers[3]:03d}.nii.gz")
    assert np.array_equal(pair.moving.image().array, original.array)
    (tmp_path / "labelsTr" / f"HippocampusMR_{numbers[0]:04d}_0000.nii.gz").unlink()
    with pytest.raises(BadInputError, match="which is not in labelsTr"):
        open_data_set("learn2reg", tmp_path)


def test_first_release_numbers_its_scans(paired: Path) -> None:
    pair = {str(time): f"./imagesTr/{name(1, time)}.nii.gz" for time in (0, 1)}
    direction = {"fixed": 1, "moving": 0}
    write_task(paired, training=[], training_paired_images=[pair], registration_direction=direction)
    (found,) = open_data_set("learn2reg", paired).listed("train")
    assert (found.fixed.name, found.moving.name) == (name(1, 1), name(1, 0))


def test_what_is_missing_is_said(paired: Path, tmp_path: Path) -> None:
    (paired / "imagesTr" / f"{name(2, 1)}.nii.gz").unlink()
    with pytest.raises(BadInputError, match=f"{name(2, 1)}.nii.gz does not exist"):
        open_data_set("learn2reg", paired)
    (paired / "LungCT_dataset.json").write_text("{}")
    with pytest.raises(BadInputError, match="lists neither training scans nor pairs"):
        open_data_set("learn2reg", paired)
    (paired / "LungCT_dataset.json").unlink()
    with pytest.raises(BadInputError, match="no file called"):
        open_data_set("learn2reg", paired)


def test_points_of_another_scan_are_refused(paired: Path) -> None:
    (paired / "keypointsTr" / f"{name(1, 0)}.csv").write_text("5000.0,2.0,3.0\n" * 3)
    with pytest.raises(BadInputError, match="3 points"):
        open_data_set("learn2reg", paired).listed("train")[0].keypoints()
