"""A batch of two real pairs, small crops, started in the panel; a row of its table opens the result in the scene."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from DeepLargeDeformRegLib.resources import SAMPLE_CASE

from . import cases, resampling


def is_inside(image: sitk.Image, point: np.ndarray) -> bool:
    """Whether a point (LPS, mm) lies in an image."""
    index = np.array(image.TransformPhysicalPointToContinuousIndex(point.tolist()))
    return bool(((index >= 0) & (index <= np.array(image.GetSize()) - 1)).all())


def write_pairs(folder: Path) -> Path:
    """Two crops of the sample case as a table of pairs, with outlines; the first has landmarks too."""
    case = cases.lung_pair(SAMPLE_CASE)
    assert case.landmarks is not None
    lines = []
    for name, point in (("one", case.landmarks[:4].mean(axis=0)), ("two", case.landmarks[4:8].mean(axis=0))):
        line = {"name": name}
        for side, files, place in (("fixed", case.fixed, point[:3]), ("moving", case.moving, point[3:])):
            for column, source in ((side, files.image), (f"{side}_segmentation", files.labels)):
                line[column] = f"{name}_{column}.nii.gz"
                crop = cases.crop_around(sitk.ReadImage(str(source)), place)
                sitk.WriteImage(crop, str(folder / line[column]))
        line |= {"match": "1=1", "landmarks": ""}
        if name == "one":  # the points that lie in both crops
            scans = [sitk.ReadImage(str(folder / line[side])) for side in ("fixed", "moving")]
            inside = [
                row
                for row in case.landmarks
                if all(is_inside(scan, part) for scan, part in zip(scans, (row[:3], row[3:]), strict=True))
            ]
            line["landmarks"] = "landmarks.csv"
            np.savetxt(
                folder / "landmarks.csv",
                inside,
                delimiter=",",
                header="fixed_x,fixed_y,fixed_z,moving_x,moving_y,moving_z",
                comments="",
            )
        lines.append(line)
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return folder / "pairs.csv"


def test_a_row_opens_the_scans_and_the_result(application: Any, tmp_path: Path) -> None:
    import slicer

    widget = application.open_module(cases.MODULE)
    cases.choose_preset(widget, "LUNG_CT")
    widget.ui.iterationsBox.value = 2
    widget.ui.batchPairsPath.currentPath = str(write_pairs(tmp_path))
    widget.ui.batchOutputDirectory.directory = str(tmp_path / "out")
    widget.ui.batchButton.click()
    application.wait_until(lambda: not widget.batch.is_running, 300, "the end of the batch")
    assert widget.ui.batchLabel.text == "2 pairs are finished."
    node = widget.ui.batchView.mrmlTableNode()
    assert {node.GetCellText(row, 0) for row in range(2)} == {"one", "two"}

    names = [node.GetCellText(row, 0) for row in range(2)]
    name, first = "one", names.index("one")
    widget.ui.batchView.setCurrentIndex(widget.ui.batchView.model().index(first, 0))
    widget.batch._open_row()
    run = widget.results.current
    assert run.get("fixed").GetName() == f"{name}_fixed"
    metrics = json.loads((tmp_path / "out" / "pairs" / name / "metrics.json").read_text(encoding="utf-8"))
    assert run.metrics.to_json()["jacobian"] == metrics["jacobian"]
    assert run.settings["iterations"] == 2
    # Slicer's own resampling with the transform node gives what the engine wrote.
    resampling.assert_slicer_agrees(run.get("moving"), run.get("warped"), run.get("transform"))
    masks = {}
    for role in ("fixed_segmentation", "segmentation"):
        segment = run.get(role).GetSegmentation().GetNthSegmentID(0)
        masks[role] = slicer.util.arrayFromSegmentBinaryLabelmap(run.get(role), segment, run.get("fixed")) > 0
    dice = (
        2 * (masks["fixed_segmentation"] & masks["segmentation"]).sum() / sum(mask.sum() for mask in masks.values())
    )
    (measured,) = metrics["dice"].values()
    assert abs(dice - measured["after"]) < 1e-3
    # Measured anew in the scene: the landmarks through the transform node.
    points = [slicer.util.arrayFromMarkupsControlPoints(run.get(f"{side}_landmarks")) for side in ("fixed", "moving")]
    assert len(points[0]) == len(metrics["tre_mm"]["landmarks"]) > 0
    through = run.get("transform").GetTransformFromParent()
    moved = np.array([through.TransformPoint(point) for point in points[0]])
    error = np.linalg.norm(moved - points[1], axis=1).mean()
    assert abs(error - metrics["tre_mm"]["after"]["mean"]) < 0.01
    assert widget.ui.verdictLabel.text, "the results of the panel show the run"

    count = slicer.mrmlScene.GetNumberOfNodes()
    widget.batch._open_row()
    assert slicer.mrmlScene.GetNumberOfNodes() == count, "what is open is not loaded again"
    (tmp_path / "two_moving.nii.gz").unlink()
    (tmp_path / "one_moving.nii.gz").unlink()
    widget.ui.batchView.setCurrentIndex(widget.ui.batchView.model().index(1 - first, 0))
    widget.batch._open_row()
    assert "could not be opened" in widget.ui.batchLabel.text
    assert slicer.mrmlScene.GetNumberOfNodes() == count, "nothing is left of what could not be loaded"
    assert not application.errors
