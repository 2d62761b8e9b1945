"""The table of pairs: what is read from it, and that all that is wrong with it is told at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from DeepLargeDeformRegLib.cohort.pairs import COLUMNS, pair_folders, read_pairs
from DeepLargeDeformRegLib.core.errors import BadInputError


def write(folder: Path, text: str, name: str = "pairs.csv") -> Path:
    for scan in ("a.nii.gz", "b.nrrd", "c.nii.gz"):
        (folder / scan).write_text("scan", encoding="utf-8")
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(("name", "delimiter"), [("pairs.csv", ","), ("pairs.csv", ";"), ("pairs.tsv", "\t")])
def test_columns_are_read_relative_to_the_table(tmp_path: Path, name: str, delimiter: str) -> None:
    lines = [["Fixed", "moving", "preset", "fixed_segmentation"], ["a.nii.gz", "b.nrrd", "lung-ct", "c.nii.gz"]]
    lines.append(["b.nrrd", "a.nii.gz"])
    text = "\ufeff" + "".join(delimiter.join(line) + "\r\n" for line in lines) + "\r\n"
    first, second = read_pairs(write(tmp_path, text, name))
    assert first.name == "a__b"
    assert first.preset == "lung-ct"
    assert first.files["fixed_segmentation"] == str(tmp_path / "c.nii.gz")
    assert second.name == "b__a"
    assert second.preset is None
    assert set(second.files) == {"fixed", "moving"}


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    text = (
        "name,fixed,moving,preset,fixed_landmarks,match\n"
        "one,a.nii.gz,none.nii.gz,lung-ct,,\n"
        "one,a.nii.gz,b.nrrd,lungs,,\n"
        "a/b,,b.nrrd,,c.nii.gz,liver\n"
    )
    with pytest.raises(BadInputError) as error:
        read_pairs(write(tmp_path, text))
    for words in (
        "line 2: moving is not there (none.nii.gz)",
        "line 3: there is no preset 'lungs'",
        "line 3: the name 'one' is that of line 2",
        "line 4: fixed is empty",
        "line 4: landmarks are needed in both scans",
        "line 4: the name 'a/b' must be",
        "line 4: match must be FIXED=MOVING",
    ):
        assert words in error.value.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fixed,moving,organ\n", "unknown columns: 'organ'"),
        ("fixed\na.nii.gz\n", "missing columns: moving"),
        ("fixed,moving\n", "names no pairs"),
        ("", "is empty"),
        ("fixed,moving\na.nii.gz,b.nrrd,c\n", "line 2 is longer"),
        ("fixed,fixed,moving\na.nii.gz,a.nii.gz,b.nrrd\n", "a column occurs twice"),
    ],
)
def test_a_table_of_another_kind_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        read_pairs(write(tmp_path, text))


def test_learn2reg_with_the_labels_beside_the_scans(tmp_path: Path) -> None:
    for name in ("imagesTr/x_1.nii.gz", "imagesTr/x_2.nii.gz", "labelsTr/x_1.nii.gz", "labelsTr/x_2.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("scan", encoding="utf-8")
    pairs = [{"fixed": "./imagesTr/x_1.nii.gz", "moving": "./imagesTr/x_2.nii.gz"}]
    (pair,) = read_pairs(write(tmp_path, json.dumps({"registration_val": pairs}), "dataset.json"))
    assert Path(pair.files["moving_segmentation"]).resolve() == (tmp_path / "labelsTr/x_2.nii.gz").resolve()
    with pytest.raises(BadInputError, match="no data set of Learn2Reg"):
        read_pairs(write(tmp_path, "[]", "other.json"))


def test_two_folders_are_matched_by_file_name(tmp_path: Path) -> None:
    for name in ("f/a.nii.gz", "f/b.1.nrrd", "f/a.seg.nrrd", "f/c d.mha", "f/only.nii", "m/a.nrrd", "m/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("scan", encoding="utf-8")
    (tmp_path / "m" / "b.1.mhd").touch()
    (tmp_path / "m" / "c d").mkdir()  # a DICOM folder
    pairs = pair_folders(tmp_path / "f", tmp_path / "m")
    assert [pair.name for pair in pairs] == ["a", "b.1", "c_d"]
    assert {key: Path(path).name for key, path in pairs[0].files.items()} == {
        "fixed": "a.nii.gz",
        "moving": "a.nrrd",
        "fixed_segmentation": "a.seg.nrrd",
    }
    assert Path(pairs[2].files["moving"]).is_dir()
    with pytest.raises(BadInputError, match="m is a folder; say with --moving-folder"):
        read_pairs(tmp_path / "m")
    with pytest.raises(BadInputError, match="no folder gone"):
        pair_folders(tmp_path / "f", tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match="need the same file name"):
        pair_folders(tmp_path / "f", tmp_path / "empty")


def test_documented_columns_are_those_that_are_read(repository: Path) -> None:
    text = (repository / "docs" / "cohorts.md").read_text(encoding="utf-8")
    assert all(f"`{column}`" in text for column in COLUMNS)
