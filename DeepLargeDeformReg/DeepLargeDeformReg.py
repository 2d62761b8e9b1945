"""DeepLargeDeformReg: register two scans that differ by a large deformation. Module, panel, logic, self-test."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import slicer
import vtk
from DeepLargeDeformRegLib.scene import exchange, results
from DeepLargeDeformRegLib.scene.errors import SceneError
from DeepLargeDeformRegLib.widgets.logic import DeepLargeDeformRegLogic
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

SAMPLE_FOLDER = Path(__file__).resolve().parent / "Resources" / "SampleData"


class DeepLargeDeformReg(ScriptedLoadableModule):
    """The module as Slicer lists it."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("DeepLargeDeformReg")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Registration")]
        parent.dependencies = []
        parent.contributors = ["DeepLargeDeformReg contributors"]
        parent.helpText = _(
            "Registers two 3D scans that differ by a large deformation, carries segmentations over, and says whether "
            "the result can be trusted. Not a medical device."
        )
        parent.acknowledgementText = _("See the documentation for the methods, their authors and how to cite.")
        slicer.app.connect("startupCompleted()", register_sample_data)


def register_sample_data() -> None:
    """Offer the lung pair that ships with the extension in the Sample Data module."""
    files = [SAMPLE_FOLDER / name for name in ("fixed.nii.gz", "moving.nii.gz")]
    if not all(path.is_file() for path in files):
        return
    import SampleData  # type: ignore[import-not-found]

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="DeepLargeDeformReg",
        sampleName="LungInspirationExpiration",
        uris=[path.as_uri() for path in files],
        fileNames=["DeepLargeDeformReg-fixed.nii.gz", "DeepLargeDeformReg-moving.nii.gz"],
        checksums=[f"SHA256:{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files],
        nodeNames=["Lung expiration (fixed)", "Lung inspiration (moving)"],
        thumbnailFileName=str(Path(__file__).resolve().parent / "Resources" / "Icons" / "SampleCase.png"),
    )


class DeepLargeDeformRegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: binds the .ui to the parameter node, and the parameter node to the logic."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: Any = None
        self.run: Any = None
        self._parameter_node: Any = None
        self._gui_tag: Any = None
        self._filling = False

    def setup(self) -> None:
        """Make the panel; nothing heavy happens here."""
        ScriptedLoadableModuleWidget.setup(self)
        from DeepLargeDeformRegLib.widgets.progress_panel import ProgressPanel
        from DeepLargeDeformRegLib.widgets.results_panel import ResultsPanel
        from DeepLargeDeformRegLib.widgets.segment_matching import SegmentMatching

        panel = slicer.util.loadUI(self.resourcePath("UI/DeepLargeDeformReg.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = DeepLargeDeformRegLogic()
        self.matching = SegmentMatching(self.ui.matchTable, self._matches_edited)
        self.progress = ProgressPanel(self.ui)
        self.results = ResultsPanel(self.ui)
        self.logic.runner.on_result = self._result_came
        self._fill_models()
        self._fill_devices([])
        self.ui.registerButton.connect("clicked(bool)", self.onRegisterButton)
        self.ui.swapButton.connect("clicked(bool)", self.onSwapButton)
        self.ui.modelBox.connect("currentIndexChanged(int)", self._model_chosen)
        self.ui.deviceBox.connect("currentIndexChanged(int)", self._device_chosen)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._scene_closes)
        self.addObserver(scene, scene.EndCloseEvent, self._scene_changed)
        self.addObserver(scene, scene.EndImportEvent, self._scene_changed)
        self.addObserver(scene, scene.NodeRemovedEvent, self._node_removed)
        self._set_parameter_node(self.logic.getParameterNode())

    def cleanup(self) -> None:
        """The panel goes: observers, worker and timers with it."""
        from DeepLargeDeformRegLib.widgets.registration import close_shared_runner

        self.results.stop()
        self._set_parameter_node(None)
        self.removeObservers()
        if self.run is not None:
            self.run.on_progress = self.run.on_finished = None
        close_shared_runner()

    def enter(self) -> None:
        """The user comes to the module."""
        self._set_parameter_node(self.logic.getParameterNode())
        self._choose_defaults()
        self.results.refresh()

    def exit(self) -> None:
        """The user goes to another module; a run goes on."""
        self.results.stop()
        self.ui.flickerButton.checked = False

    # The parameter node

    def _set_parameter_node(self, node: Any) -> None:
        if self._parameter_node is not None:
            self._parameter_node.disconnectGui(self._gui_tag)
            self.removeObserver(self._parameter_node.parameterNode, vtk.vtkCommand.ModifiedEvent, self._update)
        self._parameter_node = node
        if node is not None:
            self._gui_tag = node.connectGui(self.ui)
            self.addObserver(node.parameterNode, vtk.vtkCommand.ModifiedEvent, self._update)
            self._update()

    def _scene_closes(self, caller: Any = None, event: Any = None) -> None:
        if self.logic is not None:
            self.logic.runner.discard(_("The scene was closed, so the registration was discarded."))
        self._set_parameter_node(None)

    def _scene_changed(self, caller: Any = None, event: Any = None) -> None:
        self._set_parameter_node(self.logic.getParameterNode())
        self.results.refresh()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _node_removed(self, caller: Any, event: Any, node: Any) -> None:
        scene_closes = slicer.mrmlScene.IsClosing() or slicer.mrmlScene.IsImporting()
        if not scene_closes and node.IsA("vtkMRMLScriptedModuleNode") and node.GetAttribute(results.RECORD_ATTRIBUTE):
            self.results.refresh()

    def _choose_defaults(self) -> None:
        """The two newest scans, and segmentations that belong to them, where nothing is chosen."""
        node = self._parameter_node
        made = {run.get(role) for run in results.list_results() for role in ("warped", "jacobian")}
        scans = [
            volume
            for volume in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            if not exchange.volumes.reason_against(volume) and volume not in made
        ]
        if node.fixedVolume is None and node.movingVolume is None and len(scans) >= 2:
            node.fixedVolume, node.movingVolume = scans[-2], scans[-1]
        for side in ("fixed", "moving"):
            volume = getattr(node, f"{side}Volume")
            if volume is None or getattr(node, f"{side}Segmentation") is not None:
                continue
            role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
            for segmentation in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
                if segmentation.GetNodeReference(role) is volume and not self._is_result(segmentation):
                    setattr(node, f"{side}Segmentation", segmentation)

    def _is_result(self, segmentation: Any) -> bool:
        return any(run.get("segmentation") is segmentation for run in results.list_results())

    # What the panel shows

    def _update(self, caller: Any = None, event: Any = None) -> None:
        node = self._parameter_node
        if node is None:
            return
        self._filling = True
        names = self._models
        self.ui.modelBox.currentIndex = names.index(node.model) if node.model in names else 0
        self.ui.deviceBox.currentIndex = self._devices.index(node.device) if node.device in self._devices else 0
        self._filling = False
        self.matching.show(node.fixedSegmentation, node.movingSegmentation, self.logic.matches(node))
        self._update_button()

    def _update_button(self) -> None:
        button = self.ui.registerButton
        if self.run is not None and not self.run.finished:
            button.setText(_("Cancel"))
            button.setEnabled(True)
            button.setToolTip(_("End this registration; nothing is changed in the scene."))
            return
        problem = self.logic.inputs(self._parameter_node).problem() if self._parameter_node is not None else "-"
        button.setText(_("Register"))
        button.setEnabled(not problem)
        button.setToolTip(problem or _("Deform the moving scan onto the fixed one."))

    def _fill_models(self) -> None:
        from DeepLargeDeformRegLib.widgets.model_cards import list_cards

        cards = list_cards()
        self._models = ["", "none", *(card.name for card in cards)]
        self._filling = True
        self.ui.modelBox.clear()
        for title in (_("As the preset"), _("None, search and refine only"), *(card.title for card in cards)):
            self.ui.modelBox.addItem(title)
        self._filling = False
        self._model_tips = ["", "", *(card.description for card in cards)]

    def _fill_devices(self, devices: list[dict[str, Any]]) -> None:
        self._devices = ["auto", *(device["name"] for device in devices)]
        if "cpu" not in self._devices:
            self._devices.append("cpu")
        titles = {
            device["name"]: f"{device['description']}, {device['free_bytes'] / 2**30:.1f} GB free"
            for device in devices
        }
        self._filling = True
        self.ui.deviceBox.clear()
        for name in self._devices:
            self.ui.deviceBox.addItem(_("Automatic") if name == "auto" else titles.get(name, name.upper()))
        self._filling = False

    def _model_chosen(self, index: int) -> None:
        if self._parameter_node is not None and not self._filling and index >= 0:
            self._parameter_node.model = self._models[index]
        self.ui.modelBox.setToolTip(self._model_tips[index] if 0 <= index < len(self._models) else "")

    def _device_chosen(self, index: int) -> None:
        if self._parameter_node is not None and not self._filling and index >= 0:
            self._parameter_node.device = self._devices[index]

    def _matches_edited(self, pairs: list[tuple[str, str]]) -> None:
        self._parameter_node.segmentMatches = [f"{fixed}\t{moving}" for fixed, moving in pairs]
        self._parameter_node.matchesEdited = True

    # What the user does

    def onSwapButton(self) -> None:  # noqa: N802 - as in Slicer's template
        """Exchange fixed and moving and all that belongs to them."""
        node = self._parameter_node
        with slicer.util.NodeModify(node.parameterNode):
            pairs = [pair.split("\t") for pair in node.segmentMatches]
            for kind in ("Volume", "Segmentation", "Landmarks"):
                fixed, moving = getattr(node, f"fixed{kind}"), getattr(node, f"moving{kind}")
                setattr(node, f"fixed{kind}", moving)
                setattr(node, f"moving{kind}", fixed)
            node.segmentMatches = [f"{moving}\t{fixed}" for fixed, moving in pairs]

    def onRegisterButton(self) -> None:  # noqa: N802
        """Register, or cancel the run that is on its way."""
        if self.run is not None and not self.run.finished:
            self.progress.say(_("Cancelling"))
            self.logic.runner.cancel(self.run)
            return
        with slicer.util.tryWithErrorDisplay(_("Registration could not be started."), waitCursor=True):
            self._start()

    def _start(self) -> None:
        from DeepLargeDeformRegLib.widgets import dependencies
        from DeepLargeDeformRegLib.widgets.registration import RegistrationFailed

        runner = self.logic.runner
        runner.on_log, runner.on_state = self.progress.log, self._worker_state
        try:
            dependencies.ensure()
            run = self.logic.make_run(self._parameter_node)
            run.on_progress, run.on_finished = self.progress.progress, self._finished
            self.run = run
            self.progress.started()
            runner.start(run)
        except (SceneError, RegistrationFailed, dependencies.DependenciesMissing) as error:
            self.run = None
            self.progress.idle(str(error), error=True)
        else:
            for warning in run.warnings:
                self.progress.log(warning)
        self._update_button()

    def _worker_state(self, state: Any, message: str) -> None:
        if message:
            self.progress.log(message)
        devices = self.logic.runner.devices
        if devices and len(devices) + 1 != len(self._devices):
            self._fill_devices(devices)
            self._update()

    def _result_came(self, run: Any) -> None:
        """A script registered while the panel is open: its result is listed too."""
        if run.on_finished != self._finished:
            self.results.refresh(newest=self.run is None)

    def _finished(self, run: Any) -> None:
        if run is not self.run:
            return
        self.run = None
        if run.error is not None:
            self.progress.idle(str(run.error), error=run.error.kind not in ("cancelled", "discarded"))
            if run.error.detail:
                self.progress.log(run.error.detail)
        else:
            self.progress.idle(_("{name} is done.").format(name=run.result.name))
            for warning in run.result.metrics.get("warnings", ()):
                self.progress.log(str(warning))
            self.results.refresh(newest=True)
            self.results.show_view("fade", fit=True)
        self._update_button()


class DeepLargeDeformRegTest(ScriptedLoadableModuleTest):
    """Self-test: registers a small pair whose answer is known."""

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:  # noqa: N802
        """Run all."""
        self.setUp()
        self.test_registers_a_shifted_ball()

    def test_registers_a_shifted_ball(self) -> None:
        """A ball that lies 8 mm off is brought back onto the other, to half a voxel."""
        import numpy as np
        from DeepLargeDeformRegLib.widgets import dependencies

        missing = dependencies.missing_packages()
        if missing:
            self.skipTest(f"Not installed: {', '.join(missing)}.")
        self.delayDisplay(_("Registering a small pair"))
        index = np.indices((40, 40, 40))
        nodes = []
        for name, shift in (("fixed", 0), ("moving", 4)):
            distance = np.sqrt(((index - np.array([20, 20, 20 + shift]).reshape(3, 1, 1, 1)) ** 2).sum(axis=0))
            array = 1000.0 / (1.0 + np.exp(distance - 8.0))
            node = slicer.util.addVolumeFromArray(array.astype(np.float32), name=name)
            node.SetSpacing(2.0, 2.0, 2.0)
            nodes.append(node)
        result = DeepLargeDeformRegLogic().register(*nodes, settings={"preset": "any", "device": "cpu"})
        moved = result.get("transform").GetTransformFromParent().TransformPoint((40.0, 40.0, 40.0))
        assert abs(moved[0] - 48.0) < 1.0  # x of the scene is the array's last axis
        fixed, warped = (slicer.util.arrayFromVolume(node) for node in (nodes[0], result.get("warped")))
        before = np.abs(fixed - slicer.util.arrayFromVolume(nodes[1])).mean()
        assert np.abs(fixed - warped).mean() < 0.3 * before
        logging.info("The self-test passed.")
        self.delayDisplay(_("Test passed"))
