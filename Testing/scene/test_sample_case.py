"""The sample case in the scene, and files that are written twice or in capitals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from DeepLargeDeformRegLib.core.metrics import Metrics


def test_one_click_loads_scans_outlines_and_landmarks(application: Any) -> None:
    import slicer
    from DeepLargeDeformRegLib.scene import markups, sample_case

    nodes = sample_case.load_sample_case()
    pairs = markups.landmark_pairs(nodes["fixedLandmarks"], nodes["movingLandmarks"])
    assert np.linalg.norm(pairs.fixed - pairs.moving, axis=1).mean() == pytest.approx(34.8, abs=0.1), (
        "as its README says"
    )
    for side in ("fixed", "moving"):
        (identifier,) = nodes[f"{side}Segmentation"].GetSegmentation().GetSegmentIDs()
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(
            nodes[f"{side}Segmentation"], identifier, nodes[f"{side}Volume"]
        )
        lung = slicer.util.arrayFromVolume(nodes[f"{side}Volume"])[mask > 0]
        assert -950 < np.median(lung) < -600, "the outline holds air and tissue of a lung, in HU"


def test_files_of_two_exports_do_not_overwrite_each_other(application: Any, tmp_path: Path) -> None:
    from DeepLargeDeformRegLib.scene import export, results, tables

    metrics = Metrics.from_json({"dice": {"Liver": {"before": 0.5, "after": 0.9}}})
    table = tables.metrics_table(metrics, "metrics")
    run = results.add_result({"table": table}, metrics, {})
    (first,) = export.save_all(run, tmp_path)
    first.write_text("of another scene", encoding="utf-8")
    (second,) = export.save_all(run, tmp_path)
    assert first.read_text(encoding="utf-8") == "of another scene"
    assert second != first


def test_an_ending_in_capitals_is_understood(application: Any, tmp_path: Path) -> None:
    import slicer
    from DeepLargeDeformRegLib.scene import export, results

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    node.AddControlPoint((1.0, 2.0, 3.0), "a")
    run = results.add_result({"landmarks": node}, Metrics(), {})
    written = export.save(run, "landmarks", tmp_path / "POINTS.MRK.JSON")
    assert written.name == "POINTS.mrk.json"
    assert written.is_file()
