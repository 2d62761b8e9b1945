"""The module's logic: registration without the panel, for scripts, tests and other modules."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from ..scene import exchange
from .parameters import (
    FURTHER_OUTPUTS,
    OUTPUT_PARAMETERS,
    SIDES,
    DeepLargeDeformRegParameterNode,
    Quality,
    parted,
)

Progress = Callable[[str, float, str, float | None], None]
"""Called with the stage, the fraction done, a message, and the seconds to go or None."""


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
        from .registration import shared_runner

        return shared_runner()

    @staticmethod
    def matches(node: Any) -> list[tuple[str, str]] | None:
        """Pairs of segment ids that the user chose; None where segments are matched by name."""
        if not node.matchesEdited or node.fixedSegmentation is None or node.movingSegmentation is None:
            return None
        fixed, moving = (
            exchange.segmentations.segment_names(s) for s in (node.fixedSegmentation, node.movingSegmentation)
        )
        pairs = [parted(text, fixed, moving) for text in node.segmentMatches]
        return [pair for pair in pairs if pair is not None]

    @staticmethod
    def unused(node: Any) -> list[tuple[str, str]]:
        """Segments (side, id) that the user left out."""
        known = [
            identifier
            for segmentation in (node.fixedSegmentation, node.movingSegmentation)
            for identifier in exchange.segmentations.segment_names(segmentation)
        ]
        found = [parted(text, SIDES, known) for text in node.unusedSegments]
        return [entry for entry in found if entry is not None]

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
            fixed_mask=node.fixedMask,
            moving_mask=node.movingMask,
            unused_fixed=[identifier for side, identifier in self.unused(node) if side == "fixed"],
            unused_moving=[identifier for side, identifier in self.unused(node) if side == "moving"],
        )

    def settings(self, node: Any) -> dict[str, Any]:
        """Settings of a parameter node, as the engine reads them."""
        return {
            "preset": node.preset.value,
            "model": node.model or None,
            "refine": False if node.quality is Quality.FAST else None,  # None: as the preset does
            "fold_free": node.quality is Quality.FOLD_FREE,
            "device": node.device,
            "prealign": node.linear.value,
            "guide_with_segmentations": node.guideWithSegmentations,
            "guide_with_landmarks": node.guideWithLandmarks,
            "organs": "auto" if node.findOrgans else "none",
            "output_spacing_mm": node.outputSpacing or None,
            "iterations": node.iterations or None,
            "regularity": node.regularity,
            "symmetric": node.symmetric,
            "uncertainty": node.uncertainty,
        }

    def make_run(self, node: Any, model: str | None = None) -> Any:
        """A run of a parameter node, not yet started; a model that is named fills new nodes."""
        from .registration import Run

        nodes = {role: getattr(node, names[0]) for role, names in OUTPUT_PARAMETERS.items()}
        wanted = {role for role, (_node, want) in OUTPUT_PARAMETERS.items() if not want or getattr(node, want)}
        wanted |= {output for output, want in FURTHER_OUTPUTS.items() if getattr(node, want)}
        settings = self.settings(node) if model is None else self.settings(node) | {"model": model}
        targets = exchange.Targets(nodes if model is None else {}, frozenset(wanted | {"report"}))
        return Run(self.inputs(node), targets, settings)

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
        fixed_mask: Any = None,
        moving_mask: Any = None,
        settings: dict[str, Any] | None = None,
        outputs: dict[str, Any] | None = None,
        wanted: Collection[str] | None = None,
        unused_segments: Collection[tuple[str, str]] = (),
        progress: Progress | None = None,
        wait: bool = True,
    ) -> Any:
        """Register two volumes with all powers of the panel; docs/scripting.md has examples.

        Args:
            fixed, moving, fixed_segmentation, moving_segmentation: scalar volume nodes, segmentation nodes.
            matches: pairs of segment ids (fixed, moving); None matches by name.
            fixed_landmarks, moving_landmarks: markups nodes of corresponding points; moving ones alone are carried.
            initial_transform: transform node under which the moving volume is nearly right.
            region: ROI node in the fixed volume.
            fixed_mask, moving_mask: segmentation nodes of what to leave out: what one scan alone shows.
            settings: settings of ``core/settings.py``, such as ``{"preset": "lung-ct", "symmetric": True}``.
            outputs: nodes to overwrite by role: transform, warped, segmentation, jacobian, table, landmarks.
            wanted: what is made beside the transform, of ``scene.exchange.OUTPUTS``; None makes all but ``"parts"``.
            unused_segments: segments to leave out, as pairs ``("fixed" or "moving", segment id)``.
            progress: called with (stage, fraction, message, seconds to go or None).
            wait: let events pass until it is done; else the run is returned at once, and calls its ``on_finished``.

        Returns:
            ``scene.results.RunResult`` (``.get("transform")``, ``.metrics``, ...), or the run with ``wait=False``.

        Raises:
            SceneError: if an input cannot be used.
            RegistrationFailed: if there is no result; the message says why.
            ValueError: for an unknown output.
        """
        inputs = exchange.Inputs(
            fixed=fixed,
            moving=moving,
            fixed_segmentation=fixed_segmentation,
            moving_segmentation=moving_segmentation,
            matches=matches,
            fixed_landmarks=fixed_landmarks,
            moving_landmarks=moving_landmarks,
            initial_transform=initial_transform,
            region=region,
            fixed_mask=fixed_mask,
            moving_mask=moving_mask,
            **{f"unused_{name}": [i for side, i in unused_segments if side == name] for name in SIDES},
        )
        return self._started(inputs, _targets(outputs or {}, wanted), settings or {}, progress, wait)

    def _started(
        self,
        inputs: exchange.Inputs,
        targets: exchange.Targets,
        settings: dict[str, Any],
        progress: Progress | None,
        wait: bool,
    ) -> Any:
        """Start a run; its result, or with ``wait=False`` the run itself."""
        from .registration import Run, wait_for

        run = Run(inputs, targets, settings)
        run.on_progress = progress
        self.runner.start(run)
        return wait_for(run) if wait else run


def _targets(outputs: dict[str, Any], wanted: Collection[str] | None) -> exchange.Targets:
    """What a run makes; a ``ValueError`` names an output that there is not."""
    chosen = exchange.DEFAULT_OUTPUTS if wanted is None else frozenset(wanted)
    unknown = sorted(chosen - set(exchange.OUTPUTS))
    if unknown:
        raise ValueError(f"Unknown output: {', '.join(unknown)}; there are {', '.join(exchange.OUTPUTS)}.")
    return exchange.Targets(dict(outputs), chosen)
