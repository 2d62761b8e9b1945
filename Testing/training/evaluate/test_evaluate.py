"""The command on a small cohort of real scans, with the real engine."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import typer
from typer.testing import CliRunner

from training.evaluate import main
from training.publish import read_figures

RUNNER = CliRunner()
APP = typer.Typer()
APP.command()(main)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of three pairs: the sample case at a sixth of its resolution, exchanged, and a scan that is broken."""
    folder = tmp_path_factory.mktemp("cohort")
    source = Path(__file__).parents[3] / "Resources" / "SampleCase"
    for name in ("fixed", "moving", "fixed_mask", "moving_mask"):
        image = sitk.ReadImage(str(source / f"{name}.nii.gz"))
        sitk.WriteImage(sitk.Shrink(image, (6, 6, 3)), str(folder / f"{name}.nii.gz"))
    (folder / "landmarks.csv").write_text((source / "landmarks_lps.csv").read_text())
    (folder / "broken.nii.gz").write_text("no scan")
    (folder / "pairs.csv").write_text(
        "fixed,moving,fixed_labels,moving_labels,landmarks,split\n"
        "fixed.nii.gz,moving.nii.gz,fixed_mask.nii.gz,moving_mask.nii.gz,landmarks.csv,test\n"
        "moving.nii.gz,fixed.nii.gz,,,,test\n"
        "fixed.nii.gz,broken.nii.gz,,,,test\n"
    )
    return folder / "pairs.csv"


def _run(cohort: Path, output: Path, *options: str) -> dict:
    found = RUNNER.invoke(APP, [str(cohort), "--output", str(output), "--preset", "lung-ct", *options])
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
    assert "broken.nii.gz" in run["cases"][2]["error"]
    assert run["comparison"]["tre_mm"]["difference"] == pytest.approx(first["tre_mm"] - 30.0)
    assert run["tre_curve"]["after"][-1] >= run["tre_curve"]["before"][-1]
    figures = read_figures(tmp_path / "run" / "evaluation.json")
    assert {figure.data for figure in figures} == {"sample, small"}
    with (tmp_path / "run" / "cases.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert float(lines[0]["tre_mm"]) == first["tre_mm"]
    assert lines[2]["error"]
    for name in ("summary.md", "summary.csv", "comparison.md", "comparison.csv", "tre_curve.csv"):
        assert (tmp_path / "run" / name).stat().st_size > 0


def test_a_file_that_is_no_run_is_told(cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"cases": [1]}')
    found = RUNNER.invoke(
        APP, [str(cohort), "--output", str(tmp_path / "out"), "--against", str(tmp_path / "other.json")]
    )
    assert found.exit_code == 2
    assert "no evaluation.json" in found.output
    assert not (tmp_path / "out").exists()
