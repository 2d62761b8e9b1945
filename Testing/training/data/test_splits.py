"""Split files."""

from __future__ import annotations

from pathlib import Path

import pytest
from DeepLargeDeformRegLib.core.errors import BadInputError

from training.data.splits import divide, read_names, read_pair_names, write_names, write_pair_names

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


def test_lists_are_read_as_written(tmp_path: Path) -> None:
    write_names(["b", "a"], tmp_path / "train.txt", "Dealt out by hand.")
    assert read_names(tmp_path / "train.txt") == ["b", "a"]
    write_pair_names([("a", "b"), ("b", "c")], tmp_path / "pairs.csv")
    assert read_pair_names(tmp_path / "pairs.csv") == [("a", "b"), ("b", "c")]


@pytest.mark.parametrize(("text", "message"), [("# nobody\n", "names no subject"), ("a\nb\na\n", "a more than once")])
def test_bad_lists_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "train.txt").write_text(text)
    with pytest.raises(BadInputError, match=message):
        read_names(tmp_path / "train.txt")


@pytest.mark.parametrize("text", ["fixed,moving\n", "a,b\nc,d\n", "fixed,moving\na,\n"])
def test_bad_pairs_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(BadInputError, match="list of pairs"):
        read_pair_names(tmp_path / "pairs.csv")


def test_no_patient_is_in_two_splits() -> None:
    patients = {f"p{patient}_{scan}": f"p{patient}" for patient in range(50) for scan in (0, 1)}
    splits = divide(patients, SHARES)
    assert [len(names) for names in splits.values()] == [80, 10, 10]
    assert sorted(name for names in splits.values() for name in names) == sorted(patients)
    groups = [{patients[name] for name in names} for names in splits.values()]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    assert divide(patients, SHARES) == splits
    assert divide(patients, SHARES, seed=1) != splits
    assert divide(dict(reversed(patients.items())), SHARES) == splits


def test_impossible_shares_are_refused() -> None:
    with pytest.raises(BadInputError, match="sum to 1"):
        divide({"a": "a"}, {"train": 0.8})
    with pytest.raises(BadInputError, match="too few"):
        divide({"a": "a", "b": "b"}, SHARES)
