"""What the user chooses, as the scene keeps it: enumerations and the parameter node."""

from __future__ import annotations

import enum
import json
from collections.abc import Collection
from typing import Annotated

import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from ..scene.words import say


class Preset(enum.Enum):
    """Kind of scans: names of ``core/presets.py``."""

    LUNG_CT = "lung-ct"
    LIVER_CT = "liver-ct"
    MR_HIPPOCAMPUS = "mr-hippocampus"
    ANY = "any"

    @staticmethod
    def label(member: Preset) -> str:
        """Title for people."""
        from ..core.presets import PRESETS

        return say(PRESETS[member.value].title)


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
        return {**titles, "rigid": _("Rigid"), "affine": _("Affine")}[member.value]


def joined(first: str, second: str) -> str:
    """Two texts as one parameter. A scene file keeps it as it is; tabs and line ends would become spaces there."""
    return json.dumps([first, second])


def parted(text: str, firsts: Collection[str], seconds: Collection[str]) -> tuple[str, str] | None:
    """The two texts of one parameter, where both are known; None otherwise.

    Scenes of version 0.1 hold them with a tab between, which became a space when the scene was saved.

    Args:
        text: what :func:`joined` made, or an older version.
        firsts, seconds: texts that can be meant.
    """
    try:
        first, second = json.loads(text)
        candidates = [(first, second)]
    except (ValueError, TypeError):
        candidates = [(text[:place], text[place + 1 :]) for place, sign in enumerate(text) if sign in "\t "]
    return next((pair for pair in candidates if pair[0] in firsts and pair[1] in seconds), None)


SIDES = ("fixed", "moving")


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
    fixedMask: slicer.vtkMRMLSegmentationNode | None  # noqa: N815
    movingMask: slicer.vtkMRMLSegmentationNode | None  # noqa: N815
    segmentMatches: list[str]  # noqa: N815
    matchesEdited: bool = False  # noqa: N815
    unusedSegments: list[str]  # noqa: N815
    guideWithLandmarks: bool = False  # noqa: N815
    guideWithSegmentations: bool = True  # noqa: N815
    findOrgans: bool = True  # noqa: N815
    preset: Preset = Preset.ANY
    quality: Quality = Quality.FOLD_FREE
    model: str = ""
    device: str = "auto"
    linear: Linear = Linear.AUTO
    iterations: Annotated[int, WithinRange(0, 1000)] = 0
    regularity: Annotated[float, WithinRange(0.05, 20.0)] = 1.0
    outputSpacing: Annotated[float, WithinRange(0.0, 20.0)] = 0.0  # noqa: N815
    symmetric: bool = False
    uncertainty: bool = True
    linearApart: bool = False  # noqa: N815
    outputTransform: slicer.vtkMRMLTransformNode | None  # noqa: N815
    outputVolume: slicer.vtkMRMLScalarVolumeNode | None  # noqa: N815
    outputSegmentation: slicer.vtkMRMLSegmentationNode | None  # noqa: N815
    outputJacobian: slicer.vtkMRMLScalarVolumeNode | None  # noqa: N815
    outputTable: slicer.vtkMRMLTableNode | None  # noqa: N815
    outputLandmarks: slicer.vtkMRMLMarkupsFiducialNode | None  # noqa: N815
    wantVolume: bool = True  # noqa: N815
    wantSegmentation: bool = True  # noqa: N815
    wantJacobian: bool = True  # noqa: N815
    wantMaps: bool = True  # noqa: N815
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
# What is made without a node to overwrite, and the parameter that wants it.
FURTHER_OUTPUTS = {"maps": "wantMaps", "charts": "wantTable", "parts": "linearApart"}
