"""The command line itself: how soon it answers, what it refuses before any work, what it shows and logs."""

from __future__ import annotations

import dataclasses
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import typer
from DeepLargeDeformRegLib.cli import register
from DeepLargeDeformRegLib.cli.app import app
from DeepLargeDeformRegLib.cohort.summary import Row
from DeepLargeDeformRegLib.core.comparison import ModelResult
from DeepLargeDeformRegLib.core.presets import PRESETS
from DeepLargeDeformRegLib.core.settings import RegistrationSettings
from typer.testing import CliRunner

COMMANDS = ("register", "warp", "evaluate", "models", "networks", "demo")


def command(*arguments: str | Path) -> Any:
    """The command line in this process, as a new one imports torch for seconds; ``test_main_job`` starts one."""
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with two small scans, a blob 3 mm apart, and their segmentations with different values."""
    folder = tmp_path_factory.mktemp("scans")
    z, y, x = np.mgrid[:24, :24, :24]
    for name, center, value in (("fixed", 12, 1), ("moving", 15, 5)):
        blob = 100 * np.exp(-((x - center) ** 2 + (y - 12) ** 2 + (z - 12) ** 2) / 40)
        sitk.WriteImage(sitk.GetImageFromArray(blob.astype(np.float32)), str(folder / f"{name}.nrrd"))
        labels = np.where(blob > 40, value, 0) + np.where((blob > 20) & (blob <= 40), 6 - value, 0)
        sitk.WriteImage(sitk.GetImageFromArray(labels.astype(np.uint8)), str(folder / f"{name}_labels.nrrd"))
    return folder


def test_help_answers_at_once() -> None:
    """0.07 s of processor time measured, of which 0.02 s Python's own; torch alone takes 2 s."""
    line = [sys.executable, "-m", "DeepLargeDeformRegLib.cli", "--help"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(line, capture_output=True, check=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 0.3


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from DeepLargeDeformRegLib.cli.app import app; "
        "print(sorted({'torch', 'numpy', 'scipy', 'SimpleITK', 'rich', 'jinja2'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_option_has_help() -> None:
    program = typer.main.get_command(app)
    assert set(program.commands) >= set(COMMANDS)  # type: ignore[attr-defined]
    for name, one in program.commands.items():  # type: ignore[attr-defined]
        assert one.help, name
        for parameter in one.params:
            assert getattr(parameter, "help", None), f"{name} {parameter.name}"


def test_a_cohort_takes_every_setting_of_a_registration() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    defaults = {name: {one.name: one.default for one in commands[name].params} for name in ("register", "batch")}
    settings = {field.name for field in dataclasses.fields(RegistrationSettings)} | set(register._SETTINGS)
    wanted = {name: value for name, value in defaults["register"].items() if name in settings}
    assert len(wanted) > 12
    assert {name: defaults["batch"].get(name, "missing") for name in wanted} == wanted


def test_help_names_every_preset() -> None:
    text = " ".join(command("register", "--help").stdout.replace("-\n", "-").split()).replace("- ", "-")
    assert all(name in text for name in PRESETS)


def test_version_and_short_help() -> None:
    from DeepLargeDeformRegLib import __version__

    assert command("--version").stdout == f"DeepLargeDeformReg {__version__}\n"
    assert command("register", "-h").stdout.startswith("Usage:")
    assert "--install-completion" in command("-h").stdout


def test_nothing_to_write_is_refused_before_the_scans_are_read() -> None:
    done = command("register", "not-there.nrrd", "not-there-either.nrrd")
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: Name at least one output")


def test_structures_are_matched_as_the_user_says(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scans)
    files = ("fixed.nrrd", "moving.nrrd", "--fixed-segmentation", "fixed_labels.nrrd")
    files += ("--moving-segmentation", "moving_labels.nrrd", "--preset", "any", "--steps", "5", "--no-uncertainty")
    (tmp_path / "earlier.nrrd").write_bytes(b"of an earlier run")
    organs = ("--output-fixed-organs", tmp_path / "organs.nrrd", "--output-moving-organs", tmp_path / "earlier.nrrd")
    wrong = command("register", *files, "--metrics", tmp_path / "wrong.json", "--no-guide", *organs)
    assert wrong.exit_code == 0, wrong.stderr
    said = " ".join(wrong.stderr.split())
    assert "Note: Structures were matched by value alone: 1, 5" in said
    assert "Note: organs.nrrd was not written: no organs were found automatically" in said
    assert "Note: earlier.nrrd was not written" in said
    assert "the file of this name is of an earlier run" in said
    assert (tmp_path / "earlier.nrrd").read_bytes() == b"of an earlier run"
    match = ("--match", "1=5", "--match", "5=1")
    right = command("register", *files, *match, "--metrics", tmp_path / "right.json", "--quiet")
    assert right.exit_code == 0, right.stderr
    assert right.stdout == right.stderr == ""
    by_value, by_user = (
        json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))["dice"] for name in ("wrong", "right")
    )
    assert all(values["after"] < 0.2 for values in by_value.values())
    assert all(values["after"] > 0.7 for values in by_user.values())


def test_a_batch_without_any_result_has_failed(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has some is done; a script must not take an empty one for it."""
    (tmp_path / "pairs.csv").write_text(f"fixed,moving\n{scans / 'fixed.nrrd'},{scans / 'moving.nrrd'}\n")
    for errors, expected in (([None, "damaged"], 0), (["damaged", "damaged"], 1)):
        rows = [Row(name=f"p{number}", error=error) for number, error in enumerate(errors)]
        monkeypatch.setattr("DeepLargeDeformRegLib.cohort.run.run_cohort", lambda *_, rows=rows: rows)
        done = command("batch", tmp_path / "pairs.csv", "--output", tmp_path / "out")
        assert done.exit_code == expected, done.stderr
        assert "of 2 pairs failed" in done.stderr


def test_a_comparison_without_any_result_has_failed(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for errors, expected in (([None, "damaged"], 0), (["damaged", "damaged"], 1)):
        results = [ModelResult(model=f"m{n}", title=f"M{n}", error=error) for n, error in enumerate(errors)]
        monkeypatch.setattr("DeepLargeDeformRegLib.cohort.compare.compare_models", lambda *_, r=results, **__: r)
        pair = (scans / "fixed.nrrd", scans / "moving.nrrd")
        done = command("compare", *pair, "--preset", "mr-hippocampus", "--output", tmp_path / "out")
        assert done.exit_code == expected, done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "Nothing to warp"),
        (("--volume", "moving.nrrd", "--segmentation", "moving_labels.nrrd"), "Nothing to warp"),
        (("--volume", "moving.nrrd", "--segmentation", "moving_labels.nrrd", "--output-segmentation"), "name both"),
        (("--segmentation", "moving_labels.nrrd", "--output-volume", "a.nrrd", "--output-segmentation"), "name both"),
    ],
)
def test_a_warp_with_half_of_what_it_needs_is_refused(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(scans)
    target = tmp_path / "labels.nrrd"
    more = (target,) if options and options[-1] == "--output-segmentation" else ()
    done = command("warp", "transform.nrrd", "fixed.nrrd", *options, *more)
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())
    assert not target.exists()


def test_landmarks_given_twice_are_refused(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(scans)
    twice = ("--landmarks", "pairs.csv", "--fixed-landmarks", "a.fcsv", "--moving-landmarks", "b.fcsv")
    done = command("register", "fixed.nrrd", "moving.nrrd", *twice, "--metrics", tmp_path / "m.json")
    assert done.exit_code == 2
    assert "Landmarks are given twice" in " ".join(done.stderr.split())


def test_the_log_has_the_stages_and_the_error(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(scans)
    log = tmp_path / "log.txt"
    outputs = ("--metrics", tmp_path / "m.json", "--log-file", log, "--quiet")
    options = ("--steps", "2", "--grid-spacing", "2", "--smoothness", "3", "--memory-limit", "2000")
    done = command("register", "fixed.nrrd", "moving.nrrd", *outputs, *options)
    assert done.exit_code == 0, done.stderr
    text = log.read_text(encoding="utf-8")
    assert "Reading the scans" in text
    assert "done after" in text
    chosen = json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))["provenance"]["settings"]
    expected = {"iterations": 2, "output_spacing_mm": 2.0, "regularity": 3.0, "memory_limit_mb": 2000.0}
    assert {name: chosen[name] for name in expected} == expected
    done = command("register", "fixed.nrrd", "none.nrrd", *outputs)
    assert done.exit_code == 2
    assert log.read_text(encoding="utf-8").startswith(text)
    assert "ERROR" in log.read_text(encoding="utf-8")
