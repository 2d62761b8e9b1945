"""What the report says: the verdict in words, what was not measured left out, numbers and charts from the metrics."""

from __future__ import annotations

import json
import re
import time
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.engine.job import EvaluateJob, run_evaluate
from DeepLargeDeformRegLib.report import charts, pictures, write_report

from Testing.report.conftest import Phantom, Written

METRICS: dict[str, Any] = {
    "dice": {"ball": {"before": 0.5, "after": 0.912345}},
    "hd95_mm": {"ball": {"before": None, "after": 1.25}},
    "jacobian": {"min": -0.25, "max": 1.5, "std": 0.25, "fold_percent": 0.125, "sdlogj": None},
    "inverse_consistency_mm": {"mean": 0.5, "p95": 1.5, "source": "backward run"},
}


def written(phantom: Phantom, folder: Path, metrics: dict[str, Any], title: str | None = None) -> str:
    path = folder / "report.html"
    shown = phantom.with_metrics(metrics)
    write_report(path, shown.result, title=title)
    return path.read_text(encoding="utf-8")


def text_of(page: str) -> str:
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.S)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", body)))


@pytest.mark.parametrize(
    ("level", "word"), [("accept", "Within all limits"), ("look", "Look before you use it"), ("reject", "Do not use")]
)
def test_verdict_is_a_word_with_its_reasons(phantom: Phantom, tmp_path: Path, level: str, word: str) -> None:
    reason = {"text": "Dice of ball 0.61 < 0.70", "severity": level, "value": 0.61, "limit": 0.7}
    verdict = {"level": level, "title": "", "reasons": [reason]}
    page = written(phantom, tmp_path, {**METRICS, "verdict": verdict})
    banner = re.search(r'<section class="verdict (\w+)".*?</section>', page, flags=re.S)
    assert banner is not None
    assert banner.group(1) == level
    assert "<svg" in banner.group(0)
    assert word in text_of(banner.group(0))
    assert reason["text"] in text_of(banner.group(0))


def test_reasons_are_sorted_and_say_what_they_speak_for(phantom: Phantom, tmp_path: Path) -> None:
    reasons = [{"text": f"Reason {s}.", "severity": s} for s in ("accept", "reject", "look")]
    verdict = {"level": "reject", "title": "Do not use it", "reasons": reasons, "limits": "limits of site B"}
    page = text_of(written(phantom, tmp_path, {**METRICS, "verdict": verdict}))
    expected = "Against use: Reason reject. To be looked at: Reason look. In favor: Reason accept."
    assert expected in page
    assert "Limits: limits of site B" in page


def test_what_was_not_measured_is_left_out(phantom: Phantom, tmp_path: Path) -> None:
    page = text_of(written(phantom, tmp_path, {}))
    for absent in ("Dice", "HD95", "SDlogJ", "Inverse consistency", "Folds", "Landmark error,", "Pre-alignment"):
        assert absent not in page
    page = text_of(written(phantom, tmp_path, METRICS))
    for present in ("0.912", "HD95", "not defined", "backward run", "0.125"):
        assert present in page
    assert "ASD" not in page


def test_folds_are_listed_with_place_and_structure(phantom: Phantom, tmp_path: Path) -> None:
    folds = [
        {"volume_mm3": 40.0 - i, "worst": -0.5, "point_lps": [1.25, -2.0, 3.0], "structure": "ball" if i else None}
        for i in range(23)
    ]
    page = text_of(written(phantom, tmp_path, {**METRICS, "folds": folds}))
    assert "20 of 23" in page
    counted = written(phantom, tmp_path, {**METRICS, "folds": folds[:20], "fold_count": 51})
    assert "20 of 51" in text_of(counted)
    assert "39.0 -0.500 L 1.2, A 2.0, S 3.0 mm ball" in page
    assert "none, det J is above 0" in text_of(written(phantom, tmp_path, {**METRICS, "folds": []}))


def test_landmarks_are_listed_the_worst_first(phantom: Phantom, tmp_path: Path) -> None:
    listed = [{"name": f"L{i}", "before": 9.0, "after": 0.5 * i, "point_lps": [1.0 * i, 2.0, -3.0]} for i in range(8)]
    summary = {"mean": 1.75, "p50": 1.75, "max": 3.5}
    page = written(phantom, tmp_path, {"tre_mm": {"before": summary, "after": summary, "landmarks": listed}})
    assert "L7 9.00 3.50 L 7.0, P 2.0, I 3.0 mm L6" in text_of(page)
    assert "L2 " not in text_of(page)
    assert "Median 1.75 1.75" in text_of(page)
    assert "of 8 landmarks" in page  # the curve is of the listed ones


def test_a_title_is_shown_and_nothing_in_it_is_run(phantom: Phantom, tmp_path: Path) -> None:
    page = written(phantom, tmp_path, METRICS, title="Case 7 <script>alert(1)</script>")
    assert "<script" not in page
    assert "Case 7 &lt;script&gt;" in page


def test_structures_of_any_name_and_number_are_shown(phantom: Phantom, tmp_path: Path) -> None:
    dice = {f"segment <{i}> " + 30 * "x": {"before": 0.1, "after": i / 40} for i in range(40)}
    page = written(phantom, tmp_path, {**METRICS, "dice": dice})
    assert page.count('scope="row">segment &lt;') == 40
    assert "12 worst of 40" in text_of(page)
    assert "<0>" not in page


def test_histogram_counts_what_folds() -> None:
    values = np.array([-0.5] * 3 + [0.9] * 57 + [1.1] * 40)
    chart = charts.jacobian_histogram(values, "here")
    assert chart is not None
    assert "3 %" in chart.markup
    assert chart.markup.count("url(#hatching)") == 1
    assert chart.markup.count("<rect") == 3 + 1
    assert charts.jacobian_histogram(np.zeros(0), "nowhere") is None


def test_error_curve_ends_at_all_landmarks() -> None:
    chart = charts.cumulative_errors([3.0, 9.0], [0.5, 1.0])
    assert chart is not None
    curves = re.findall(r'class="curve (\w+)" d="M44.0 190.0([^"]*)H508.0"', chart.markup)
    assert [name for name, _ in curves] == ["before", "after"]
    # two steps each: to half of the landmarks, then to all of them at the top of the chart
    for (_, line), errors in zip(curves, ([3.0, 9.0], [0.5, 1.0]), strict=True):
        steps = re.findall(r"H([\d.]+)V([\d.]+)", line)
        assert [float(y) for _, y in steps] == [101.0, 12.0]
        assert [(float(x) - 44) / (508 - 44) * 10 for x, _ in steps] == pytest.approx(errors, abs=0.01)


def test_bars_are_as_long_as_their_values() -> None:
    metrics = {"dice": {"a": {"before": 0.25, "after": 0.5}, "b": {"before": None, "after": 0.1}}}
    chart = charts.structure_bars(metrics, "dice")
    assert chart is not None
    widths = [float(w) for w in re.findall(r'class="bar \w+" [^>]*width="([\d.]+)"', chart.markup)]
    assert widths == pytest.approx([0.1 * 210, 0.25 * 210, 0.5 * 210], abs=0.1)  # the worst structure first
    assert "not defined" in chart.markup


def test_foreign_transform_gets_a_report(lung: Written, sample_case: Path, tmp_path: Path) -> None:
    job = EvaluateJob(
        transform=str(lung.transform),
        fixed=str(sample_case / "fixed.nii.gz"),
        moving=str(sample_case / "moving.nii.gz"),
        landmarks=str(sample_case / "landmarks_lps.csv"),
        metrics=str(tmp_path / "metrics.json"),
        report=str(tmp_path / "report.html"),
        report_title="From elsewhere",
    )
    numbers = run_evaluate(job, write_report=write_report)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert numbers.to_json() == json.loads((tmp_path / "metrics.json").read_text())
    assert f"{numbers.landmarks.after.mean:.2f}" in page
    assert "<h1>From elsewhere</h1>" in page
    assert "made elsewhere" in page
    with pytest.raises(BadInputError, match="moving"):
        EvaluateJob.from_json({"transform": job.transform, "fixed": job.fixed})


def test_is_written_fast(phantom: Phantom, tmp_path: Path) -> None:
    """The small phantom in processor time, which other work on this machine does not stretch."""
    clock = time.process_time()
    written(phantom, tmp_path, METRICS)
    assert time.process_time() - clock < 5


def test_what_masks_leave_out_is_told_and_striped(phantom: Phantom, tmp_path: Path) -> None:
    plain, masked = tmp_path / "plain", tmp_path / "masked"
    plain.mkdir()
    masked.mkdir()
    entries = METRICS | {"provenance": {"version": "1"}}
    assert "Left out by masks" not in text_of(written(phantom, plain, entries))
    page = text_of(written(phantom, masked, entries | {"left_out_percent": {"moving": 3.46}}))
    assert "Left out by masks 3.5 % of the moving scan" in page
    known = pictures._striped(np.zeros((16, 16, 3), np.uint8), np.arange(256).reshape(16, 16) < 128)
    assert set(np.unique(known[:8])) == {150, 255}
    assert not known[8:].any()
