"""The command that measures what the limits of the verdict rest on: real scans, the verdict's own numbers."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from DeepLargeDeformRegLib.engine.metrics import load_limits
from typer import Typer
from typer.testing import CliRunner

from training.evaluation.calibration import limits as measure_limits
from training.evaluation.calibration.limits import GOOD, Row, judged_numbers, pair_strangers, spread, verdicts
from training.evaluation.calibration.wrong import WRONG

app = Typer()
app.command()(measure_limits.main)


def test_each_number_is_counted_on_its_side_of_the_limit() -> None:
    limits = load_limits()
    limit = limits["in_place_percent"]
    values = ((GOOD, limit.accept + 10), (GOOD, limit.accept - 1), ("mirrored", limit.reject), ("mirrored", 0.0))
    rows = [
        Row(case="case", kind=kind, with_truth="accept", alone="look", numbers={"in_place_percent": value})
        for kind, value in values
    ]
    (line,) = spread(rows, limits)
    assert line[0] == "in_place_percent, %"
    assert line[3] == "1 of 2"
    assert line[5] == "2 / 1 of 2"
    assert verdicts(rows)[0] == (GOOD, "2", "2", "0", "0", "0", "2", "0")


def test_of_several_structures_the_worst_counts() -> None:
    numbers = judged_numbers(
        {
            "dice": {"a": {"after": 0.9}, "b": {"after": 0.6}, "c": {"after": None}},
            "asd_mm": {"a": {"after": 1.0}, "b": {"after": 4.0}},
            "similarity": {"local_ncc": {"before": 0.25, "after": 0.75}},
        }
    )
    assert numbers["dice"] == 0.6
    assert numbers["asd_mm"] == 4.0
    assert numbers["local_ncc_change"] == 0.5
    assert numbers["hd95_mm"] is None


def test_every_limit_is_measured_or_has_no_scan_to_measure_it_on() -> None:
    measured = {*measure_limits.NUMBERS, *(f"{key}_change" for key in measure_limits.CHANGES)}
    assert set(load_limits().table) - measured == {"tre_change_mm", "dice_change", "uncertainty_mean_mm"}


def test_a_pair_is_registered_judged_and_kept(shared_data: Path, tmp_path: Path) -> None:
    """A real pair through the command, and once more with the transform that it kept."""
    options = ["--cases", "hippocampus,lung", "--pairs", "1", "--no-strangers", "--data", str(tmp_path / "data")]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "hippocampus").symlink_to(shared_data / "hippocampus")
    options += ["--output", str(tmp_path / "out"), "--transforms", str(tmp_path / "kept")]
    done = CliRunner().invoke(app, options)
    assert done.exit_code == 0, done.output
    assert "Left out" in done.stderr, "the lung pair is not in this folder"
    with (tmp_path / "out" / "limits.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["map"] for row in rows] == [GOOD, *WRONG]
    assert rows[0]["verdict"] in ("accept", "look")
    assert all(row["verdict"] != "accept" for row in rows[1:])
    assert float(rows[0]["in_place_percent"]) > 90
    assert "| in_place_percent, % |" in (tmp_path / "out" / "limits.md").read_text(encoding="utf-8")
    assert len(list((tmp_path / "kept").iterdir())) == 1
    (case,) = measure_limits.load_cases(["hippocampus"], shared_data, 1)
    again = next(iter(measure_limits.measure_case(case, GOOD, tmp_path / "kept")))
    assert again.numbers["local_ncc"] == pytest.approx(float(rows[0]["local_ncc"]), abs=1e-4)


def test_strangers_are_of_different_body_parts(shared_data: Path) -> None:
    groups = {name: measure_limits.load_cases([name], shared_data, 1) for name in ("lung", "hippocampus")}
    pairs = pair_strangers(groups)
    assert [pair.fixed for pair in pairs] == [groups["lung"][0].fixed, groups["hippocampus"][0].fixed]
    assert [pair.moving for pair in pairs] == [groups["hippocampus"][0].moving, groups["lung"][0].moving]
    assert pair_strangers({"lung": groups["lung"]}) == []
