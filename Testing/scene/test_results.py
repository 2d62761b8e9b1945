"""Taking a finished job into the scene, and saving it with the scene."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.core.metrics import Metrics

from .conftest import METRICS, finish, itk_warped

ORGANS = ("output_fixed_organs", "output_moving_organs", "output_warped_organs")


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
    assert run.get("jacobian").GetDisplayNode().GetColorNode().GetName().startswith("Volume change")


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

    inputs, targets = exchange.Inputs(fixed=nodes[0], moving=nodes[1]), exchange.Targets()
    prepared = exchange.prepare(inputs, targets, {}, tmp_path)
    finish(prepared.payload, field)
    slicer.mrmlScene.RemoveNode(nodes[1])
    count = slicer.mrmlScene.GetNumberOfNodes()
    with pytest.raises(SceneError, match="removed"):
        collect(inputs, targets, {}, prepared, Metrics())
    assert slicer.mrmlScene.GetNumberOfNodes() == count


def test_missing_inputs_are_named(nodes: Any) -> None:
    from DeepLargeDeformRegLib.scene.exchange import Inputs

    assert Inputs(fixed=nodes[0], moving=nodes[1]).problem() == ""
    assert "fixed" in Inputs(fixed=None, moving=nodes[1]).problem()
    assert "same volume" in Inputs(fixed=nodes[0], moving=nodes[0]).problem()
    assert "landmarks" in Inputs(fixed=nodes[0], moving=nodes[1], fixed_landmarks=nodes[0]).problem()


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
    pairs = markups.landmark_pairs(first, second)
    np.testing.assert_allclose(pairs.moving, 10 * pairs.fixed)
    assert pairs.names == ("a", "b")
    second.RemoveNthControlPoint(0)
    with pytest.raises(SceneError, match="2 fixed but 1 moving"):
        markups.landmark_pairs(first, second)


def test_a_file_that_cannot_be_read_leaves_the_scene_as_it_was(nodes: Any, field: sitk.Image, tmp_path: Path) -> None:
    import slicer
    from DeepLargeDeformRegLib.scene import exchange
    from DeepLargeDeformRegLib.scene.collect import collect

    inputs, targets = exchange.Inputs(fixed=nodes[0], moving=nodes[1]), exchange.Targets()
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
    labels = [
        SegmentLabel(value=1, segment_id="a", name="Liver", color=(1, 0, 0)),
        SegmentLabel(value=2, segment_id="b", name="Spleen", color=(0, 1, 0)),
    ]
    segmentation = segmentation_from_label_map(image, labels, "organs")
    inputs = exchange.Inputs(fixed=nodes[0], moving=nodes[1], moving_segmentation=segmentation, unused_moving=["a"])
    prepared = exchange.prepare(inputs, exchange.Targets(), {}, tmp_path)
    assert [label.name for label in prepared.moving_labels] == ["Spleen"]
    written = sitk.GetArrayFromImage(sitk.ReadImage(prepared.payload["moving_segmentation"]))
    np.testing.assert_array_equal(written == 1, array == 2)
    nothing = exchange.Inputs(
        fixed=nodes[0], moving=nodes[1], moving_segmentation=segmentation, unused_moving=["a", "b"]
    )
    payload = exchange.prepare(nothing, exchange.Targets(), {}, tmp_path).payload
    assert "moving_segmentation" not in payload
    assert "output_segmentation" not in payload


def test_organs_that_the_engine_found_are_shown_as_what_they_are(
    nodes: Any, field: sitk.Image, tmp_path: Path, fixed_image: sitk.Image, moving_image: sitk.Image
) -> None:
    from DeepLargeDeformRegLib.core.files.label_maps import write_label_map
    from DeepLargeDeformRegLib.core.geometry import ImageGrid
    from DeepLargeDeformRegLib.core.images import Label, LabelMap
    from DeepLargeDeformRegLib.scene import exchange, layouts, segmentations
    from DeepLargeDeformRegLib.scene.collect import collect

    inputs, targets = exchange.Inputs(fixed=nodes[0], moving=nodes[1]), exchange.Targets()
    assert not any(key in exchange.prepare(inputs, targets, {"organs": "none"}, tmp_path).payload for key in ORGANS)
    prepared = exchange.prepare(inputs, targets, {}, tmp_path)
    finish(prepared.payload, field)
    for key, image in zip(ORGANS, (fixed_image, moving_image, fixed_image), strict=True):
        array = np.zeros(image.GetSize()[::-1], np.int16)
        array[4:12, 8:20, 8:20] = 1
        organ = Label(value=1, name="liver (automatic, not reviewed)", color=(0.8, 0.4, 0.3))
        grid = ImageGrid(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
        write_label_map(LabelMap(array, grid, (organ,)), prepared.payload[key])
    run = collect(inputs, targets, {}, prepared, Metrics.from_json(METRICS))
    comparison = layouts.Comparison(run)
    assert comparison.missing("outlines") == ""
    comparison.show("outlines")
    for role in ("fixed_organs", "organs"):
        assert list(segmentations.segment_names(run.get(role)).values()) == ["liver (automatic, not reviewed)"]
        display = run.get(role).GetDisplayNode()
        assert display.GetVisibility()
        assert display.GetSliceIntersectionThickness() == 1, "thinner than what somebody drew"
    assert not run.get("moving_organs").GetDisplayNode().GetVisibility(), "it lies where the moving scan was loaded"
    comparison.show("fade")
    assert not run.get("organs").GetDisplayNode().GetVisibility2DOutline()


def test_moving_landmarks_alone_are_carried_over(nodes: Any, field: sitk.Image, tmp_path: Path) -> None:
    from DeepLargeDeformRegLib.scene import exchange, markups
    from DeepLargeDeformRegLib.scene.collect import collect

    start = np.array(field.TransformIndexToPhysicalPoint((10, 12, 8)))
    marks = markups.points_node((start + np.array(field[10, 12, 8]))[None], ["nodule"], "marks")
    inputs = exchange.Inputs(fixed=nodes[0], moving=nodes[1], moving_landmarks=marks)
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

    inputs = exchange.Inputs(fixed=nodes[0], moving=nodes[1])
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
    inputs, targets = exchange.Inputs(fixed=nodes[0], moving=nodes[1]), exchange.Targets()
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


def test_what_is_left_out_goes_into_the_job(
    nodes: Any, moving_image: sitk.Image, segmentation: Any, tmp_path: Path
) -> None:
    from DeepLargeDeformRegLib.scene import exchange

    fixed, moving = nodes
    inputs = exchange.Inputs(fixed=fixed, moving=moving, moving_segmentation=segmentation, moving_mask=segmentation)
    assert "segmentation of its own" in inputs.problem()
    inputs = exchange.Inputs(fixed=fixed, moving=moving, moving_mask=segmentation)
    assert not inputs.problem()
    payload = exchange.prepare(inputs, exchange.Targets(), {}, tmp_path).payload
    assert not {"fixed_mask", "moving_segmentation"} & set(payload)
    mask = sitk.GetArrayFromImage(sitk.ReadImage(payload["moving_mask"]))
    expected = np.zeros(moving_image.GetSize()[::-1], dtype=bool)
    expected[10:24, 12:30, 12:30] = True
    np.testing.assert_array_equal(mask > 0, expected)
