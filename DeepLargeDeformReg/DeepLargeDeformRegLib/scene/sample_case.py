"""The sample case in the scene: two scans of one lung, their outlines and their landmarks."""

from __future__ import annotations

import csv
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from ..resources import SAMPLE_CASE
from .lazy_sitk import sitk
from .markups import BELONGS_TO_ROLE, points_node

NAMES = {"fixed": _("Lung at baseline (fixed)"), "moving": _("Lung at follow-up (moving)")}
COLORS = {"fixed": (0.2, 0.6, 0.9), "moving": (0.9, 0.3, 0.2)}
RIGHT_LUNG = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    "~SCT^3341006^Right lung~^^~Anatomic codes - DICOM master list~^^~^^"
)


def load_sample_case() -> dict[str, Any]:
    """Load all of the sample case; return the nodes by the names of the parameter node.

    Raises:
        OSError: if the files are not there.
    """
    with (SAMPLE_CASE / "landmarks_lps.csv").open(newline="", encoding="utf-8") as file:
        points = np.array(list(csv.reader(file))[1:], dtype=float)
    nodes: dict[str, Any] = {}
    for side, columns in (("fixed", slice(0, 3)), ("moving", slice(3, 6))):
        volume = slicer.util.loadVolume(str(SAMPLE_CASE / f"{side}.nii.gz"), {"name": NAMES[side]})
        names = [f"L{number}" for number in range(1, len(points) + 1)]
        landmarks = points_node(points[:, columns], names, _("{scan}, landmarks").format(scan=NAMES[side]))
        landmarks.SetNodeReferenceID(BELONGS_TO_ROLE, volume.GetID())
        landmarks.GetDisplayNode().SetPointLabelsVisibility(False)
        nodes |= {f"{side}Volume": volume, f"{side}Segmentation": _outlines(side, volume)}
        nodes[f"{side}Landmarks"] = landmarks
    return nodes


def _outlines(side: str, volume: Any) -> Any:
    """The lung of a side as a segmentation that belongs to its volume."""
    node = slicer.mrmlScene.AddNewNodeByClass(
        "vtkMRMLSegmentationNode", _("{scan}, outlines").format(scan=NAMES[side])
    )
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    identifier = node.GetSegmentation().AddEmptySegment("", _("Right lung"), COLORS[side])
    tag = slicer.vtkSegment.GetTerminologyEntryTagName()
    node.GetSegmentation().GetSegment(identifier).SetTag(tag, RIGHT_LUNG)
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(SAMPLE_CASE / f"{side}_mask.nii.gz")))
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, identifier, volume)
    return node
