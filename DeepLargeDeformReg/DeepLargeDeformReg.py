"""DeepLargeDeformReg: register two scans that differ by a large deformation. Module, panel, logic, self-test."""

from __future__ import annotations

import enum
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import slicer
import vtk
from DeepLargeDeformRegLib.scene import exchange, results
from DeepLargeDeformRegLib.scene.errors import SceneError
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
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


class Preset(enum.Enum):
    """Kind of scans: names of ``engine/presets.py``."""

    LUNG_CT = "lung-ct"
    LIVER_CT = "liver-ct"
    MR_HIPPOCAMPUS = "mr-hippocampus"
    ANY = "any"

    @staticmethod
    def label(member: Preset) -> str:
        """Title for people."""
        from DeepLargeDeformRegLib.widgets.model_cards import PRESETS

        return PRESETS[member.value]


class Quality(enum.Enum):
    """How much time a registration takes for how much quality."""

    FAST = "fast"
    REFINED = "refined"
    FOLD_FREE = "fold-free"

    @staticmethod
    def label(member: Quality) -> str:
        """Title for people."""
        return {"fast": _("Fast"), "refined": _("Refined"), "fold-free": _("Refined and fold-free")}[member.value]


class Linear(enum.Enum):
    """Linear alignment before the deformation."""

    AUTO = "auto"
    NONE = "none"
    TRANSLATION = "translation"
    RIGID = "rigid"
    AFFINE = "affine"

    @staticmethod
    def label(member: Linear) -> str:
        """Title for people."""
        titles = {"auto": _("As the preset"), "none": _("As loaded"), "translation": _("Translation")}
        return titles.get(member.value, member.value.capitalize())


@parameterNodeWrapper
class DeepLargeDeformRegParameterNode:
    """All that the user chooses; saved with the scene."""

    fixedVolume: slicer.vtkMRMLScalarVolumeNode | None  # noqa: N815 - names of the .ui, as Slicer writes them
    movingVolume: slicer.vtkMRMLScalarVolumeNode | None  # noqa: N815
    fixedSegmentation: slicer.vtkMRMLSegmentationNode | None  # noqa: N815
    movingSegmentation: slicer.vtkMRMLSegmentationNode | None  # noqa: N815
    fixedLandmarks: slicer.vtkMRMLMarkupsFiducialNode | None  # noqa: N815
    movingLandmarks: slicer.vtkMRMLMarkupsFiducialNode | None  # noqa: N815
    initialTransform: slicer.vtkMRMLTransformNode | None  # noqa: N815
    region: slicer.vtkMRMLMarkupsROINode | None
    segmentMatches: list[str]  # noqa: N815
    matchesEdited: bool = False  # noqa: N815
    guideWithLandmarks: bool = False  # noqa: N815
    guideWithSegmentations: bool = True  # noqa: N815
    preset: Preset = Preset.ANY
    quality: Quality = Quality.REFINED
    model: str = ""
    device: str = "auto"
    linear: Linear = Linear.AUTO
    iterations: Annotated[int, WithinRange(0, 1000)] = 0
    regularity: Annotated[float, WithinRange(0.05, 20.0)] = 1.0
    outputSpacing: Annotated[float, WithinRange(0.0, 20.0)] = 0.0  # noqa: N815
    outputTransform: slicer.vtkMRMLTransformNode | None  # noqa: N815
    outputVolume: slicer.vtkMRMLScalarVolumeNode | None  # noqa: N815
    outputSegmentation: slicer.vtkMRMLSegmentationNode | None  # noqa: N815
    outputJacobian: slicer.vtkMRMLScalarVolumeNode | None  # noqa: N815
    outputTable: slicer.vtkMRMLTableNode | None  # noqa: N815
    outputLandmarks: slicer.vtkMRMLMarkupsFiducialNode | None  # noqa: N815
    wantVolume: bool = True  # noqa: N815
    wantSegmentation: bool = True  # noqa: N815
    wantJacobian: bool = True  # noqa: N815
    wantTable: bool = True  # noqa: N815
    wantLandmarks: bool = True  # noqa: N815


# Role of a result, and the parameters that hold its node and whether it is wanted.
OUTPUT_PARAMETERS = {
    "transform": ("outputTransform", ""),
    "warped": ("outputVolume", "wantVolume"),
    "segmentation": ("outputSegmentation", "wantSegmentation"),
    "jacobian": ("outputJacobian", "wantJacobian"),
    "table": ("outputTable", "wantTable"),
    "landmarks": ("outputLandmarks", "wantLandmarks"),
}
NODE_PARAMETERS = ("fixedVolume", "movingVolume", "fixedSegmentation", "movingSegmentation")


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


class DeepLargeDeformRegLogic(ScriptedLoadableModuleLogic):
    """Registration without the panel, for scripts, tests and other modules."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)

    def getParameterNode(self) -> DeepLargeDeformRegParameterNode:  # noqa: N802 - Slicer's name
        """The typed parameter node of the scene."""
        return DeepLargeDeformRegParameterNode(super().getParameterNode())  # type: ignore[call-arg]

    @property
    def runner(self) -> Any:
        """The owner of this session's worker."""
        from DeepLargeDeformRegLib.widgets.registration import shared_runner

        return shared_runner()

    @staticmethod
    def matches(node: Any) -> list[tuple[str, str]] | None:
        """Pairs of segment ids that the user chose; None where segments are matched by name."""
        if not node.matchesEdited or node.fixedSegmentation is None or node.movingSegmentation is None:
            return None
        pairs = [tuple(pair.split("\t")) for pair in node.segmentMatches]
        known = [
            set(exchange.segmentations.segment_names(s)) for s in (node.fixedSegmentation, node.movingSegmentation)
        ]
        return [(fixed, moving) for fixed, moving in pairs if fixed in known[0] and moving in known[1]]

    def inputs(self, node: Any) -> exchange.Inputs:
        """Inputs of a parameter node."""
        return exchange.Inputs(
            fixed=node.fixedVolume,
            moving=node.movingVolume,
            fixed_segmentation=node.fixedSegmentation,
            moving_segmentation=node.movingSegmentation,
            matches=self.matches(node),
            fixed_landmarks=node.fixedLandmarks,
            moving_landmarks=node.movingLandmarks,
            initial_transform=node.initialTransform,
            region=node.region,
        )

    def settings(self, node: Any) -> dict[str, Any]:
        """Settings of a parameter node, as the engine reads them."""
        return {
            "preset": node.preset.value,
            "model": node.model or None,
            "refine": node.quality is not Quality.FAST,
            "fold_free": node.quality is Quality.FOLD_FREE,
            "device": node.device,
            "prealign": node.linear.value,
            "guide_with_segmentations": node.guideWithSegmentations,
            "guide_with_landmarks": node.guideWithLandmarks,
            "output_spacing_mm": node.outputSpacing or None,
            "iterations": node.iterations or None,
            "regularity": node.regularity,
        }

    def make_run(self, node: Any) -> Any:
        """A run of a parameter node, not yet started."""
        from DeepLargeDeformRegLib.widgets.registration import Run

        nodes = {role: getattr(node, names[0]) for role, names in OUTPUT_PARAMETERS.items()}
        wanted = {role for role, (_node, want) in OUTPUT_PARAMETERS.items() if not want or getattr(node, want)}
        return Run(self.inputs(node), exchange.Targets(nodes, frozenset(wanted | {"report"})), self.settings(node))

    def register(
        self,
        fixed: Any,
        moving: Any,
        *,
        fixed_segmentation: Any = None,
        moving_segmentation: Any = None,
        matches: list[tuple[str, str]] | None = None,
        fixed_landmarks: Any = None,
        moving_landmarks: Any = None,
        initial_transform: Any = None,
        region: Any = None,
        settings: dict[str, Any] | None = None,
        outputs: dict[str, Any] | None = None,
        progress: Callable[[str, float, str, float | None], None] | None = None,
        wait: bool = True,
    ) -> Any:
        """Register two volumes with all powers of the panel.

        Args:
            fixed, moving: scalar volume nodes.
            fixed_segmentation, moving_segmentation: segmentation nodes.
            matches: pairs of segment ids (fixed, moving); None matches by name.
            fixed_landmarks, moving_landmarks: markups nodes with corresponding points.
            initial_transform: transform node under which the moving volume is nearly right.
            region: ROI node in the fixed volume.
            settings: settings of ``engine/settings.py``, such as ``{"preset": "lung-ct", "fold_free": True}``.
            outputs: nodes to overwrite by role: transform, warped, segmentation, jacobian, table, landmarks.
            progress: called with (stage, fraction, message, seconds to go or None).
            wait: let events pass until it is done; with False the run is returned at once, and its ``on_finished``
                is called with it.

        Returns:
            ``scene.results.RunResult`` (``.get("transform")``, ``.metrics``, ...), or the run with ``wait=False``.

        Raises:
            SceneError: if an input cannot be used.
            RegistrationFailed: if there is no result; the message says why.
        """
        from DeepLargeDeformRegLib.widgets.registration import Run, wait_for

        inputs = exchange.Inputs(
            fixed,
            moving,
            fixed_segmentation,
            moving_segmentation,
            matches,
            fixed_landmarks,
            moving_landmarks,
            initial_transform,
            region,
        )
        run = Run(inputs, exchange.Targets(dict(outputs or {})), settings or {})
        run.on_progress = progress
        self.runner.start(run)
        return wait_for(run) if wait else run


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
