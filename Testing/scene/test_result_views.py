"""Showing a result: its table, charts, maps and views, and one run beside another."""

from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.core.metrics import Metrics
from DeepLargeDeformRegLib.core.rows import metric_rows

from .conftest import METRICS


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
    assert shown == ["Dice before and after", "Histogram of the volume change"]
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


def test_checkerboard_and_difference(application: Any) -> None:
    from DeepLargeDeformRegLib.scene.layouts import checkerboard_array, difference_array

    zeros, ones = np.zeros((8, 8, 8)), np.ones((8, 8, 8))
    board = checkerboard_array(zeros, ones, tiles=4)
    assert board.mean() == 0.5
    assert board[0, 0, 0] != board[2, 0, 0] != board[4, 0, 0]
    assert (difference_array(zeros, ones) == 1).all(), "registered minus fixed, as in the report"


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
    for title, flat in (
        ("Volume change (det J), smallest", jacobian.argmin()),
        ("Volume change (det J), largest", jacobian.argmax()),
    ):
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
