"""The panel and what it asks for, in the stand-in application; whole registrations are tested with the engine."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import pytest

from .nodes import MODULE, add_segmentation, add_volumes


def test_newest_scans_are_chosen_and_swapped(application: Any) -> None:
    older, fixed, moving = add_volumes("older", "first", "second")
    widget = application.open_module(MODULE)
    assert widget.ui.fixedVolumeSelector.currentNode() is fixed
    assert widget.ui.movingVolumeSelector.currentNode() is moving
    assert widget.ui.registerButton.enabled
    widget.ui.swapButton.click()
    assert widget.ui.fixedVolumeSelector.currentNode() is moving
    assert older not in (widget.ui.fixedVolumeSelector.currentNode(), widget.ui.movingVolumeSelector.currentNode())


def test_opening_imports_nothing_heavy() -> None:
    """In a fresh process, as this one has long imported it all."""
    repository = MODULE.parents[1]
    command = [sys.executable, "-m", "Testing.benchmarks.benchmark_panel", "--here"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(MODULE.parent), str(repository)])}
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "opening the panel" in done.stdout


def test_register_says_what_is_missing(application: Any) -> None:
    widget = application.open_module(MODULE)
    assert not widget.ui.registerButton.enabled
    assert "fixed volume" in widget.ui.registerButton.toolTip
    (only,) = add_volumes("only")
    widget.ui.fixedVolumeSelector.setCurrentNode(only)
    assert "moving volume" in widget.ui.registerButton.toolTip
    widget.ui.movingVolumeSelector.setCurrentNode(only)
    assert "same volume" in widget.ui.registerButton.toolTip


def test_choices_come_back_with_the_scene(application: Any, tmp_path: Path) -> None:
    import slicer

    add_volumes("first", "second")
    widget = application.open_module(MODULE)
    widget.ui.qualityComboBox.currentIndex = 2
    widget.ui.regularityBox.value = 2.5
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    application.close_scene()
    assert widget.ui.fixedVolumeSelector.currentNode() is None
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert widget.ui.fixedVolumeSelector.currentNode().GetName() == "first"
    assert widget.ui.regularityBox.value == 2.5
    assert widget.logic.settings(widget.logic.getParameterNode())["fold_free"] is True


def test_settings_and_presets_are_those_of_the_engine(application: Any) -> None:
    from DeepLargeDeformRegLib.core.presets import PRESETS
    from DeepLargeDeformRegLib.core.settings import RegistrationSettings
    from DeepLargeDeformRegLib.widgets import model_cards

    widget = application.open_module(MODULE)
    RegistrationSettings.from_json(widget.logic.settings(widget.logic.getParameterNode()))
    shown = [widget.ui.presetBox.itemText(index) for index in range(widget.ui.presetBox.count)]
    assert shown == [preset.title for preset in PRESETS.values()]
    titles = [card.title for card in model_cards.grouped_cards()]
    assert titles[:2] == ["Liver CT", "Hippocampus MR, LapIRN"]  # in the order of the presets, the preset's own first
    shown = [widget.ui.modelBox.itemText(index) for index in range(widget.ui.modelBox.count)]
    assert shown[2:] == titles


def test_missing_packages_are_named_and_the_panel_lives(application: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from DeepLargeDeformRegLib.widgets import dependencies

    add_volumes("first", "second")
    widget = application.open_module(MODULE)
    monkeypatch.setattr(dependencies, "_is_installed", lambda requirement: not requirement.startswith("torch"))
    widget.ui.registerButton.click()
    assert "PyTorch" in widget.ui.statusLabel.text
    assert widget.ui.registerButton.text == "Register"
    assert widget.ui.registerButton.enabled


def test_declined_installation_has_its_own_sentence(application: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import qt
    from DeepLargeDeformRegLib.widgets import dependencies

    add_volumes("first", "second")
    widget = application.open_module(MODULE)
    monkeypatch.setattr(dependencies, "_is_installed", lambda requirement: not requirement.startswith("torch"))
    application.testing = False
    application.dialogs.answers.append(lambda dialog: qt.QMessageBox.Cancel)
    widget.ui.registerButton.click()
    assert "PyTorch" in str(application.dialogs.shown[-1])
    assert "Nothing was installed" in widget.ui.statusLabel.text


def test_cancelled_run_leaves_scene_and_folder_clean(application: Any) -> None:
    import slicer

    add_volumes("first", "second")
    widget = application.open_module(MODULE)
    count = slicer.mrmlScene.GetNumberOfNodes()
    widget.ui.registerButton.click()
    folder = widget.run.folder.path
    assert folder.is_dir()
    assert widget.ui.registerButton.text == "Cancel"
    widget.ui.registerButton.click()
    application.wait_until(lambda: widget.run is None, 30, "the end of the run")
    assert "cancelled" in widget.ui.statusLabel.text
    assert not folder.exists()
    assert slicer.mrmlScene.GetNumberOfNodes() == count


def test_closing_the_scene_discards_the_run(application: Any) -> None:
    add_volumes("first", "second")
    widget = application.open_module(MODULE)
    widget.ui.registerButton.click()
    application.close_scene()
    application.wait_until(lambda: widget.run is None, 30, "the end of the run")
    assert "scene was closed" in widget.ui.statusLabel.text
    assert not widget.ui.registerButton.enabled


def test_unloading_the_module_ends_the_worker(application: Any) -> None:
    add_volumes("first", "second")
    widget = application.open_module(MODULE)
    widget.ui.registerButton.click()
    run, client = widget.run, widget.logic.runner.client
    application.unload_module("DeepLargeDeformReg")
    assert run.finished
    assert not run.folder.path.exists()
    assert client.state.value == "stopped"


def test_sample_pair_is_offered(application: Any) -> None:
    import SampleData

    module = application.load_module(MODULE)
    assert module is not None
    import DeepLargeDeformReg

    DeepLargeDeformReg.register_sample_data()
    source = SampleData.SampleDataLogic.sources[-1]
    assert len(source["uris"]) == len(source["loadFileTypes"]) == 2
    assert module.title == source["category"] == "Deep Large Deformation Registration"
    source["customDownloader"](source)
    widget = application.open_module(MODULE)
    node = widget.logic.getParameterNode()
    for side, name in (("fixed", "Lung at baseline (fixed)"), ("moving", "Lung at follow-up (moving)")):
        assert getattr(node, f"{side}Volume").GetName() == name
        assert getattr(node, f"{side}Segmentation").GetName() == f"{name}, outlines"
        assert getattr(node, f"{side}Landmarks").GetName() == f"{name}, landmarks"
    for uri, checksum in zip(source["uris"], source["checksums"], strict=True):
        content = Path(url2pathname(urlparse(uri).path)).read_bytes()
        assert checksum == f"SHA256:{hashlib.sha256(content).hexdigest()}"


def test_segments_are_chosen_and_matched(application: Any) -> None:
    import qt

    fixed, moving = add_volumes("first", "second")
    widget = application.open_module(MODULE)
    widget.ui.fixedSegmentationSelector.setCurrentNode(add_segmentation("f", fixed, "Liver", "Spleen"))
    widget.ui.movingSegmentationSelector.setCurrentNode(add_segmentation("m", moving, "liver", "milz", "kidney"))
    table, inputs = widget.ui.matchTable, lambda: widget.logic.inputs(widget.logic.getParameterNode())
    rows = [(table.item(r, 0).text(), table.item(r, 1).text()) for r in range(table.rowCount)]
    assert rows == [("liver", ""), ("milz", ""), ("kidney", ""), ("", "Spleen")]
    assert table.cellWidget(0, 1).currentText == "Liver", "matched by name"
    assert all(table.item(r, int(r == 3)).checkState() == qt.Qt.Checked for r in range(4)), "all by default"
    assert (inputs().matches, inputs().unused_moving) == (None, [])
    table.cellWidget(1, 1).currentIndex = 2
    assert inputs().matches == [("Liver", "liver"), ("Spleen", "milz")]
    assert table.rowCount == 3
    table.item(0, 0).setCheckState(qt.Qt.Unchecked)
    table.item(2, 0).setCheckState(qt.Qt.Unchecked)
    assert (inputs().unused_fixed, inputs().unused_moving) == (["Liver"], ["liver", "kidney"])
    widget.ui.swapButton.click()
    assert (inputs().unused_fixed, inputs().unused_moving) == (["liver", "kidney"], ["Liver"])
    assert inputs().matches == [("liver", "Liver"), ("milz", "Spleen")]


def test_options_reach_the_engine_and_the_outputs(application: Any) -> None:
    add_volumes("first", "second")
    widget = application.open_module(MODULE)
    for name in ("symmetricBox", "uncertaintyBox", "linearApartBox"):
        getattr(widget.ui, name).checked = True
    widget.ui.wantMapsBox.checked = False
    run = widget.logic.make_run(widget.logic.getParameterNode())
    run.folder.remove()
    assert run.settings["symmetric"] is run.settings["uncertainty"] is True
    assert run.targets.wanted == {"transform", "warped", "segmentation", "jacobian", "table", "charts", "landmarks",
                                  "report", "parts"}  # fmt: skip


def test_what_is_left_out_is_chosen_and_swapped(application: Any) -> None:
    fixed, moving = add_volumes("first", "second")
    stent, tumor = add_segmentation("stent", fixed, "stent"), add_segmentation("tumor", moving, "tumor")
    widget = application.open_module(MODULE)
    assert widget.ui.fixedMaskSelector.currentNode() is None
    widget.ui.fixedMaskSelector.setCurrentNode(stent)
    widget.ui.movingMaskSelector.setCurrentNode(tumor)
    inputs = widget.logic.inputs(widget.logic.getParameterNode())
    assert (inputs.fixed_mask, inputs.moving_mask) == (stent, tumor)
    widget.ui.swapButton.click()
    assert (widget.ui.fixedMaskSelector.currentNode(), widget.ui.movingMaskSelector.currentNode()) == (tumor, stent)
    widget.ui.fixedSegmentationSelector.setCurrentNode(tumor)
    assert not widget.ui.registerButton.enabled
    assert "segmentation of its own" in widget.ui.registerButton.toolTip


def test_method_says_what_it_is_for_and_what_was_measured(application: Any) -> None:
    widget = application.open_module(MODULE)
    boxes = widget.ui
    boxes.presetBox.currentIndex = 0
    assert "CT of the lungs" in boxes.methodLabel.text
    assert "No network" in boxes.methodLabel.text
    titles = [boxes.modelBox.itemText(index) for index in range(boxes.modelBox.count)]
    boxes.modelBox.currentIndex = titles.index("Hippocampus MR, LapIRN")
    assert "hippocampus" in boxes.methodLabel.text
    from DeepLargeDeformRegLib.engine.models import find_model

    dice = find_model("hippocampus-mr-lapirn").figures[0]
    assert f"{dice.measure}: {dice.value:.3g}" in boxes.methodLabel.text
    assert dice.data in boxes.modelBox.toolTip
    boxes.modelBox.currentIndex = 1
    assert "No network" in boxes.methodLabel.text


def test_devices_are_known_before_the_first_registration(application: Any) -> None:
    add_volumes("first", "second")
    widget = application.open_module(MODULE)
    assert [widget.ui.deviceBox.itemText(index) for index in range(2)] == ["Automatic", "CPU"]
    application.wait_until(lambda: "GB free" in widget.ui.deviceBox.itemText(widget.ui.deviceBox.count - 1), 60)
    assert widget.run is None
    assert widget.logic.runner.client.state.value == "ready"


def test_progress_shows_stage_percent_and_time_left(application: Any) -> None:
    widget = application.open_module(MODULE)
    assert not widget.ui.progressBar.visible
    widget.progress.started()
    for seconds, left in (
        (None, ""),
        (0.2, " · about 1 s left"),
        (42.4, " · about 42 s left"),
        (130.0, " · about 2 min left"),
    ):
        widget.progress.progress("refine", 0.5, "level 2 of 2", seconds)
        assert widget.ui.statusLabel.text == "Refining · 50 %" + left
    assert widget.ui.progressBar.value == 50
    assert "level 2 of 2" in widget.ui.logText.plainText
    assert widget.ui.logBox.collapsed


@pytest.mark.parametrize("end", ["scene closed", "input removed"])
def test_a_comparison_that_ends_early(application: Any, end: str) -> None:
    """What was done is tabled where its scene is there, and leaves nothing in the next scene."""
    import slicer

    def start(name: str) -> Any:
        started.append(SimpleNamespace(model=name, finished=False, error=None))
        return None if end == "input removed" and len(started) == 3 else started[-1]

    def fails(run: Any, kind: str) -> None:
        run.error = SimpleNamespace(kind=kind)
        widget.comparison.ended(run)

    widget, started = application.open_module(MODULE), []
    widget.comparison._start = start
    widget.comparison._preset = lambda: "mr-hippocampus"
    widget.comparison._compare()
    fails(started[0], "input")
    if end == "scene closed":
        slicer.mrmlScene.Clear(0)
        fails(started[1], "cancelled")
        assert len(started) == 2
    else:
        fails(started[1], "input")
        assert len(started) == 3
    tables = [node for node in slicer.util.getNodesByClass("vtkMRMLTableNode") if "Comparison" in node.GetName()]
    assert [node.GetNumberOfRows() for node in tables] == ([] if end == "scene closed" else [2])


def test_a_gpu_is_listed_by_name_with_its_memory(application: Any) -> None:
    widget = application.open_module(MODULE)
    found = [
        {"name": "cuda:0", "description": "NVIDIA H100 (cuda:0)", "free_bytes": 77.5 * 2**30},
        {"name": "cpu", "description": "CPU, 16 threads", "free_bytes": 100 * 2**30},
    ]
    assert widget.method.show_devices(found)
    assert not widget.method.show_devices(list(found)), "nothing new"
    assert widget.ui.deviceBox.itemText(1) == "NVIDIA H100 (cuda:0), 77.5 GB free"
    widget.ui.deviceBox.currentIndex = 1
    assert widget.logic.settings(widget.logic.getParameterNode())["device"] == "cuda:0"
