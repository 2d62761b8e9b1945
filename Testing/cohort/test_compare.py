"""``compare``: two models on one pair, by the command itself."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import typer
from DeepLargeDeformRegLib.cli.app import app
from DeepLargeDeformRegLib.cohort.compare import chosen_models, compare_models, models_of
from DeepLargeDeformRegLib.cohort.pairs import FILES
from DeepLargeDeformRegLib.core.errors import BadInputError, ModelMissingError
from DeepLargeDeformRegLib.core.settings import RegistrationSettings
from DeepLargeDeformRegLib.resources import MODELS


def test_all_models_are_those_of_the_preset_and_none() -> None:
    assert models_of("mr-hippocampus")[0] == "hippocampus-mr-lapirn"
    assert "liver-ct" not in models_of("mr-hippocampus")
    assert chosen_models("all", "any") == ["none"]
    assert chosen_models("none, all", "liver-ct") == ["none", *models_of("liver-ct")]
    with pytest.raises(ModelMissingError):
        chosen_models("all,brain", "any")
    with pytest.raises(BadInputError, match="Name the models"):
        chosen_models(" ,", "any")


def test_a_scan_that_is_not_there_is_said_before_the_work(tmp_path: Path) -> None:
    files = {"fixed": str(tmp_path / "gone.nrrd"), "moving": str(tmp_path)}
    with pytest.raises(BadInputError, match=r"fixed \(.*gone.nrrd\)"):
        compare_models(files, ["none"], tmp_path / "out", settings=RegistrationSettings())
    assert not (tmp_path / "out").exists()


def test_the_command_tables_what_each_model_reached(tmp_path: Path) -> None:
    z, y, x = np.mgrid[:24, :24, :24]
    for name, center in (("fixed", 12), ("moving", 15)):
        blob = 100 * np.exp(-((x - center) ** 2 + (y - 12) ** 2 + (z - 12) ** 2) / 40)
        sitk.WriteImage(sitk.GetImageFromArray(blob.astype(np.float32)), str(tmp_path / f"{name}.nrrd"))
        sitk.WriteImage(sitk.GetImageFromArray((blob > 40).astype(np.uint8)), str(tmp_path / f"{name}_seg.nrrd"))
    line = [sys.executable, "-m", "DeepLargeDeformRegLib.cli", "compare", "fixed.nrrd", "moving.nrrd", "--no-guide"]
    labels = ["--fixed-segmentation", "fixed_seg.nrrd", "--moving-segmentation", "moving_seg.nrrd"]
    options = ["--preset", "mr-hippocampus", "--models", "hippocampus-mr-lapirn,none", "--output", "out"]
    done = subprocess.run(
        [*line, *labels, *options, "--device", "cpu"],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out" / "comparison.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["Model"] for row in rows] == ["Hippocampus MR, LapIRN", "No network"]
    card = json.loads((MODELS / "hippocampus-mr-lapirn.json").read_text(encoding="utf-8"))
    assert f"({card['figures'][0]['value']:.3f})" in done.stdout
    assert [row["Card: Dice"] for row in rows] == [str(card["figures"][0]["value"]), ""]
    assert all(float(row["Dice"]) > 0.8 and float(row["Time (s)"]) > 0 for row in rows)  # 0.58 as loaded
    assert (tmp_path / "out" / "pairs" / "none" / "warped.nii.gz").is_file()
    assert "Card: Dice" in (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")


def test_the_command_takes_every_file_of_a_pair() -> None:
    program = typer.main.get_command(app)
    named = {one.name for one in program.commands["compare"].params}  # type: ignore[attr-defined]
    assert set(FILES) <= named
