"""Taking a finished job into the scene, showing it, and saving it with the scene."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.core.metrics import Metrics
from DeepLargeDeformRegLib.core.rows import metric_rows

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
    values = np.linspace(-1.0, 1.0, 24 * 26 * 18, dtype=np.float32).reshape(18, 26, 24)
    local = sitk.GetImageFromArray(values)
    local.CopyInformation(field)
    Path(payload["output_maps"]).mkdir()
    sitk.WriteImage(local, str(Path(payload["output_maps"]) / "local_similarity.nrrd"))
    Path(payload["report"]).write_text("<html>report</html>", encoding="utf-8")


@pytest.fixture
def collected(nodes: Any, segmentation: Any, field: sitk.Image, tmp_path: Path) -> Any:
    from DeepLargeDeformRegLib.scene import exchange
    from DeepLargeDeformRegLib.scene.collect import collect

    inputs = exchange.Inputs(*nodes, moving_segmentation=segmentation)
    targets = exchange.Targets()
    prepared = exchange.prepare(inputs, targets, {"preset": "any"}, tmp_path)
    finish(prepared.payload, field)
    return collect(inputs, targets, {"preset": "any"}, prepared, Metrics.from_json(METRICS))


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
    assert collected.verdict.level == "look"
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
    assert run.metrics.structures["Liver"].dice.after == 0.95
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

    second = results.add_result({"fixed": nodes[0], "warped": collected.get("warped")}, Metrics(), {})
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
    from DeepLargeDeformRegLib.scene.collect import collect
    from DeepLargeDeformRegLib.scene.errors import SceneError

    inputs, targets = exchange.Inputs(*nodes), exchange.Targets()
    prepared = exchange.prepare(inputs, targets, {}, tmp_path)
    finish(prepared.payload, field)
    slicer.mrmlScene.RemoveNode(nodes[1])
    count = slicer.mrmlScene.GetNumberOfNodes()
    with pytest.raises(SceneError, match="removed"):
        collect(inputs, targets, {}, prepared, Metrics())
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
    assert ["Dice", "Liver", "0.600", "0.950", ""] in rows
    assert ["Landmark error, mean", "landmarks", "8.00", "1.20", "mm"] in rows
    assert any(row[0] == "Folded voxels" and row[4] == "%" for row in rows)


def test_plots(collected: Any) -> None:
    import slicer
    from DeepLargeDeformRegLib.scene import plots

    dice = plots.dice_chart(Metrics.from_json(METRICS), "Run 1")
    assert dice.node.GetNumberOfPlotSeriesNodes() == 2
    assert dice.parts[0].GetTable().GetValueByName(0, "After").ToDouble() == 0.95
    place = {"point_lps": [0.0, 0.0, 0.0]}
    landmarks = [
        {"name": "a", "before": 3.0, "after": 0.5, **place},
        {"name": "b", "before": 1.0, "after": 0.2, **place},
    ]
    errors = {"before": {"mean": 2.0}, "after": {"mean": 0.35}, "landmarks": landmarks}
    tre = plots.tre_chart(Metrics.from_json({"tre_mm": errors}), "Run 1")
    values = tre.parts[0].GetTable()
    steps = [tuple(values.GetValue(r, c).ToDouble() for c in range(2)) for r in range(values.GetNumberOfRows())]
    assert steps == [(0.0, 0.0), (1.0, 0.0), (1.0, 50.0), (3.0, 50.0), (3.0, 100.0)]
    array = np.array([-0.55, 0.05, 0.25, 1.05, 1.05, 9.0])
    histogram = plots.jacobian_chart(array, "Run 1")
    folds, proper = (node.GetTable() for node in histogram.parts if node.IsA("vtkMRMLTableNode"))
    heights = {round(t.GetValue(r, 0).ToDouble(), 3): t.GetValue(r, 1).ToDouble() for t in (folds, proper)
               for r in range(0, t.GetNumberOfRows(), 2)}  # fmt: skip
    assert heights[-0.6] == pytest.approx(100 / 6)
    assert heights[1.0] == pytest.approx(200 / 6)
    assert heights[4.9] == pytest.approx(100 / 6), "what lies beyond the ends is counted in them"
    assert sum(heights.values()) == pytest.approx(100.0)
    assert plots.dice_chart(Metrics(), "none") is plots.tre_chart(Metrics(), "none") is None
    shown = [chart.GetTitle() for chart in collected.get_all("charts")]
    assert shown == ["Dice before and after", "Histogram of det J"]
    series = slicer.util.getNodesByClass("vtkMRMLPlotSeriesNode")
    assert all(one.GetTableNode() is not None and one.GetYColumnName() for one in series)


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

    comparison = layouts.Comparison(collected)
    for view in ("fade", "checkerboard", "difference", "jacobian", "grid", "local_similarity"):
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
    assert (difference_array(zeros, ones) == 1).all(), "registered minus fixed, as in the report"


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
        "run-1-labels.seg.nrrd",
        "run-1-jacobian.nrrd",
        "run-1-local-similarity.nrrd",
    } == names
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


def test_quality_maps_are_bright_where_to_look(collected: Any) -> None:

    display = collected.get("local_similarity").GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == pytest.approx((0.0, 1.0))
    assert display.GetApplyThreshold()
    assert not display.GetInterpolate()
    assert display.GetLowerThreshold() == 0.0, "what is not defined is not drawn"
    function = display.GetColorNode().GetColorTransferFunction()
    light = [sum(function.GetColor(value)) for value in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert light == sorted(light, reverse=True), "low similarity is bright"
    assert collected.get("uncertainty_mm") is None


def test_how_well_the_scans_fit_has_rows_of_its_own() -> None:
    alike = {"local_ncc": {"before": 0.25, "after": 0.75}}
    metrics = Metrics.from_json({"similarity": alike, "in_place_percent": 93.5})
    rows = {row.measure.title: row for row in metric_rows(metrics)}
    assert rows["Similarity (local NCC)"].cells == ("Similarity (local NCC)", "", "0.250", "0.750", "")
    assert rows["Agrees best at this place"].cells == ("Agrees best at this place", "", "", "93.5", "%")


def test_rows_lead_to_their_places(collected: Any, field: sitk.Image) -> None:
    import slicer
    from DeepLargeDeformRegLib.scene import places

    metrics = dict(METRICS)
    metrics["tre_mm"] = {
        **METRICS["tre_mm"],
        "landmarks": [
            {"name": name, "before": 8.0, "after": after, "point_lps": [after, 0.0, 0.0]}
            for name, after in (("L1", 0.5), ("L2", 3.0))
        ],
    }
    rows = {(row.measure.title, row.structure): row for row in metric_rows(Metrics.from_json(metrics))}
    assert places.place_of(collected, rows[("SDlogJ", "")]) is None
    np.testing.assert_allclose(
        places.place_of(collected, rows[("Landmark error, largest", "landmarks")]), [3.0, 0.0, 0.0]
    )
    np.testing.assert_allclose(places.place_of(collected, rows[("Landmark error", "L1")]), [0.5, 0.0, 0.0])
    assert [name for measure, name in rows if measure == "Landmark error"] == ["L2", "L1"], "the worst first"
    segmentation = collected.get("segmentation")
    array = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "liver", collected.get("warped"))
    voxel = np.argwhere(array).mean(axis=0)[::-1]
    center = places.place_of(collected, rows[("Dice", "Liver")])
    np.testing.assert_allclose(center, field.TransformContinuousIndexToPhysicalPoint(voxel.tolist()), atol=1.5)
    jacobian = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(field))
    for title, flat in (("det J, smallest", jacobian.argmin()), ("det J, largest", jacobian.argmax())):
        index = [int(i) for i in np.unravel_index(flat, jacobian.shape)[::-1]]
        expected = field.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(places.place_of(collected, rows[(title, "")]), expected, atol=1e-3)
    places.jump_to((10.0, -20.0, 30.0))
    centers = {}
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        centers[node.GetName()] = [node.GetSliceToRAS().GetElement(row, 3) for row in range(3)]
    for name in ("Red", "Yellow", "Green"):
        np.testing.assert_allclose(centers[name], (-10.0, 20.0, 30.0), atol=1e-6)


def test_runs_stand_side_by_side(collected: Any) -> None:
    from DeepLargeDeformRegLib.scene import tables

    better = {**METRICS, "dice": {"Liver": {"before": 0.6, "after": 0.97}}}
    node = tables.comparison_table(
        {"Run 1": Metrics.from_json(METRICS), "Run 2": Metrics.from_json(better)}, "comparison"
    )
    header = [node.GetColumnName(column) for column in range(node.GetNumberOfColumns())]
    assert header == ["Measure", "Structure", "Run 1", "Run 2", "Unit"]
    rows = [[node.GetCellText(row, column) for column in range(5)] for row in range(node.GetNumberOfRows())]
    assert ["Dice", "Liver", "0.950", "0.970", ""] in rows
    assert ["Dice", "Spleen", "", "", ""] in rows, "what one run lacks stays empty"
    assert ["Landmark error, mean", "landmarks", "1.20", "1.20", "mm"] in rows


def test_views_compare_a_run_with_another(collected: Any, nodes: Any, fixed_image: sitk.Image) -> None:
    from DeepLargeDeformRegLib.scene import layouts, results
    from DeepLargeDeformRegLib.scene.volumes import volume_from_image

    warped = volume_from_image(fixed_image, "other warped")
    second = results.add_result({"fixed": nodes[0], "moving": nodes[1], "warped": warped}, Metrics(), {})
    comparison = layouts.Comparison(collected, second)
    comparison.show("fade", 0.4)
    for composite in layouts.composites():
        assert composite.GetBackgroundVolumeID() == warped.GetID()
        assert composite.GetForegroundVolumeID() == collected.get("warped").GetID()
    assert comparison.missing("difference") == ""
    assert "segmentation" in comparison.missing("outlines")
    smaller = volume_from_image(fixed_image[:10], "smaller")
    third = results.add_result({"fixed": nodes[0], "moving": nodes[1], "warped": smaller}, Metrics(), {})
    assert "Run 3 has another grid" in layouts.Comparison(collected, third).missing("checkerboard")


def test_a_file_that_cannot_be_read_leaves_the_scene_as_it_was(nodes: Any, field: sitk.Image, tmp_path: Path) -> None:
    import slicer
    from DeepLargeDeformRegLib.scene import exchange
    from DeepLargeDeformRegLib.scene.collect import collect

    inputs, targets = exchange.Inputs(*nodes), exchange.Targets()
    prepared = exchange.prepare(inputs, targets, {}, tmp_path)
    finish(prepared.payload, field)
    Path(prepared.payload["output_jacobian"]).write_bytes(b"NRRD0004\ndamaged")
    before = {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode")}
    with pytest.raises(RuntimeError):
        collect(inputs, targets, {}, prepared, Metrics.from_json(METRICS))
    assert {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode")} == before


def test_segments_that_are_left_out_are_not_written(nodes: Any, tmp_path: Path, moving_image: sitk.Image) -> None:
    from DeepLargeDeformRegLib.scene import exchange
    from DeepLargeDeformRegLib.scene.segmentations import SegmentLabel, segmentation_from_label_map

    array = np.zeros(moving_image.GetSize()[::-1], dtype=np.uint16)
    array[10:24, 12:30, 12:20], array[10:24, 12:30, 20:30] = 1, 2
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(moving_image)
    labels = [SegmentLabel(1, "a", "Liver", (1, 0, 0)), SegmentLabel(2, "b", "Spleen", (0, 1, 0))]
    segmentation = segmentation_from_label_map(image, labels, "organs")
    inputs = exchange.Inputs(*nodes, moving_segmentation=segmentation, unused_moving=["a"])
    prepared = exchange.prepare(inputs, exchange.Targets(), {}, tmp_path)
    assert [label.name for label in prepared.moving_labels] == ["Spleen"]
    written = sitk.GetArrayFromImage(sitk.ReadImage(prepared.payload["moving_segmentation"]))
    np.testing.assert_array_equal(written == 1, array == 2)
    nothing = exchange.Inputs(*nodes, moving_segmentation=segmentation, unused_moving=["a", "b"])
    payload = exchange.prepare(nothing, exchange.Targets(), {}, tmp_path).payload
    assert "moving_segmentation" not in payload
    assert "output_segmentation" not in payload


def test_moving_landmarks_alone_are_carried_over(nodes: Any, field: sitk.Image, tmp_path: Path) -> None:
    from DeepLargeDeformRegLib.scene import exchange, markups
    from DeepLargeDeformRegLib.scene.collect import collect

    start = np.array(field.TransformIndexToPhysicalPoint((10, 12, 8)))
    marks = markups.points_node((start + np.array(field[10, 12, 8]))[None], ["nodule"], "marks")
    inputs = exchange.Inputs(*nodes, moving_landmarks=marks)
    prepared = exchange.prepare(inputs, exchange.Targets(), {}, tmp_path)
    assert "landmarks" not in prepared.payload, "nothing to measure with"
    finish(prepared.payload, field)
    run = collect(inputs, exchange.Targets(), {}, prepared, Metrics.from_json(METRICS))
    (point,), (name,) = markups.points_lps(run.get("landmarks"))
    np.testing.assert_allclose(point, start, atol=0.05)
    assert name == "nodule"


def test_linear_part_is_kept_apart_on_wish(
    nodes: Any, field: sitk.Image, moving_image: sitk.Image, tmp_path: Path
) -> None:
    import slicer
    from DeepLargeDeformRegLib.scene import exchange
    from DeepLargeDeformRegLib.scene.collect import collect

    inputs = exchange.Inputs(*nodes)
    targets = exchange.Targets(wanted=exchange.DEFAULT_OUTPUTS | {"parts"})
    prepared = exchange.prepare(inputs, targets, {}, tmp_path)
    finish(prepared.payload, field)
    matrix = [[1.02, 0.03, 0.0, 1.0], [-0.02, 0.98, 0.01, -2.0], [0.0, 0.01, 1.0, 1.5], [0.0, 0.0, 0.0, 1.0]]
    run = collect(inputs, targets, {}, prepared, Metrics.from_json({**METRICS, "linear_lps": matrix}))
    assert run.get("linear").GetParentTransformNode() is run.get("deformable")
    nodes[1].SetAndObserveTransformNodeID(run.get("linear").GetID())
    found = slicer.modules.volumes.logic().ResampleVolumeToReferenceVolume(nodes[1], nodes[0])
    expected = sitk.GetArrayFromImage(itk_warped(moving_image, field))
    np.testing.assert_allclose(slicer.util.arrayFromVolume(found), expected, atol=1e-3 * np.ptp(expected))


UNDOABLE = (
    "ScalarVolume", "GridTransform", "Segmentation", "Table", "PlotChart", "PlotSeries", "Text", "MarkupsFiducial",
    "ScriptedModule",
)  # fmt: skip


def test_undo_takes_a_result_back_as_a_whole(nodes: Any, field: sitk.Image, tmp_path: Path) -> None:
    """In an application that lets nodes be undone; Slicer by itself does not."""
    import slicer
    from DeepLargeDeformRegLib.scene import exchange, results
    from DeepLargeDeformRegLib.scene.collect import collect

    scene = slicer.mrmlScene
    inputs, targets = exchange.Inputs(*nodes), exchange.Targets()
    prepared = exchange.prepare(inputs, targets, {}, tmp_path)
    finish(prepared.payload, field)
    scene.SetUndoOn()
    for name in UNDOABLE:
        default = getattr(slicer, f"vtkMRML{name}Node")()
        default.SetUndoEnabled(True)
        scene.AddDefaultNode(default)
    try:
        made = [node.GetID() for node in collect(inputs, targets, {}, prepared, Metrics.from_json(METRICS)).outputs()]
        scene.Undo()
        assert results.list_results() == []
        assert not any(scene.GetNodeByID(identifier) for identifier in made)
        assert nodes[0].GetScene() is scene
    finally:
        scene.RemoveAllDefaultNodes()
        scene.ClearUndoStack()
        scene.SetUndoOff()
