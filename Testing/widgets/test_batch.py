"""The Batch section: a cohort in a real process, its table, its end by the user; quick jobs register nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from Testing.cohort.quick_jobs import computed, write_pairs

from .nodes import MODULE

JOBS = "Testing.cohort.quick_jobs"


@pytest.fixture
def widget(application: Any, monkeypatch: pytest.MonkeyPatch, repository: Path) -> Any:
    """The panel, whose batches run quick jobs."""
    from DeepLargeDeformRegLib.widgets import batch

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(repository / "DeepLargeDeformReg"), str(repository)]))
    monkeypatch.setattr(
        batch.BatchPanel, "_pairs", lambda panel, real=batch.BatchPanel._pairs: _with_jobs(real(panel))
    )
    return application.open_module(MODULE)


def _with_jobs(pairs: list[str]) -> list[str]:
    return [*pairs, "--jobs", JOBS] if pairs else []


def start(widget: Any, pairs: Path, output: Path) -> None:
    widget.ui.batchPairsPath.currentPath = str(pairs)
    widget.ui.batchOutputDirectory.directory = str(output)
    widget.ui.batchButton.click()


def finished(output: Path) -> list[str]:
    return sorted(path.parent.name for path in output.glob("pairs/p*/record.json"))


def test_a_cohort_is_shown_the_worst_first(application: Any, widget: Any, tmp_path: Path) -> None:
    assert widget.ui.batchSection.collapsed
    widget.ui.batchSection.collapsed = False
    assert not widget.ui.batchView.visible
    start(widget, write_pairs(tmp_path / "data", "ok", "bad", "ok"), tmp_path / "out")
    assert widget.ui.batchButton.text == "Cancel"
    application.wait_until(lambda: not widget.batch.is_running, 60, "the end of the batch")
    assert widget.ui.batchLabel.text == "2 pairs are finished. 1 failed; the table says why."
    assert widget.ui.batchButton.text == "Start"
    node = widget.ui.batchView.mrmlTableNode()
    rows = [[node.GetCellText(row, column) for column in range(3)] for row in range(3)]
    assert rows[0][:2] == ["p01", "The fixed scan is the same everywhere; it holds nothing to align."]
    assert [node.GetColumnName(column) for column in range(3)] == ["Pair", "Verdict", "Dice"]
    assert {row[0] for row in rows[1:]} == {"p00", "p02"}
    assert all(0 <= float(row[2]) <= 1 for row in rows[1:])
    widget.ui.batchView.setCurrentIndex(widget.ui.batchView.model().index(0, 0))
    widget.batch._open_row()
    assert widget.ui.batchLabel.text.startswith("p01: The fixed scan is the same everywhere")


def test_a_cancelled_batch_goes_on_where_it_was(application: Any, widget: Any, tmp_path: Path) -> None:
    pairs, output = write_pairs(tmp_path / "data", *["ok"] * 12), tmp_path / "out"
    start(widget, pairs, output)
    application.wait_until(lambda: widget.ui.batchBar.value > 0, 60, "the first pair")
    widget.ui.batchButton.click()
    before = finished(output)
    assert widget.ui.batchLabel.text.startswith("Cancelled. ")
    assert 0 < len(before) < 12, "it was ended in the middle"
    widget.ui.batchButton.click()
    application.wait_until(lambda: not widget.batch.is_running, 60, "the end of the batch")
    assert widget.ui.batchLabel.text == "12 pairs are finished."
    assert all(computed(pairs).count(f"{name[1:]}.nrrd") == 1 for name in before)


def test_what_cannot_be_is_said(application: Any, widget: Any, tmp_path: Path) -> None:
    widget.ui.batchButton.click()
    assert widget.ui.batchLabel.text == "Choose a table of pairs first."
    pairs = write_pairs(tmp_path / "data", "ok")
    pairs.write_text("fixed,moving\n00.nrrd,gone.nrrd\n", encoding="utf-8")
    start(widget, pairs, tmp_path / "out")
    application.wait_until(lambda: not widget.batch.is_running, 60, "the end of the batch")
    assert "line 2: moving is not there (gone.nrrd)" in widget.ui.batchLabel.text
    widget.ui.batchShowButton.click()
    assert "holds no results of a batch yet" in widget.ui.batchLabel.text


def test_two_folders_and_a_cohort_of_another_day(application: Any, widget: Any, tmp_path: Path) -> None:
    for side in ("fixed", "moving"):
        (tmp_path / side).mkdir()
        for name in ("one", "two", side):  # the last one has no partner
            (tmp_path / side / f"{name}.nrrd").write_text(f"ok {name}", encoding="utf-8")
    ui = widget.ui
    ui.batchSection.collapsed = False
    ui.batchSourceBox.currentIndex = 1
    assert not ui.batchPairsPath.visible
    ui.batchFixedDirectory.directory, ui.batchMovingDirectory.directory = (
        str(tmp_path / side) for side in ("fixed", "moving")
    )
    ui.batchOutputDirectory.directory = str(tmp_path / "out")
    ui.batchButton.click()
    application.wait_until(lambda: not widget.batch.is_running, 60, "the end of the batch")
    assert ui.batchLabel.text == "2 pairs are finished."
    application.close_scene()
    assert ui.batchView.mrmlTableNode() is None
    ui.batchShowButton.click()
    node = ui.batchView.mrmlTableNode()
    assert {node.GetCellText(row, 0) for row in range(2)} == {"one", "two"}
    assert ui.batchPageButton.enabled


def test_unloading_the_module_ends_the_batch(application: Any, widget: Any, tmp_path: Path) -> None:
    start(widget, write_pairs(tmp_path / "data", *["ok"] * 40), tmp_path / "out")
    application.wait_until(lambda: widget.batch._process, 60, "the process")
    process = widget.batch._process
    application.unload_module("DeepLargeDeformReg")
    application.wait_until(lambda: not _lives(process), 10, "the end of the process")


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
