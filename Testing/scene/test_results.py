"""Taking a finished job into the scene, showing it, and saving it with the scene."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from .conftest import itk_warped

METRICS = {
    "dice": {"Liver": {"before": 0.6, "after": 0.95}, "Spleen": {"before": 0.5, "after": None}},
    "tre_mm": {"before": {"mean": 8.0, "max": 15.0}, "after": {"mean": 1.2, "max": 3.0}},
    "jacobian": {"min": 0.4, "max": 2.1, "fold_percent": 0.0, "sdlogj": 0.08},
    "verdict": {"level": "look", "title": "Look here", "reasons": [{"text": "one <fold>", "severity": "look"}]},
    "folds": [{"volume_mm3": 12.0, "worst": -0.3, "point_lps": [1.0, -2.0, 3.0], "structure": "Liver"}],
    "model": "none",
}


@pytest.fixture
def nodes(application: Any, fixed_image: sitk.Image, moving_image: sitk.Image) -> tuple[Any, Any]:
    from DeepLargeDeformRegLib.scene.volumes import volume_from_image

    return volume_from_image(fixed_image, "fixed"), volume_from_image(moving_image, "moving")


@pytest.fixture
def segmentation(nodes: Any, moving_image: sitk.Image) -> Any:
    from DeepLargeDeformRegLib.scene.segmentations import SegmentLabel, segmentation_from_label_map

    array = np.zeros(moving_image.GetSize()[::-1], dtype=np.uint16)
    array[10:24, 12:30, 12:30] = 1
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(moving_image)
    return segmentation_from_label_map(image, [SegmentLabel(1, "liver", "Liver", (0.8, 0.4, 0.3), "a~b")], "organs")


def finish(payload: dict[str, Any], field: sitk.Image) -> None:
    """Write the outputs of a job as ITK has them."""
    sitk.WriteImage(field, payload["output_transform"])
    moving = sitk.ReadImage(payload["moving"])
    sitk.WriteImage(itk_warped(moving, field), payload["output_volume"])
    sitk.WriteImage(
        sitk.Cast(sitk.DisplacementFieldJacobianDeterminant(field), sitk.sitkFloat32), payload["output_jacobian"]
    )
    if "output_segmentation" in payload:
        labels = sitk.ReadImage(payload["moving_segmentation"])
        sitk.WriteImage(itk_warped(labels, field, sitk.sitkNearestNeighbor), payload["output_segmentation"])
    Path(payload["report"]).write_text("<html>report</html>", encoding="utf-8")


@pytest.fixture
def collected(nodes: Any, segmentation: Any, field: sitk.Image, tmp_path: Path) -> Any:
    from DeepLargeDeformRegLib.scene import exchange

    inputs = exchange.Inputs(*nodes, moving_segmentation=segmentation)
    targets = exchange.Targets()
    prepared = exchange.prepare(inputs, targets, {"preset": "any"}, tmp_path)
    finish(prepared.payload, field)
    return exchange.collect(inputs, targets, {"preset": "any"}, prepared, METRICS)


def test_result_has_all_its_nodes(collected: Any, nodes: Any, moving_image: sitk.Image, field: sitk.Image) -> None:
    import slicer

    for role in ("transform", "warped", "jacobian", "segmentation", "table", "folds", "report"):
        assert collected.get(role) is not None, role
    expected = sitk.GetArrayFromImage(itk_warped(moving_image, field))
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(collected.get("warped")), expected)
    segment = collected.get("segmentation").GetSegmentation().GetSegment("liver")
    assert segment.GetName() == "Liver"
    np.testing.assert_allclose(segment.GetColor(), (0.8, 0.4, 0.3), atol=1e-6)
    assert json.loads(collected.get("transform").GetAttribute("DeepLargeDeformReg.settings")) == {"preset": "any"}
    assert collected.verdict["level"] == "look"
    point = collected.get("folds").GetNthControlPointPositionWorld(0)
    np.testing.assert_allclose(point, (-1.0, 2.0, 3.0))


def test_result_comes_back_from_a_saved_scene(application: Any, collected: Any, tmp_path: Path) -> None:
    import slicer
    from DeepLargeDeformRegLib.scene import results, transforms
    from DeepLargeDeformRegLib.scene.segmentations import terminology_tag

    point = (-5.0, 10.0, 60.0)
    before = collected.get("transform").GetTransformFromParent().TransformPoint(point)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    application.close_scene()
    assert results.list_results() == []
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    (run,) = results.list_results()
    assert run.metrics["dice"]["Liver"]["after"] == 0.95
    assert run.report == "<html>report</html>"
    assert run.get("transform").GetNodeReference(transforms.FIXED_ROLE) is run.get("fixed")
    assert run.get("transform").GetNodeReference(transforms.MOVING_ROLE).GetName() == "moving"
    transforms.keep_linear_interpolation(run.get("transform"))
    np.testing.assert_allclose(run.get("transform").GetTransformFromParent().TransformPoint(point), before, atol=1e-4)
    segment = run.get("segmentation").GetSegmentation().GetSegment("liver")
    import vtk

    tag = vtk.reference("")
    assert segment.GetTag(terminology_tag(), tag)
    assert str(tag) == "a~b"
    assert run.get("jacobian").GetDisplayNode().GetColorNode().GetName().startswith("Jacobian")


def test_runs_are_kept_and_removed_apart(collected: Any, nodes: Any) -> None:
    from DeepLargeDeformRegLib.scene import results

    second = results.add_result({"fixed": nodes[0], "warped": collected.get("warped")}, {}, {})
    assert [run.name for run in results.list_results()] == ["Run 1", "Run 2"]
    warped, transform = collected.get("warped"), collected.get("transform")
    results.remove_result(collected)
    assert transform.GetScene() is None
    assert warped.GetScene() is not None
    assert [run.name for run in results.list_results()] == [second.name]
    assert results.next_number() == 3


def test_nothing_is_taken_in_when_an_input_is_gone(
    nodes: Any, field: sitk.Image, tmp_path: Path, application: Any
) -> None:
    import slicer
    from DeepLargeDeformRegLib.scene import exchange
    from DeepLargeDeformRegLib.scene.errors import SceneError

    inputs, targets = exchange.Inputs(*nodes), exchange.Targets()
    prepared = exchange.prepare(inputs, targets, {}, tmp_path)
    finish(prepared.payload, field)
    slicer.mrmlScene.RemoveNode(nodes[1])
    count = slicer.mrmlScene.GetNumberOfNodes()
    with pytest.raises(SceneError, match="removed"):
        exchange.collect(inputs, targets, {}, prepared, {})
    assert slicer.mrmlScene.GetNumberOfNodes() == count


def test_missing_inputs_are_named(nodes: Any) -> None:
    from DeepLargeDeformRegLib.scene.exchange import Inputs

    assert Inputs(*nodes).problem() == ""
    assert "fixed" in Inputs(None, nodes[1]).problem()
    assert "same volume" in Inputs(nodes[0], nodes[0]).problem()
    assert "landmarks" in Inputs(*nodes, fixed_landmarks=nodes[0]).problem()


def test_table_has_units_and_numbers(collected: Any) -> None:
    table = collected.get("table").GetTable()
    rows = [[table.GetValue(r, c).ToString() for c in range(5)] for r in range(table.GetNumberOfRows())]
    assert ["Dice", "Liver", "0.6", "0.95", ""] in rows
    assert ["TRE, mean", "landmarks", "8", "1.2", "mm"] in rows
    assert any(row[0].startswith("Folds") and row[4] == "%" for row in rows)


def test_plots(collected: Any) -> None:
    from DeepLargeDeformRegLib.scene import tables

    chart, table, *bars = tables.dice_chart(METRICS, "Run 1")
    assert chart.GetNumberOfPlotSeriesNodes() == len(bars) == 2
    assert table.GetTable().GetValue(0, 2).ToDouble() == 0.95
    chart, *made = tables.tre_chart([3.0, 1.0], [0.5, 0.2], "Run 1")
    values = made[0].GetTable()
    shown = [(values.GetValue(r, 0).ToDouble(), values.GetValue(r, 1).ToDouble()) for r in range(3)]
    assert shown == [(0.0, 0.0), (1.0, 50.0), (3.0, 100.0)]
    assert tables.dice_chart({}, "none") == []


def test_color_map_is_neutral_at_one_and_unmistakable_at_zero(collected: Any) -> None:
    from DeepLargeDeformRegLib.scene.color_map import jacobian_color_node

    function = collected.get("jacobian").GetDisplayNode().GetColorNode().GetColorTransferFunction()
    neutral = np.array(function.GetColor(1.0))
    assert np.ptp(neutral) < 0.05
    assert neutral.min() > 0.8
    for fold in (-1.0, -0.3, -0.001):
        for proper in (0.05, 0.5, 1.0, 2.0, 4.0):
            assert np.abs(np.array(function.GetColor(fold)) - function.GetColor(proper)).max() > 0.3
    assert jacobian_color_node() is collected.get("jacobian").GetDisplayNode().GetColorNode()


def test_every_view_can_be_shown(application: Any, collected: Any, nodes: Any) -> None:
    from DeepLargeDeformRegLib.scene import layouts

    comparison = layouts.Comparison(*nodes, *(collected.get(r) for r in ("warped", "jacobian", "transform")))
    for view in ("fade", "checkerboard", "difference", "jacobian", "grid"):
        comparison.show(view)
        assert all(composite.GetBackgroundVolumeID() for composite in layouts.composites())
    comparison.show("fade", 0.3)
    assert layouts.composites()
    for composite in layouts.composites():
        assert composite.GetForegroundVolumeID() == collected.get("warped").GetID()
        assert composite.GetForegroundOpacity() == pytest.approx(0.3)
        assert composite.GetLinkedControl()
    display = [node.GetDisplayNode() for node in (nodes[0], collected.get("warped"))]
    assert display[0].GetWindow() == display[1].GetWindow()
    assert display[0].GetLevel() == display[1].GetLevel()
    comparison.before_after(after=False)
    assert layouts.composites()[0].GetForegroundVolumeID() == nodes[1].GetID()
    assert "segmentation" in comparison.missing("outlines")


def test_checkerboard_and_difference() -> None:
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    from DeepLargeDeformRegLib.scene.layouts import checkerboard_array, difference_array

    zeros, ones = np.zeros((8, 8, 8)), np.ones((8, 8, 8))
    board = checkerboard_array(zeros, ones, tiles=4)
    assert board.mean() == 0.5
    assert board[0, 0, 0] != board[2, 0, 0] != board[4, 0, 0]
    assert (difference_array(zeros, ones) == -1).all()


def test_export_writes_what_itk_reads(collected: Any, tmp_path: Path, field: sitk.Image) -> None:
    from DeepLargeDeformRegLib.scene.export import save_all

    files = save_all(collected, tmp_path / "out", ".h5")
    names = {path.name for path in files}
    assert {
        "run-1-transform.h5",
        "run-1-inverse.h5",
        "run-1-warped.nrrd",
        "run-1-metrics.csv",
        "run-1-report.html",
    } <= names
    assert all(path.stat().st_size for path in files)
    point = field.TransformIndexToPhysicalPoint((10, 12, 8))
    moved = sitk.ReadTransform(str(tmp_path / "out" / "run-1-transform.h5")).TransformPoint(point)
    np.testing.assert_allclose(moved, np.array(point) + field[10, 12, 8], atol=1e-3)
    back = sitk.ReadTransform(str(tmp_path / "out" / "run-1-inverse.h5")).TransformPoint(moved)
    np.testing.assert_allclose(back, point, atol=0.3)


def test_region_and_landmarks(nodes: Any, fixed_image: sitk.Image) -> None:
    import slicer
    from DeepLargeDeformRegLib.scene import exchange, markups
    from DeepLargeDeformRegLib.scene.errors import SceneError

    center = fixed_image.TransformContinuousIndexToPhysicalPoint([11.5, 12.5, 8.5])
    region = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    region.SetCenter(-center[0], -center[1], center[2])
    region.SetSize(12.0, 12.0, 12.0)
    mask = sitk.GetArrayFromImage(exchange.region_mask(region, fixed_image))
    volume = mask.sum() * np.prod(fixed_image.GetSpacing())
    assert volume == pytest.approx(12.0**3, rel=0.15)
    region.SetCenter(1000.0, 0.0, 0.0)
    with pytest.raises(SceneError, match="outside"):
        exchange.region_mask(region, fixed_image)
    first = markups.points_node(np.array([[1.0, 2, 3], [4, 5, 6]]), ["a", "b"], "first")
    second = markups.points_node(np.array([[40.0, 50, 60], [10, 20, 30]]), ["b", "a"], "second")
    fixed, moving, names = markups.landmark_pairs(first, second)
    np.testing.assert_allclose(moving, 10 * fixed)
    assert names == ["a", "b"]
    second.RemoveNthControlPoint(0)
    with pytest.raises(SceneError, match="2 and 1"):
        markups.landmark_pairs(first, second)
