"""The process that Slicer starts for a cohort: what it says, and how it ends with whoever started it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from DeepLargeDeformRegLib.cohort.__main__ import INPUT_GONE
from DeepLargeDeformRegLib.core.sentences import from_json

from .quick_jobs import computed, write_pairs

JOBS = "Testing.cohort.quick_jobs"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    """The process and its workers find the jobs of this folder."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(repository / "DeepLargeDeformReg"), str(repository)]))


def start(pairs: Path, output: Path, *further: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "DeepLargeDeformRegLib.cohort", str(pairs), "--output", str(output), "--jobs", JOBS]
    return subprocess.Popen(
        [*line, *further], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", start_new_session=True
    )


def said(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """All that the process says until it ends."""
    assert process.stdout is not None
    lines = [json.loads(line) for line in process.stdout]
    process.wait(60)
    return lines


def test_progress_and_the_end_are_told_as_json_lines(tmp_path: Path) -> None:
    process = start(write_pairs(tmp_path / "data", "ok", "bad", "ok"), tmp_path / "out")
    first, plan, *progress, last = said(process)
    assert first == {"process": process.pid}
    assert "Registering 3 pairs" in from_json(plan["say"])
    assert [line["done"] for line in progress] == [1, 2, 3]
    assert {line["total"] for line in progress} == {3}
    assert progress[-1]["failed"] == 1
    assert progress[-1]["seconds_left"] == 0
    assert last == {"finished": 3, "failed": 1}
    assert process.returncode == 0


def test_an_error_is_a_line_and_an_exit_code(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "data", "ok")
    process = start(pairs, tmp_path / "out", "--settings", '{"preset": "lungs"}')
    assert "no preset 'lungs'" in from_json(said(process)[-1]["error"])
    assert process.returncode == 2


def test_it_ends_with_its_input_and_the_next_one_goes_on(tmp_path: Path) -> None:
    pairs, output = write_pairs(tmp_path / "data", *["ok"] * 30), tmp_path / "out"
    process = start(pairs, output)
    assert process.stdin is not None
    assert process.stdout is not None
    while "done" not in json.loads(process.stdout.readline()):
        pass
    process.stdin.close()  # as when Slicer is gone
    assert process.wait(30) == INPUT_GONE
    process.stdout.close()
    before = [path.parent.name for path in output.glob("pairs/p*/record.json")]
    assert 0 < len(before) < 30
    assert said(start(pairs, output))[-1] == {"finished": 30, "failed": 0}
    assert all(computed(pairs).count(f"{name[1:]}.nrrd") == 1 for name in before)
