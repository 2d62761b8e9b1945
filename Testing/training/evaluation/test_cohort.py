"""The command on a small cohort of real scans, with the real engine."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import SimpleITK as sitk
import typer
from DeepLargeDeformRegLib.engine.models import load_model
from typer.testing import CliRunner

from training.config import find_config, load_config
from training.evaluation.cohort import main
from training.release.figures import measure_pair, measured_on
from training.release.publish import read_figures

RUNNER = CliRunner()
APP = typer.Typer()
APP.command()(main)


def _run(cohort: Path, output: Path, *options: str) -> dict:
    found = RUNNER.invoke(
        APP, [str(cohort), "--output", str(output), "--preset", "lung-ct", "--threads", "1", *options]
    )
    assert found.exit_code == 0, found.output
    return json.loads((output / "evaluation.json").read_text())


def test_a_cohort_is_measured_compared_and_written(cohort: Path, tmp_path: Path) -> None:
    before = {"fixed": "fixed", "moving": "moving", "values": {"tre_mm": 30.0}, "errors_mm": {}}
    (tmp_path / "other.json").write_text(json.dumps({"cases": [before]}))
    options = ("--no-refine", "--against", str(tmp_path / "other.json"), "--description", "sample, small")
    run = _run(cohort, tmp_path / "run", *options)
    first = run["cases"][0]["values"]
    assert first["tre_mm"] < first["before: tre_mm"]
    assert first["tre_mm"] == pytest.approx(np.mean(run["cases"][0]["errors_mm"]["after"]))
    assert first["dice"] > first["before: dice"]
    assert run["summary"]["tre_mm"]["n"] == 1
    assert run["summary"]["fold_percent"]["n"] == 2
    assert run["failed"] == 1
    assert run["summary"]["tre_mm: all landmarks"]["n"] == len(run["cases"][0]["errors_mm"]["after"])
    assert 0 < first["asd_voxels"] < first["asd_mm"]  # its voxels are larger than a millimeter
    assert "in mask: sdlogj_learn2reg" in first
    assert "broken.nii.gz" in run["cases"][2]["error"]
    assert run["comparison"][tmp_path.name]["tre_mm"]["difference"] == pytest.approx(first["tre_mm"] - 30.0)
    assert run["tre_curve"]["after"][-1] >= run["tre_curve"]["before"][-1]
    figures = read_figures(tmp_path / "run" / "evaluation.json")
    assert {figure.data for figure in figures} == {"sample, small"}
    with (tmp_path / "run" / "cases.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert float(lines[0]["tre_mm"]) == first["tre_mm"]
    assert lines[2]["error"]
    for name in ("summary.md", "summary.csv", "comparison.md", "comparison.csv", "tre_curve.csv"):
        assert (tmp_path / "run" / name).stat().st_size > 0
    for name in ("boxes_dice.png", "boxes_hd95_mm.png", "tre_curve.png"):
        assert matplotlib.image.imread(tmp_path / "run" / name).std() > 0.01


def test_a_file_that_is_no_run_is_told(cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"cases": [1]}')
    found = RUNNER.invoke(
        APP, [str(cohort), "--output", str(tmp_path / "out"), "--against", str(tmp_path / "other.json")]
    )
    assert found.exit_code == 2
    assert "other.json is no evaluation.json" in found.output
    assert not (tmp_path / "out").exists()


def test_fields_that_the_challenge_could_not_read_are_refused_first(cohort: Path, tmp_path: Path) -> None:
    image = sitk.ReadImage(str(cohort.parent / "fixed.nii.gz"))
    for name in ("moving", "broken"):
        shutil.copy(cohort.parent / f"{name}.nii.gz", tmp_path)
    sitk.WriteImage(image[1:, :, :], str(tmp_path / "fixed.nii.gz"))
    table = tmp_path / "pairs.csv"
    table.write_text("fixed,moving,split\nfixed.nii.gz,broken.nii.gz,test\nfixed.nii.gz,moving.nii.gz,test\n")
    found = RUNNER.invoke(APP, [str(table), "--output", str(tmp_path / "out"), "--challenge", "learn2reg"])
    assert found.exit_code == 2
    assert "one size" in found.output
    assert not (tmp_path / "out").exists()


def test_the_bare_network_has_the_figures_of_its_card(shared_data: Path, tmp_path: Path) -> None:
    folder, name = shared_data / "hippocampus", "hippocampus-mr-lapirn"
    options = ["--reader", "image-label", "--pairs", str(folder / "test_pairs.csv"), "--first", "1", "--model", name]
    options += ["--network-alone", name, "--output", str(tmp_path / "run")]
    config = load_config(find_config(Path(name)))
    found = RUNNER.invoke(APP, [str(folder), *options])
    assert found.exit_code == 0, found.output
    values = json.loads((tmp_path / "run" / "evaluation.json").read_text())["cases"][0]["values"]
    settings, pairs, _ = measured_on(config)
    alone = measure_pair(load_model(name), pairs[0], settings)
    assert values["dice"] == pytest.approx(alone["dice"], abs=1e-6)
    assert values["hd95_mm"] == pytest.approx(alone["hd95_mm"], abs=1e-6)
    assert values["fold_percent"] == pytest.approx(alone["fold_percent"], abs=1e-6)
    assert values["sdlogj_learn2reg"] == pytest.approx(alone["sdlogj_learn2reg"], abs=1e-6)
