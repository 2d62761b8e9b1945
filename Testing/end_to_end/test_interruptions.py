"""What may happen while a registration runs: the scene stays whole, and the panel is ready again."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from . import cases
from .conftest import Small

STAGES = ("read", "prealign", "network", "search", "refine", "repair", "measure", "write")


def nodes_of_scene() -> set[str]:
    """Identifiers of all nodes."""
    import slicer

    scene = slicer.mrmlScene
    nodes = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
    return {node.GetID() for node in nodes}


def at_stage(small: Small, stage: str, action: Any) -> Any:
    """Start a registration that passes all stages, and do something when it reports one; return the finished run."""
    cases.choose_preset(small.widget, "LIVER_CT")
    small.widget.ui.qualityComboBox.currentIndex = 2
    small.widget.ui.registerButton.click()
    run = small.widget.run
    shown = run.on_progress
    reached: list[str] = []

    def progress(name: str, fraction: float, message: str, seconds: float | None) -> None:
        shown(name, fraction, message, seconds)
        if name == stage and not reached:
            reached.append(name)
            action()

    run.on_progress = progress
    small.application.wait_until(lambda: run.finished, 120, "the end of the run")
    assert reached, f"the registration never came to {stage}"
    return run


def assert_ready_for_the_next(small: Small, run: Any) -> None:
    """The run left no folder, and another one succeeds."""
    assert not run.folder.path.exists()
    assert small.widget.ui.registerButton.text == "Register"
    assert small.widget.ui.registerButton.enabled
    assert not small.widget.ui.progressBar.visible
    again = small.register()
    assert again.error is None, again.error
    assert again.result.get("warped") is not None


def test_cancel_at_each_stage_leaves_the_scene_as_it_was(small: Small) -> None:
    before = nodes_of_scene()
    for stage in STAGES:
        run = at_stage(small, stage, small.widget.ui.registerButton.click)
        assert run.error is not None, f"a result came although {stage} was cancelled"
        assert run.error.kind == "cancelled", f"{stage}: {run.error}"
        assert "cancelled" in small.widget.ui.statusLabel.text, stage
        assert nodes_of_scene() == before, stage
        assert not run.folder.path.exists(), stage
    assert_ready_for_the_next(small, run)


def test_killed_worker_is_noticed_and_replaced(small: Small) -> None:
    before = nodes_of_scene()
    killed: list[int] = []

    def kill() -> None:
        killed.append(small.widget.logic.runner.client.hello.process)
        os.kill(killed[0], signal.SIGKILL)

    run = at_stage(small, "measure", kill)
    assert run.error.kind == "worker_killed"
    assert str(run.error) == small.widget.ui.statusLabel.text
    assert nodes_of_scene() == before
    assert_ready_for_the_next(small, run)
    assert small.widget.logic.runner.client.hello.process != killed[0]


def test_scene_closed_while_running(small: Small) -> None:
    import slicer

    run = at_stage(small, "refine", small.application.close_scene)
    assert run.error.kind in ("cancelled", "discarded")
    assert "scene was closed" in small.widget.ui.statusLabel.text
    assert not run.folder.path.exists()
    assert not slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    assert not slicer.util.getNodesByClass("vtkMRMLGridTransformNode")
    assert small.widget.ui.registerButton.text == "Register"
    assert not small.widget.ui.registerButton.enabled


@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_volume_removed_while_running(small: Small, side: str) -> None:
    node = getattr(small, side)
    run = at_stage(small, "refine", lambda: small.application.scene.RemoveNode(node))
    assert run.error.kind in ("cancelled", "discarded")
    assert f"{side} volume was removed" in small.widget.ui.statusLabel.text
    assert not small.widget.ui.registerButton.enabled
    # Slicer's selector falls to the volume that is left; the panel asks for another one.
    assert "Select two different" in small.widget.ui.registerButton.toolTip


def test_output_removed_while_running_is_made_anew(small: Small) -> None:
    first = small.register()
    warped = first.result.get("warped")
    small.widget.logic.getParameterNode().outputVolume = warped
    run = at_stage(small, "refine", lambda: small.application.scene.RemoveNode(warped))
    assert run.error is None, run.error
    assert run.result.get("warped").GetScene() is small.application.scene
    assert run.result.get("warped") is not warped


def test_segmentation_removed_while_running(small: Small) -> None:
    import slicer

    nodes = {}
    for side, volume in (("fixed", small.fixed), ("moving", small.moving)):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", side)
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        identifier = node.GetSegmentation().AddEmptySegment("", "air")
        mask = (slicer.util.arrayFromVolume(volume) < -700).astype("uint8")
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, identifier, volume)
        nodes[f"{side}Segmentation"] = node
    cases.select(small.widget, nodes)
    run = at_stage(small, "refine", lambda: [slicer.mrmlScene.RemoveNode(node) for node in nodes.values()])
    assert run.error is None, run.error
    (name,) = run.result.metrics.structures
    assert name == "air"
    assert run.result.get("segmentation").GetSegmentation().GetNumberOfSegments() == 1
    assert run.result.get("moving_segmentation") is None


def test_register_twice_at_once(small: Small) -> None:
    """A script registers while the panel does: one after the other, each with its own result."""
    scripted: list[Any] = []

    def register_too() -> None:
        settings = {"preset": "any", "iterations": 3, "prealign": "translation"}
        scripted.append(small.widget.logic.register(small.moving, small.fixed, settings=settings, wait=False))

    run = at_stage(small, "prealign", register_too)
    assert run.error is None, run.error
    small.application.wait_until(lambda: scripted[0].finished, 60, "the end of the scripted run")
    assert scripted[0].error is None, scripted[0].error
    from DeepLargeDeformRegLib.scene import results

    first, second = results.list_results()
    assert (first.name, second.name) == ("Run 1", "Run 2")
    assert (first.get("fixed"), second.get("fixed")) == (small.fixed, small.moving)
    assert first.get("transform") is not second.get("transform")
    assert small.widget.ui.resultBox.count == 2


def test_leaving_the_module_lets_the_run_go_on(small: Small) -> None:
    run = at_stage(small, "prealign", lambda: small.application.leave(small.widget))
    assert run.error is None, run.error
    small.application.enter(small.widget)
    assert small.widget.ui.resultBox.count == 1


@pytest.mark.parametrize("how", ["unloaded", "Slicer quits"])
def test_module_goes_while_running(small: Small, how: str) -> None:
    before = nodes_of_scene()
    runner = small.widget.logic.runner
    process_ids: list[int] = []

    def unload() -> None:
        process_ids.append(runner.client.hello.process)
        if how == "Slicer quits":
            small.application.slicer_app.emit("aboutToQuit()")
        small.application.unload_module("DeepLargeDeformReg")

    run = at_stage(small, "prealign", unload)
    assert run.error.kind == "cancelled"
    assert not run.folder.path.exists()
    assert nodes_of_scene() == before
    assert not Path(f"/proc/{process_ids[0]}").exists()


def test_module_reloaded_while_running(small: Small) -> None:
    """A developer presses Reload: the run ends, and the new panel registers."""
    before = nodes_of_scene()
    run = at_stage(small, "prealign", small.widget.onReload)
    assert run.error.kind == "cancelled"
    assert not run.folder.path.exists()
    assert nodes_of_scene() == before
    import slicer

    small.widget = slicer.modules.DeepLargeDeformRegWidget
    assert_ready_for_the_next(small, run)
