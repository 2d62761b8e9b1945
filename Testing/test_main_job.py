"""The main job on the sample case, as a user runs it: the command line, its files, its refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.cli.app import app
from DeepLargeDeformRegLib.engine import fields
from typer.testing import CliRunner


def command(*arguments: str | Path) -> Any:
    """The command line in this process: a new one imports torch for seconds. The registration has one of its own."""
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture(scope="module")
def registered(sample_case: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with all outputs of one registration of the sample case."""
    out = tmp_path_factory.mktemp("registered")
    arguments = (
        "register",
        sample_case / "fixed.nii.gz",
        sample_case / "moving.nii.gz",
        *("--preset", "lung-ct", "--fold-free", "--landmarks", sample_case / "landmarks_lps.csv"),
        *("--fixed-segmentation", sample_case / "fixed_mask.nii.gz"),
        *("--moving-segmentation", sample_case / "moving_mask.nii.gz"),
        *("--output-transform", out / "t.h5", "--output-volume", out / "warped.nii.gz"),
        *("--output-segmentation", out / "mask.nii.gz", "--output-jacobian", out / "j.nii.gz"),
        *("--metrics", out / "metrics.json", "--report", out / "report.html", "--json-progress"),
    )
    line = [sys.executable, "-m", "DeepLargeDeformRegLib.cli", *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, encoding="utf-8", timeout=900)
    assert done.returncode == 0, done.stderr
    fractions = [json.loads(line)["fraction"] for line in done.stdout.splitlines()]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    return out


def test_landmarks_meet_and_nothing_folds(registered: Path) -> None:
    numbers = json.loads((registered / "metrics.json").read_text())
    assert numbers["tre_mm"]["before"]["mean"] > 30
    assert numbers["tre_mm"]["after"]["mean"] < 1.5
    assert numbers["jacobian"]["fold_percent"] == 0
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(registered / "j.nii.gz"))).min() > 0
    (overlap,) = numbers["dice"].values()
    assert overlap["after"] > 0.97 > overlap["before"]


@pytest.mark.parametrize("ending", [".h5", ".nrrd", ".nii.gz"])
def test_warp_and_simpleitk_give_the_image_that_was_written(
    registered: Path, sample_case: Path, tmp_path: Path, ending: str
) -> None:
    from DeepLargeDeformRegLib.core import files

    fixed = sitk.ReadImage(str(sample_case / "fixed.nii.gz"))
    transform_file = tmp_path / f"t{ending}"
    grid = files.read_volume(sample_case / "fixed.nii.gz").grid
    fields.write_transform(fields.to_field(fields.read_transform(registered / "t.h5"), grid), transform_file)
    warped_file = tmp_path / "w.nii.gz"
    done = command(
        *("warp", transform_file, sample_case / "fixed.nii.gz"),
        *("--volume", sample_case / "moving.nii.gz", "--output-volume", warped_file),
    )
    assert done.exit_code == 0, done.stderr
    moving = sitk.ReadImage(str(sample_case / "moving.nii.gz"), sitk.sitkFloat32)
    lowest = float(sitk.GetArrayViewFromImage(moving).min())
    transform = fields.read_transform(transform_file)
    theirs = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkLinear, lowest))
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(registered / "warped.nii.gz")))
    warped = sitk.GetArrayFromImage(sitk.ReadImage(str(warped_file)))
    assert np.abs(warped - written).max() < 1e-3 * np.ptp(written)
    # The half voxel around the moving scan is background for us and border for ITK; leave it out.
    inside = np.abs(warped - theirs) < 1e-3 * np.ptp(theirs)
    assert inside.mean() > 0.99
    lung = sitk.GetArrayFromImage(sitk.ReadImage(str(sample_case / "fixed_mask.nii.gz"))) > 0
    assert inside[lung].all()


def test_report_names_the_numbers(registered: Path) -> None:
    page = (registered / "report.html").read_text(encoding="utf-8")
    numbers = json.loads((registered / "metrics.json").read_text())
    assert f"{numbers['tre_mm']['after']['mean']:.2f}" in page


def _bad_inputs(folder: Path) -> dict[str, Path]:
    scan = np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32)

    def write(name: str, array: np.ndarray, **geometry: tuple[float, ...]) -> Path:
        image = sitk.GetImageFromArray(array)
        for key, value in geometry.items():
            getattr(image, f"Set{key}")(value)
        path = folder / f"{name}.nrrd"
        sitk.WriteImage(image, str(path))
        return path

    with_nan = scan.copy()
    with_nan[3, 3, 3] = np.nan
    return {
        "missing": folder / "missing.nrrd",
        "flat": write("flat", scan[0]),
        "four": write("four", np.stack([scan, scan])),
        "nan": write("nan", with_nan),
        "constant": write("constant", np.zeros_like(scan)),
    }


@pytest.mark.parametrize("kind", ["missing", "flat", "four", "nan", "constant"])
def test_bad_input_is_refused_in_one_line_and_nothing_is_written(
    kind: str, sample_case: Path, tmp_path: Path
) -> None:
    bad = _bad_inputs(tmp_path)[kind]
    out = tmp_path / "out"
    out.mkdir()
    done = command("register", sample_case / "fixed.nii.gz", bad, "--output-volume", out / "w.nii.gz")
    assert done.exit_code == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if "Error" in line]
    assert len(lines) == 1
    assert "Traceback" not in done.stderr
    assert not list(out.iterdir())


def test_empty_mask_and_foreign_mask_are_refused(sample_case: Path, tmp_path: Path) -> None:
    mask = sitk.ReadImage(str(sample_case / "fixed_mask.nii.gz"))
    empty, foreign = tmp_path / "empty.nii.gz", tmp_path / "foreign.nii.gz"
    sitk.WriteImage(mask * 0, str(empty))
    sitk.WriteImage(mask[5:, :, :], str(foreign))
    for path in (empty, foreign):
        done = command(
            "register",
            *(sample_case / "fixed.nii.gz", sample_case / "moving.nii.gz"),
            *("--fixed-segmentation", path, "--moving-segmentation", sample_case / "moving_mask.nii.gz"),
            *("--output-volume", tmp_path / "w.nii.gz"),
        )
        assert done.exit_code == 2, done.stderr
        assert not (tmp_path / "w.nii.gz").exists()


def test_the_error_to_expect_is_refused_without_a_refinement(sample_case: Path, tmp_path: Path) -> None:
    scans = (sample_case / "fixed.nii.gz", sample_case / "moving.nii.gz")
    done = command("register", *scans, "--no-refine", "--output-uncertainty", tmp_path / "u.nii.gz")
    assert done.exit_code == 2
    assert "after a refinement only" in " ".join(done.stderr.split())
    assert not list(tmp_path.iterdir())
