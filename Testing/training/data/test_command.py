"""The command that checks a data set and divides it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from training.data.__main__ import main
from training.data.splits import read_names


@pytest.fixture
def folder(sample_case: Path, tmp_path: Path) -> Path:
    for kind, suffix in (("images", ""), ("labels", "_mask")):
        (tmp_path / kind).mkdir()
        for number in range(5):
            source = sample_case / f"{'fixed' if number % 2 else 'moving'}{suffix}.nii.gz"
            shutil.copy(source, tmp_path / kind / f"case{number}.nii.gz")
    return tmp_path


def run(*arguments: object) -> tuple[int, str]:
    app = Typer()
    app.command()(main)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def test_everything_is_read_and_divided(folder: Path) -> None:
    wishes = ("--split", "train=0.6", "--split", "test=0.4", "--output", folder)
    code, output = run("image-label", folder, *wishes)
    assert code == 0, output
    assert "5 scans of 5 patients" in output
    assert "5 label maps" in output
    train, test = (read_names(folder / f"{name}.txt") for name in ("train", "test"))
    assert (len(train), len(test)) == (3, 2)
    assert sorted(train + test) == [f"case{number}" for number in range(5)]


def test_a_damaged_file_is_found(folder: Path) -> None:
    path = folder / "images" / "case3.nii.gz"
    path.write_bytes(path.read_bytes()[:5000])
    code, output = run("image-label", folder)
    assert code == 2
    assert "case3.nii.gz" in output
    code, _ = run("image-label", folder, "--no-check")
    assert code == 0


def test_options_reach_the_reader(folder: Path) -> None:
    code, output = run("image-label", folder, "--option", "images=scans")
    assert code == 0
    assert "5 label maps" in output
    code, output = run("image-label", folder, "--option", "images")
    assert code == 2
    assert "not of the form" in output
