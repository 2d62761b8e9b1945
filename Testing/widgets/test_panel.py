"""The panel and what it asks for, in the stand-in application; whole registrations are tested with the engine."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

MODULE = Path(__file__).resolve().parents[2] / "DeepLargeDeformReg" / "DeepLargeDeformReg.py"


def add_volumes(*names: str) -> list[Any]:
    import slicer

    values = np.random.default_rng(0).random((12, 14, 16), dtype=np.float32)
    return [slicer.util.addVolumeFromArray(values, name=name) for name in names]


def test_newest_scans_are_chosen_and_swapped(application: Any) -> None:
    older, fixed, moving = add_volumes("older", "first", "second")
    widget = application.open_module(MODULE)
    assert widget.ui.fixedVolumeSelector.currentNode() is fixed
    assert widget.ui.movingVolumeSelector.currentNode() is moving
    assert widget.ui.registerButton.enabled
    widget.ui.swapButton.click()
    assert widget.ui.fixedVolumeSelector.currentNode() is moving
    assert older not in (widget.ui.fixedVolumeSelector.currentNode(), widget.ui.movingVolumeSelector.currentNode())


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
    from DeepLargeDeformRegLib.engine.presets import PRESETS
    from DeepLargeDeformRegLib.engine.settings import RegistrationSettings
    from DeepLargeDeformRegLib.widgets import model_cards

    widget = application.open_module(MODULE)
    RegistrationSettings.from_json(widget.logic.settings(widget.logic.getParameterNode()))
    assert {name: preset.title for name, preset in PRESETS.items()} == model_cards.PRESETS
    titles = [card.title for card in model_cards.list_cards()]
    shown = [widget.ui.modelBox.itemText(index) for index in range(widget.ui.modelBox.count)]
    assert shown[2:] == titles


def test_missing_packages_are_named_and_the_panel_lives(application: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from DeepLargeDeformRegLib.widgets import dependencies

    add_volumes("first", "second")
    widget = application.open_module(MODULE)
    monkeypatch.setattr(dependencies, "_is_installed", lambda name: name != "torch")
    widget.ui.registerButton.click()
    assert "PyTorch" in widget.ui.statusLabel.text
    assert widget.ui.registerButton.text == "Register"
    assert widget.ui.registerButton.enabled


def test_declined_installation_has_its_own_sentence(application: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import qt
    from DeepLargeDeformRegLib.widgets import dependencies

    add_volumes("first", "second")
    widget = application.open_module(MODULE)
    monkeypatch.setattr(dependencies, "_is_installed", lambda name: name != "torch")
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
    assert len(source["uris"]) == len(source["checksums"]) == 2


def test_result_is_shown_with_its_verdict(application: Any) -> None:
    import slicer
    from DeepLargeDeformRegLib.scene import results, tables

    fixed, moving, warped = add_volumes("first", "second", "warped")
    widget = application.open_module(MODULE)
    assert widget.ui.verdictLabel.text == "No result yet."
    metrics = {
        "dice": {"Liver": {"before": 0.5, "after": 0.9}},
        "verdict": {"level": "reject", "title": "Do not use", "reasons": [{"text": "folds <here>"}]},
        "folds": [{"volume_mm3": 3.0, "worst": -0.2, "point_lps": [4.0, 5.0, 6.0], "structure": "Liver"}],
    }
    nodes = {"fixed": fixed, "moving": moving, "warped": warped, "table": tables.metrics_table(metrics, "metrics")}
    results.add_result(nodes, metrics, {})
    widget.results.refresh(newest=True)
    assert "Do not use" in widget.ui.verdictLabel.text
    assert "folds &lt;here&gt;" in widget.ui.verdictLabel.text
    assert widget.ui.foldList.count == 1
    assert widget.ui.checkerboardButton.enabled
    assert "Jacobian" in widget.ui.jacobianButton.toolTip
    widget.ui.fadeButton.click()
    widget.ui.foldList.setCurrentRow(0)
    (red,) = (node for node in slicer.util.getNodesByClass("vtkMRMLSliceNode") if node.GetName() == "Red")
    assert red.GetSliceOffset() == pytest.approx(6.0)
    widget.ui.removeResultButton.click()
    assert widget.ui.verdictLabel.text == "No result yet."
    assert warped.GetScene() is None
    assert fixed.GetScene() is not None
