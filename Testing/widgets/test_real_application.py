"""Faults that were seen in the real application, and that the stand-in shows since it behaves as Slicer there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from Testing.slicer_app.module_panel import ModulePanel

from .nodes import MODULE, add_result, add_segmentation, add_volumes

LAUNCHER = """
import subprocess, sys
code = subprocess.call(sys.argv[1:])
if code < 0:
    print(f"error: [{sys.argv[1]}] exit abnormally - Report the problem.", file=sys.stderr, flush=True)
sys.exit(1 if code < 0 else code)
"""


def reload_scene(application: Any, path: Path) -> None:
    import slicer

    assert slicer.util.saveScene(str(path))
    application.close_scene()
    slicer.util.loadScene(str(path))


def segmented_pair(application: Any) -> Any:
    """The panel with two segmented scans, two segments matched by hand and one left out."""
    import qt

    fixed, moving = add_volumes("first", "second")
    widget = application.open_module(MODULE)
    widget.ui.fixedSegmentationSelector.setCurrentNode(add_segmentation("f", fixed, "Left lung", "Spleen"))
    widget.ui.movingSegmentationSelector.setCurrentNode(add_segmentation("m", moving, "left lung", "milz", "ren"))
    widget.ui.matchTable.cellWidget(1, 1).currentIndex = 2
    widget.ui.matchTable.item(2, 0).setCheckState(qt.Qt.Unchecked)
    return widget


def choices(widget: Any) -> dict[str, Any]:
    """All that the user chose, nodes by their names."""
    node = widget.logic.getParameterNode()
    values = {name: getattr(node, name) for name in node.allParameters}
    return {name: value.GetName() if hasattr(value, "GetName") else value for name, value in values.items()}


def test_every_choice_survives_saving_and_reloading(application: Any, tmp_path: Path) -> None:
    import slicer
    from DeepLargeDeformRegLib.widgets.parameters import Linear, Preset, Quality

    widget = segmented_pair(application)
    node = widget.logic.getParameterNode()
    changed = {"preset": Preset.LUNG_CT, "quality": Quality.FAST, "linear": Linear.RIGID, "device": "cpu"}
    changed |= {"model": "none", "iterations": 7, "regularity": 2.5, "outputSpacing": 3.0}
    changed |= {name: not getattr(node, name) for name in node.allParameters if isinstance(getattr(node, name), bool)}
    changed["matchesEdited"] = True
    for name, value in changed.items():
        setattr(node, name, value)
    for name in ("fixedLandmarks", "movingLandmarks"):
        setattr(node, name, slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name))
    inputs = widget.logic.inputs(node)
    before = choices(widget)
    reload_scene(application, tmp_path / "scene.mrb")
    assert choices(widget) == before
    again = widget.logic.inputs(widget.logic.getParameterNode())
    assert again.matches == inputs.matches == [("Left lung", "left lung"), ("Spleen", "milz")]
    assert (again.unused_fixed, again.unused_moving) == ([], ["ren"])
    assert widget.ui.registerButton.enabled
    assert not application.errors


@pytest.mark.parametrize("separator", ["\t", " "])
def test_a_scene_of_the_first_version_opens(application: Any, tmp_path: Path, separator: str) -> None:
    widget = segmented_pair(application)
    node = widget.logic.getParameterNode()
    node.segmentMatches = [f"Left lung{separator}left lung", f"Spleen{separator}milz", f"gone{separator}gone"]
    node.unusedSegments = [f"moving{separator}ren"]
    reload_scene(application, tmp_path / "scene.mrb")
    inputs = widget.logic.inputs(widget.logic.getParameterNode())
    assert inputs.matches == [("Left lung", "left lung"), ("Spleen", "milz")]
    assert inputs.unused_moving == ["ren"]


def shown() -> list[tuple[Any, Any]]:
    from DeepLargeDeformRegLib.scene import layouts

    return [(one.GetBackgroundVolumeID(), one.GetForegroundVolumeID()) for one in layouts.composites()]


def two_runs(application: Any) -> tuple[Any, list[Any]]:
    """The panel with two results, and a map that Slicer's boxes may fall to."""
    fixed, moving = add_volumes("first", "second")
    widget = application.open_module(MODULE)
    runs = []
    for _ in range(2):
        (similar,) = add_volumes("local similarity")
        runs.append(add_result(fixed, moving, {}, local_similarity=similar))
    widget.results.refresh(newest=True)
    return widget, runs


def test_a_derived_volume_stays_when_the_user_comes_back(application: Any) -> None:
    widget, _runs = two_runs(application)
    widget.ui.differenceButton.click()
    before = shown()
    application.leave(widget)
    application.enter(widget)
    assert shown() == before
    assert "minus" in widget.ui.viewLabel.text


@pytest.mark.parametrize("view", ["difference", "fade", "checkerboard"])
def test_removing_a_run_shows_the_same_of_the_one_that_is_left(application: Any, view: str) -> None:
    import slicer

    widget, runs = two_runs(application)
    getattr(widget.ui, f"{view}Button").click()
    widget.ui.removeResultButton.click()
    background, foreground = shown()[0]
    if view == "fade":
        assert (background, foreground) == (runs[0].get("fixed").GetID(), runs[0].get("warped").GetID())
    else:
        assert slicer.mrmlScene.GetNodeByID(background).GetName() == f"{runs[0].get('warped').GetName()} {view}"
        assert foreground is None
    widget.ui.removeResultButton.click()
    assert shown()[0] == (slicer.util.getNode("first").GetID(), None)
    assert widget.ui.viewLabel.text == ""


def test_a_volume_that_other_hands_remove_leaves_no_neighbor(application: Any) -> None:
    import slicer

    widget, runs = two_runs(application)
    widget.ui.fadeButton.click()
    slicer.mrmlScene.RemoveNode(runs[1].get("warped"))
    assert shown()[0] == (slicer.util.getNode("first").GetID(), None)
    assert widget.ui.viewLabel.text == ""


def test_the_panel_is_as_narrow_as_the_user_wants_it(application: Any) -> None:
    fixed, moving = add_volumes("a scan with a long name " * 3, "another one " * 6)
    widget = application.open_module(MODULE)
    panel = ModulePanel(application, widget.parent)
    reasons = [{"text": "The landmarks are 4.8 mm apart on average, which is much. " * 2, "severity": "look"}]
    add_result(fixed, moving, {"verdict": {"level": "look", "title": "Look", "reasons": reasons}})
    for section in ("inputs", "method", "outputs", "results", "export", "batch"):
        getattr(widget.ui, f"{section}Section").collapsed = False
    widget.results.refresh(newest=True)
    assert panel.least_width() <= 300
    panel.close()


def test_the_view_buttons_are_never_crushed(application: Any) -> None:
    fixed, moving = add_volumes("first", "second")
    widget = application.open_module(MODULE)
    panel = ModulePanel(application, widget.parent)
    buttons = [getattr(widget.ui, f"{view}Button") for view in ("fade", "difference", "grid")]
    for width in (280, 350, 480):
        panel.show(width, 700)
        assert all(button.height >= 20 for button in buttons), f"before the first result, {width} px"
    reasons = [{"text": "long " * 30, "severity": "look"}]
    add_result(fixed, moving, {"verdict": {"level": "look", "title": "Look", "reasons": reasons}})
    widget.results.refresh(newest=True)
    widget.ui.differenceButton.click()
    for width in (280, 350, 480):
        panel.show(width, 700)
        assert all(button.height >= 20 for button in buttons), f"with a result, {width} px"
    panel.close()


def test_importing_a_scene_keeps_the_inputs(application: Any, tmp_path: Path) -> None:
    import slicer

    add_volumes("third")
    for chosen in slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode"):
        slicer.mrmlScene.RemoveNode(chosen)  # a scene without choices of its own
    assert slicer.util.saveScene(str(tmp_path / "other.mrml"))
    application.close_scene()
    add_volumes("first", "second")
    widget = application.open_module(MODULE)
    slicer.util.loadScene(str(tmp_path / "other.mrml"), {"clear": False})
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 3
    node = widget.logic.getParameterNode()
    assert (node.fixedVolume.GetName(), node.movingVolume.GetName()) == ("first", "second")
    assert widget.ui.movingVolumeSelector.currentNode().GetName() == "second"


def test_choosing_a_run_moves_no_slice(application: Any) -> None:
    import slicer

    fixed, moving = add_volumes("first", "second")
    widget = application.open_module(MODULE)
    for place in (3.0, 9.0):
        landmark = {"name": "L1", "before": 9.0, "after": 1.0, "point_lps": [-3.0, -4.0, place]}
        measured = {"before": {"mean": 9.0}, "after": {"mean": 1.0}, "landmarks": [landmark]}
        add_result(fixed, moving, {"tre_mm": measured})
    widget.results.refresh(newest=True)
    (red,) = (node for node in slicer.util.getNodesByClass("vtkMRMLSliceNode") if node.GetName() == "Red")
    last = widget.ui.metricsView.mrmlTableNode().GetNumberOfRows() - 1  # single landmarks come last
    widget.ui.metricsView.selectRow(last)
    assert red.GetSliceOffset() == pytest.approx(9.0, abs=0.6)
    widget.ui.resultBox.currentIndex = 0
    assert red.GetSliceOffset() == pytest.approx(9.0, abs=0.6), "the slices stay"
    widget.ui.metricsView.selectRow(last)
    assert red.GetSliceOffset() == pytest.approx(3.0, abs=0.6), "a click still jumps"


def test_a_reloaded_transform_interpolates_linearly(application: Any, tmp_path: Path) -> None:
    import numpy as np
    import SimpleITK as sitk
    from DeepLargeDeformRegLib.scene import results, transforms

    fixed, moving = add_volumes("first", "second")
    application.open_module(MODULE)
    field = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=(6, 7, 8, 3)), isVector=True)
    point = (-3.3, -2.7, 2.4)
    node = transforms.transform_from_field(field, "transform")
    add_result(fixed, moving, {}, transform=node)
    before = node.GetTransformFromParent().TransformPoint(point)
    reload_scene(application, tmp_path / "scene.mrb")
    again = results.list_results()[0].get("transform")
    assert again.GetTransformFromParent().TransformPoint(point) == pytest.approx(before, abs=1e-4)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")
@pytest.mark.parametrize(
    ("program", "kind"),
    [
        ("import os; os.kill(os.getpid(), 9)", "worker_killed"),
        ("import faulthandler, os; faulthandler.enable(); os.kill(os.getpid(), 11)", "worker_crashed"),
        ("import sys; print('no such file', file=sys.stderr); sys.exit(1)", "worker_exited"),
    ],
)
def test_the_end_of_a_worker_is_known_through_the_launcher(application: Any, program: str, kind: str) -> None:
    from DeepLargeDeformRegLib.widgets.transport import QProcessTransport
    from DeepLargeDeformRegLib.worker.client import Callbacks, JobRequest, WorkerClient

    errors: list[Any] = []
    callbacks = Callbacks(on_error=lambda job, error: errors.append(error))
    command = [sys.executable, "-c", LAUNCHER, sys.executable, "-c", program]
    client = WorkerClient(command, QProcessTransport, callbacks)
    client.submit(JobRequest("register", {}, ""))
    application.wait_until(lambda: errors, 20, "the end of the worker")
    from DeepLargeDeformRegLib.worker.process import describe_exit

    expected = describe_exit({"worker_killed": -9, "worker_crashed": -11, "worker_exited": 1}[kind], False)[1]
    assert expected in errors[0].message
