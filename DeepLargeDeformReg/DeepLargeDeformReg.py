"""Deep Large Deformation Registration, of two scans that differ by much: module, panel, logic, self-test."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import slicer
import vtk
from DeepLargeDeformRegLib.core.errors import RegistrationError
from DeepLargeDeformRegLib.resources import SAMPLE_CASE
from DeepLargeDeformRegLib.scene import results
from DeepLargeDeformRegLib.scene.words import say, say_error
from DeepLargeDeformRegLib.widgets import listeners
from DeepLargeDeformRegLib.widgets.default_inputs import choose_inputs, swap_sides
from DeepLargeDeformRegLib.widgets.dependencies import slicer_too_old
from DeepLargeDeformRegLib.widgets.logic import DeepLargeDeformRegLogic
from DeepLargeDeformRegLib.widgets.parameters import joined
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

REPOSITORY = "https://github.com/DeepLargeDeformReg/DeepLargeDeformReg/blob/main"
DOCUMENTATION = f"{REPOSITORY}/docs"
CITATION = f"{REPOSITORY}/CITATION.cff"
# Written down, as reading the files takes time at each start of Slicer; a test compares.
SAMPLE_CHECKSUMS = {
    "fixed.nii.gz": "SHA256:aacc4a58425546ff47a7ecb9d48a0ea6185252cd1ae4701b42a7e6dc589218ac",
    "moving.nii.gz": "SHA256:b714e020ccbdb393362857398c74975722e7db373a808a88ff5911dd5319345f",
}
WARM_UP_MILLISECONDS = 800


class DeepLargeDeformReg(ScriptedLoadableModule):
    """The module as Slicer lists it."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Deep Large Deformation Registration")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Registration")]
        parent.dependencies = []
        parent.contributors = [_("DeepLargeDeformReg developers (development, maintenance)")]
        parent.helpText = _(
            "Registers two 3D scans that differ by a large deformation, carries segmentations over, and says whether "
            "the result can be trusted. Not a medical device. "
            '<a href="{tutorial}">Tutorial</a>, <a href="{scripting}">scripting</a>.'
        ).format(tutorial=f"{DOCUMENTATION}/tutorial.md", scripting=f"{DOCUMENTATION}/scripting.md")
        parent.acknowledgementText = _(
            "Development and maintenance: DeepLargeDeformReg developers. Methods: Alessa Hering and others "
            "(multilevel registration with anatomical constraints), Tony C. W. Mok and Albert C. S. Chung (LapIRN), "
            "M. Schumacher and others (semantic guidance), Haoxuan Sun and Xiaogang Du (LDGNet), Hanna Siebert and "
            "others (coupled convex search). Sample scans: the test data of elastix. "
            '<a href="{networks}">All methods with their papers</a>, <a href="{citation}">how to cite</a>.'
        ).format(networks=f"{DOCUMENTATION}/networks.md", citation=CITATION)
        slicer.app.connect("startupCompleted()", start_up)


def start_up() -> None:
    """Once Slicer is up: offer the sample data, and keep reloaded transforms as they were computed."""
    register_sample_data()
    slicer.mrmlScene.AddObserver(slicer.vtkMRMLScene.EndImportEvent, lambda caller, event: results.restore())


def register_sample_data() -> None:
    """Offer the lung pair that ships with the extension in the Sample Data module: a click loads all of it."""
    files = [SAMPLE_CASE / name for name in SAMPLE_CHECKSUMS]
    if not all(path.is_file() for path in files):
        return
    import SampleData  # type: ignore[import-not-found]

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=_("Deep Large Deformation Registration"),
        sampleName="LungTwoVisits",
        customDownloader=load_sample,
        uris=[path.as_uri() for path in files],
        loadFileTypes=["VolumeFile", "VolumeFile"],
        fileNames=["DeepLargeDeformReg-lung-baseline.nii.gz", "DeepLargeDeformReg-lung-followup.nii.gz"],
        checksums=list(SAMPLE_CHECKSUMS.values()),
        nodeNames=[_("Lung at baseline (fixed)"), _("Lung at follow-up (moving)")],
        thumbnailFileName=str(Path(__file__).resolve().parent / "Resources" / "Icons" / "SampleCase.png"),
    )


def load_sample(source: Any = None) -> list[Any]:
    """Load the two scans with their outlines and landmarks; nothing is downloaded.

    Args:
        source: what the Sample Data module knows of it; not needed.
    """
    from DeepLargeDeformRegLib.scene.sample_case import load_sample_case

    return list(load_sample_case().values())


class DeepLargeDeformRegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: binds the .ui to the parameter node, and the parameter node to the logic."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: Any = None
        self.run: Any = None
        self._parameter_node: Any = None
        self._gui_tag: Any = None

    def setup(self) -> None:
        """Make the panel; nothing heavy happens here."""
        ScriptedLoadableModuleWidget.setup(self)
        import qt
        from DeepLargeDeformRegLib.widgets.batch import BatchPanel
        from DeepLargeDeformRegLib.widgets.compare_models import ModelComparison
        from DeepLargeDeformRegLib.widgets.landmark_distances import LandmarkDistances
        from DeepLargeDeformRegLib.widgets.method_panel import MethodPanel
        from DeepLargeDeformRegLib.widgets.progress_panel import ProgressPanel
        from DeepLargeDeformRegLib.widgets.results_panel import ResultsPanel
        from DeepLargeDeformRegLib.widgets.segment_matching import SegmentMatching

        panel = slicer.util.loadUI(self.resourcePath("UI/DeepLargeDeformReg.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = DeepLargeDeformRegLogic()
        self.method = MethodPanel(self.ui, self._model_chosen, self._device_chosen)
        self.matching = SegmentMatching(self.ui.matchTable, self._segments_edited)
        self.landmarks = LandmarkDistances(self.ui.landmarkTable, self.ui.landmarkLabel)
        self.progress = ProgressPanel(self.ui)
        self.results = ResultsPanel(self.ui, self._show_landmarks)
        self.batch = BatchPanel(self.ui, lambda: self.logic.settings(self._parameter_node), self.results.select)
        self.comparison = ModelComparison(self.ui, self._start, lambda: self._parameter_node.preset.value)
        self._warming = qt.QTimer()
        self._warming.setSingleShot(True)
        self._warming.setInterval(WARM_UP_MILLISECONDS)
        self._warming.connect("timeout()", self._warm_up)
        self._is_warm = False
        listeners.RESULT_LISTENERS.append(self._result_came)
        self.ui.registerButton.connect("clicked(bool)", self.onRegisterButton)
        self.ui.swapButton.connect("clicked(bool)", self.onSwapButton)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._scene_closes)
        # While a scene comes in, Slicer's selectors fall to "none"; the choices must not follow them.
        self.addObserver(scene, scene.StartImportEvent, self._scene_comes)
        for event in (scene.EndCloseEvent, scene.EndImportEvent, scene.EndUndoEvent, scene.EndRedoEvent):
            self.addObserver(scene, event, self._scene_changed)
        self.addObserver(scene, scene.NodeRemovedEvent, self._node_removed)
        self._set_parameter_node(self.logic.getParameterNode())

    def cleanup(self) -> None:
        """The panel goes: observers, worker and timers with it."""
        from DeepLargeDeformRegLib.widgets.registration import close_shared_runner

        listeners.RESULT_LISTENERS.remove(self._result_came)
        self._warming.stop()
        self.results.close()
        self.batch.close()
        self.comparison.close()
        self.landmarks.close()
        self._set_parameter_node(None)
        self.removeObservers()
        if self.run is not None:
            self.run.on_progress = self.run.on_finished = None
        close_shared_runner()

    def enter(self) -> None:
        """The user comes to the module."""
        node = self.logic.getParameterNode()
        if self._parameter_node is None or node.parameterNode is not self._parameter_node.parameterNode:
            self._set_parameter_node(node)
        choose_inputs(self._parameter_node)
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
        if self.logic is not None and self._is_warm:
            self.logic.runner.discard(_("The scene was closed, so the registration was discarded."))
        self.batch.scene_closed()
        self.comparison.scene_closed()
        self._set_parameter_node(None)

    def _scene_comes(self, caller: Any = None, event: Any = None) -> None:
        self._set_parameter_node(None)

    def _scene_changed(self, caller: Any = None, event: Any = None) -> None:
        self._set_parameter_node(self.logic.getParameterNode())
        results.restore()
        self.results.refresh()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _node_removed(self, caller: Any, event: Any, node: Any) -> None:
        scene_closes = slicer.mrmlScene.IsClosing() or slicer.mrmlScene.IsImporting()
        if scene_closes:
            return
        if node.IsA("vtkMRMLScriptedModuleNode") and node.GetAttribute(results.RECORD_ATTRIBUTE):
            self.results.refresh()
        elif node.IsA("vtkMRMLVolumeNode"):
            self.results.volume_removed(node)

    # What the panel shows

    def _update(self, caller: Any = None, event: Any = None) -> None:
        node = self._parameter_node
        if node is None:
            return
        self.method.show(node)
        pairs, unused = self.logic.matches(node), self.logic.unused(node)
        self.matching.show(node.fixedSegmentation, node.movingSegmentation, pairs, unused)
        self._show_landmarks()
        self._update_button()

    def _show_landmarks(self) -> None:
        node = self._parameter_node
        if node is not None:
            self.landmarks.show(node.fixedLandmarks, node.movingLandmarks, self.results.current)

    def _update_button(self) -> None:
        button = self.ui.registerButton
        if self.run is not None and not self.run.finished:
            button.setText(_("Cancel"))
            button.setEnabled(True)
            self.ui.compareButton.setEnabled(False)
            button.setToolTip(_("End this registration; nothing is changed in the scene."))
            return
        problem = slicer_too_old()
        if not problem:
            problem = self.logic.inputs(self._parameter_node).problem() if self._parameter_node is not None else "-"
        button.setText(_("Register"))
        button.setEnabled(not problem)
        self.ui.compareButton.setEnabled(not problem)
        button.setToolTip(problem or _("Deform the moving scan onto the fixed one."))
        if not problem and not self._is_warm:
            self._warming.start()

    def _model_chosen(self, name: str) -> None:
        self._parameter_node.model = name

    def _device_chosen(self, name: str) -> None:
        self._parameter_node.device = name

    def _segments_edited(self, pairs: list[tuple[str, str]], unused: list[tuple[str, str]]) -> None:
        with slicer.util.NodeModify(self._parameter_node.parameterNode):
            self._parameter_node.segmentMatches = [joined(fixed, moving) for fixed, moving in pairs]
            self._parameter_node.matchesEdited = True
            self._parameter_node.unusedSegments = [joined(side, identifier) for side, identifier in unused]

    # The worker

    def _listen_to_worker(self) -> None:
        runner = self.logic.runner
        runner.on_log, runner.on_state = self.progress.log, self._worker_state
        self._is_warm = True

    def _warm_up(self) -> None:
        """Start the worker once there is something to register: it takes seconds, and knows the devices."""
        from DeepLargeDeformRegLib.widgets import dependencies
        from DeepLargeDeformRegLib.widgets.registration import RegistrationFailed

        if self._parameter_node is None or dependencies.missing_packages():
            return
        self._listen_to_worker()
        try:
            self.logic.runner.warm_up()
        except RegistrationFailed as error:  # said again, and louder, when the user registers
            self.progress.log(str(error))

    # What the user does

    def onSwapButton(self) -> None:  # noqa: N802 - as in Slicer's template
        """Exchange fixed and moving and all that belongs to them."""
        swap_sides(self._parameter_node, self.logic)

    def onRegisterButton(self) -> None:  # noqa: N802
        """Register, or cancel the run that is on its way."""
        if self.run is not None and not self.run.finished:
            self.progress.say(_("Cancelling"))
            self.logic.runner.cancel(self.run)
            return
        with slicer.util.tryWithErrorDisplay(_("Registration could not be started."), waitCursor=True):
            self._start()

    def _start(self, model: str | None = None) -> Any:
        from DeepLargeDeformRegLib.widgets import dependencies

        runner = self.logic.runner
        self._listen_to_worker()
        try:
            dependencies.ensure()
            run = self.logic.make_run(self._parameter_node, model)
            run.on_progress, run.on_finished = self.progress.progress, self._finished
            self.run = run
            self.progress.started()
            runner.start(run)
        except RegistrationError as error:
            self.run = None
            self.progress.idle(say_error(error), error=True)
        else:
            for warning in run.warnings:
                self.progress.log(say(warning))
        self._update_button()
        return self.run

    def _worker_state(self, state: Any, message: str) -> None:
        if message:
            self.progress.log(say(message))
        devices = self.logic.runner.devices
        if devices and self.method.show_devices(devices):
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
            for warning in run.result.metrics.warnings:
                self.progress.log(say(warning))
            self.results.refresh(newest=True)
            self.results.show_view("fade", fit=True)
        self._update_button()
        self.comparison.ended(run)


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
        if missing:  # Slicer counts a test that is skipped by an exception as failed
            self.delayDisplay(_("Skipped: {names} not installed").format(names=", ".join(missing)))
            return
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
