"""What a registration left in the scene is what the engine computed, and Slicer's own code agrees with it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from . import cases, resampling
from .conftest import Outcome


def voxels_of(outcome: Outcome) -> np.ndarray:
    """Where the transform node puts the fixed voxels in the moving volume."""
    return resampling.voxels_in_moving(outcome.node("fixed"), outcome.node("moving"), outcome.node("transform"))


def test_slicer_resamples_the_moving_volume_to_the_warped_one(outcome: Outcome) -> None:
    import slicer

    fixed, moving, warped = (outcome.node(role) for role in ("fixed", "moving", "warped"))
    assert slicer.util.arrayFromVolume(warped).shape == slicer.util.arrayFromVolume(fixed).shape
    resampling.assert_slicer_agrees(moving, warped, outcome.node("transform"))
    as_loaded = slicer.modules.volumes.logic().ResampleVolumeToReferenceVolume(moving, fixed)
    difference = slicer.util.arrayFromVolume(as_loaded) - slicer.util.arrayFromVolume(warped)
    slicer.mrmlScene.RemoveNode(as_loaded)
    assert np.abs(difference).mean() > 50


def test_labels_are_the_nearest_neighbors(outcome: Outcome) -> None:
    import slicer

    fixed, segmentation = outcome.node("fixed"), outcome.node("segmentation")
    labels = cases.array_of_labels(outcome.case.moving)
    expected, undecided = resampling.nearest_labels(labels, voxels_of(outcome))
    assert undecided.mean() < 0.02
    for structure in outcome.case.moving.structures:
        identifier = segmentation.GetSegmentation().GetSegmentIdBySegmentName(structure.name)
        found = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, identifier, fixed) > 0
        wanted = expected == structure.value
        assert wanted.sum() > 1000, structure.name
        assert (found == wanted)[~undecided].all(), structure.name


def test_segments_keep_name_color_and_terminology(outcome: Outcome) -> None:
    import slicer
    import vtk

    segmentation = outcome.node("segmentation").GetSegmentation()
    assert segmentation.GetNumberOfSegments() == len(outcome.case.moving.structures)
    for structure in outcome.case.moving.structures:
        segment = segmentation.GetSegment(segmentation.GetSegmentIdBySegmentName(structure.name))
        assert segment.GetColor() == pytest.approx(structure.color, abs=1e-6)
        if structure.terminology:
            entry = vtk.reference("")
            segment.GetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), entry)
            assert str(entry) == structure.terminology


def rows_of(table: Any) -> dict[tuple[str, str], tuple[str, str]]:
    """Cells (before, after) of the table node by measure and structure."""
    cells = [[table.GetCellText(row, column) for column in range(4)] for row in range(table.GetNumberOfRows())]
    return {(measure, structure): (before, after) for measure, structure, before, after in cells}


def test_table_holds_the_numbers_of_the_engine(outcome: Outcome) -> None:
    rows = rows_of(outcome.node("table"))
    compared = 0
    for key, title in (("dice", "Dice"), ("asd_mm", "ASD"), ("hd95_mm", "HD95")):
        assert outcome.metrics[key]
        for structure, values in outcome.metrics[key].items():
            shown = rows[(title, structure)]
            for text, value in zip(shown, (values["before"], values["after"]), strict=True):
                assert (text == "") if value is None else (float(text) == pytest.approx(value, abs=6e-3)), title
                compared += value is not None
    if outcome.case.landmarks is not None:
        for key, title in (("mean", "Landmark error, mean"), ("max", "Landmark error, largest")):
            before, after = (float(text) for text in rows[(title, "landmarks")])
            assert before == pytest.approx(outcome.metrics["tre_mm"]["before"][key], abs=6e-3)
            assert after == pytest.approx(outcome.metrics["tre_mm"]["after"][key], abs=6e-3)
    assert compared >= 3


def test_dice_and_tre_measured_anew_in_the_scene_are_the_same(outcome: Outcome) -> None:
    import slicer

    fixed, case = outcome.node("fixed"), outcome.case
    (structure,) = case.fixed.structures
    counterpart = next(s for s in case.moving.structures if s.name.lower() == structure.name.lower())
    segmentation = outcome.node("segmentation")
    identifier = segmentation.GetSegmentation().GetSegmentIdBySegmentName(counterpart.name)
    warped = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, identifier, fixed) > 0
    truth = cases.array_of_labels(case.fixed) == structure.value
    dice = 2 * (warped & truth).sum() / (warped.sum() + truth.sum())
    assert dice == pytest.approx(outcome.metrics["dice"][structure.name]["after"], abs=1e-3)
    assert dice > 0.85
    if case.landmarks is None:
        return
    mirror = np.array([-1.0, -1.0, 1.0])
    transform = outcome.node("transform").GetTransformFromParent()
    moved = np.array([transform.TransformPoint(point) for point in case.landmarks[:, :3] * mirror]) * mirror
    errors = np.linalg.norm(moved - case.landmarks[:, 3:], axis=1)
    assert errors.mean() == pytest.approx(outcome.metrics["tre_mm"]["after"]["mean"], abs=0.01)
    assert errors.mean() < 2.0
    carried = slicer.util.arrayFromMarkupsControlPoints(outcome.node("landmarks"))
    back = np.array([transform.TransformPoint(point) for point in carried]) * mirror
    np.testing.assert_allclose(back, case.landmarks[:, 3:], atol=0.05)
    assert np.linalg.norm(carried * mirror - case.landmarks[:, :3], axis=1).mean() < 2.0


def test_jacobian_is_that_of_the_transform(outcome: Outcome) -> None:
    import slicer
    from DeepLargeDeformRegLib.scene import color_map

    jacobian = slicer.util.arrayFromVolume(outcome.node("jacobian"))
    voxels = voxels_of(outcome)
    # det of the central differences, in voxels of both scans, scaled to mm
    spacing = [np.array(outcome.node(side).GetSpacing()) for side in ("fixed", "moving")]
    steps = [np.gradient(voxels, axis=axis) for axis in (2, 1, 0)]
    matrix = np.stack(steps, axis=-1) * spacing[1][:, None] / spacing[0][None, :]
    sign = np.sign(np.linalg.det(outcome_axes(outcome, "fixed")) * np.linalg.det(outcome_axes(outcome, "moving")))
    inner = (slice(2, -2),) * 3
    expected = sign * np.linalg.det(matrix)[inner]
    assert np.abs(jacobian[inner] - expected).mean() < 0.02
    assert np.corrcoef(jacobian[inner].ravel(), expected.ravel())[0, 1] > 0.95
    display = outcome.node("jacobian").GetDisplayNode()
    assert display.GetColorNode().GetName() == color_map.COLOR_NODE_NAME
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == pytest.approx((-1.0, 5.0))
    function = display.GetColorNode().GetColorTransferFunction()
    for value, *color in color_map.color_points():
        assert function.GetColor(value) == pytest.approx(tuple(color), abs=1e-3)


def outcome_axes(outcome: Outcome, side: str) -> np.ndarray:
    """Direction matrix of a volume of the result, in the scene."""
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    outcome.node(side).GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)[:3, :3]


def test_transform_knows_its_scans_and_how_it_was_made(outcome: Outcome) -> None:
    from DeepLargeDeformRegLib.scene import transforms

    node = outcome.node("transform")
    assert node.GetNodeReference(transforms.FIXED_ROLE) is outcome.node("fixed")
    assert node.GetNodeReference(transforms.MOVING_ROLE) is outcome.node("moving")
    assert outcome.node("fixed").GetName() == "fixed scan"
    assert outcome.node("moving").GetName() == "moving scan"
    assert node.GetName() == "moving scan to fixed scan, run 1 transform"
    assert node.GetAttribute("DeepLargeDeformReg.model") == (outcome.metrics["model"] or "none")
    assert node.GetAttribute("DeepLargeDeformReg.version") == outcome.metrics["provenance"]["version"]
    settings = json.loads(node.GetAttribute("DeepLargeDeformReg.settings"))
    assert settings["preset"] == outcome.metrics["provenance"]["settings"]["preset"]


def test_quality_maps_are_those_of_the_engine(outcome: Outcome) -> None:
    import SimpleITK as sitk
    import slicer

    for name in ("displacement_mm", "inverse_consistency_mm", "local_similarity"):
        expected = sitk.GetArrayFromImage(sitk.ReadImage(str(outcome.files / "maps" / f"{name}.nrrd")))
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(outcome.node(name)), expected)
        assert outcome.node(name).GetDisplayNode().GetApplyThreshold()
    moved = voxels_of(outcome)
    displacement = slicer.util.arrayFromVolume(outcome.node("displacement_mm"))
    assert displacement.max() > 10
    assert displacement.shape == moved.shape[:3]


def test_charts_show_the_numbers_of_the_engine(outcome: Outcome) -> None:
    charts = {chart.GetTitle(): chart for chart in outcome.run.get_all("charts")}
    dice = charts["Dice before and after"].GetNthPlotSeriesNode(1).GetTableNode().GetTable()
    structures = {
        dice.GetValueByName(row, "Structure").ToString(): dice.GetValueByName(row, "After").ToDouble()
        for row in range(dice.GetNumberOfRows())
    }
    expected = {name: values["after"] for name, values in outcome.metrics["dice"].items()}
    assert structures == pytest.approx(expected, abs=1e-4), "a saved table holds six digits"
    assert "Histogram of the volume change" in charts
    if outcome.case.landmarks is not None:
        table = charts["Cumulative landmark error"].GetNthPlotSeriesNode(1).GetTableNode().GetTable()
        last = table.GetValue(table.GetNumberOfRows() - 1, 0).ToDouble()
        assert last == pytest.approx(outcome.metrics["tre_mm"]["after"]["max"], rel=1e-3)


def test_warped_volume_has_the_window_of_the_fixed_one(outcome: Outcome) -> None:
    fixed, warped = (outcome.node(role).GetDisplayNode() for role in ("fixed", "warped"))
    assert (warped.GetWindow(), warped.GetLevel()) == pytest.approx((fixed.GetWindow(), fixed.GetLevel()))
    assert warped.GetColorNodeID() == fixed.GetColorNodeID()


def test_all_outputs_lie_in_one_folder(outcome: Outcome) -> None:
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    folders = set()
    for role in ("transform", "warped", "segmentation", "jacobian", "table", "report"):
        item = hierarchy.GetItemByDataNode(outcome.node(role))
        assert item, role
        folders.add(hierarchy.GetItemParent(item))
    (folder,) = folders
    assert hierarchy.GetItemName(folder) == "Registration, run 1"
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(outcome.node("fixed"))) == hierarchy.GetSceneItemID()


def test_panel_shows_the_result(outcome: Outcome) -> None:
    ui = outcome.widget.ui
    assert ui.resultBox.count == 1
    assert "moving scan" in ui.resultBox.currentText
    assert ui.metricsView.mrmlTableNode() is outcome.node("table")
    assert ui.fixedVolumeSelector.currentNode() is outcome.node("fixed")
    assert ui.movingVolumeSelector.currentNode() is outcome.node("moving")
    assert ui.registerButton.enabled
    verdict = outcome.metrics.get("verdict")
    if verdict:
        assert verdict["title"] in ui.verdictLabel.text
    assert outcome.node("report").GetText() == (outcome.files / "report.html").read_text(encoding="utf-8")


def test_nothing_lies_over_the_fixed_scan_that_is_elsewhere_in_truth(outcome: Outcome) -> None:
    """After the run the scans are shown registered; what stands where the moving scan stood would mislead."""
    roles = ["moving_segmentation"] + (["moving_landmarks"] if outcome.case.landmarks is not None else [])
    for role in roles:
        assert not outcome.node(role).GetDisplayNode().GetVisibility(), role


def test_outlines_are_drawn_in_two_colors_in_slices_and_in_3d(outcome: Outcome) -> None:
    """Pixels of the real views: cyan and orange outlines, and surfaces where only the background was."""
    from Testing.slicer_app import start

    layout = start().layout
    layout.fit((900, 760))
    slices = [layout.sliceWidget(name) for name in layout.sliceViewNames()]
    ui = outcome.widget.ui
    ui.fadeButton.click()
    empty = layout.threeDWidget(0).pixels().astype(int)
    ui.outlinesButton.click()
    for view in slices:
        red, _, blue = np.moveaxis(view.pixels().astype(int), -1, 0)
        assert ((blue > 200) & (red < 130)).sum() > 30, "fixed outlines"
        assert ((red > 200) & (blue < 130)).sum() > 30, "propagated outlines"
    assert (np.abs(layout.threeDWidget(0).pixels() - empty).max(axis=-1) > 30).mean() > 0.03
    ui.fadeButton.click()
