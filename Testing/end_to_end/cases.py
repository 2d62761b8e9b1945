"""Real pairs of scans, put into the scene as a user would, and the registration of one by a click."""

from __future__ import annotations

import csv
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

MODULE = Path(__file__).resolve().parents[2] / "DeepLargeDeformReg" / "DeepLargeDeformReg.py"
TERMINOLOGY = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^85756007^Tissue~SCT^{code}^{name}~^^~"
    "Anatomic codes - DICOM master list~^^~^^"
)


@dataclass
class Structure:
    """A label of a label map, as the segment that it becomes."""

    value: int
    name: str
    color: tuple[float, float, float]
    terminology: str = ""


@dataclass
class Side:
    """One scan of a pair: files, and its structures."""

    image: Path
    labels: Path | None = None
    structures: tuple[Structure, ...] = ()


@dataclass(kw_only=True)
class Case:
    """A pair of scans with what is known of it. ``landmarks`` are (n, 6): fixed and moving points, LPS, mm."""

    fixed: Side
    moving: Side
    preset: str
    landmarks: np.ndarray | None = None
    choices: dict[str, Any] = field(default_factory=dict)


def lung_pair(folder: Path) -> Case:
    """The sample case: two visits of one lung, with masks and landmarks."""
    with (folder / "landmarks_lps.csv").open(newline="", encoding="utf-8") as file:
        landmarks = np.array(list(csv.reader(file))[1:], dtype=float)
    sides = [
        Side(
            folder / f"{side}.nii.gz",
            folder / f"{side}_mask.nii.gz",
            (Structure(1, "Right lung", color, TERMINOLOGY.format(code="3341006", name="Right lung")),),
        )
        for side, color in (("fixed", (0.2, 0.6, 0.9)), ("moving", (0.9, 0.3, 0.2)))
    ]
    return Case(fixed=sides[0], moving=sides[1], preset="LUNG_CT", landmarks=landmarks)


def abdominal_pair(folder: Path) -> Case:
    """Two patients' abdomens with other fields of view: liver in both, spleen and right kidney in the moving one."""
    liver = TERMINOLOGY.format(code="10200004", name="Liver")
    fixed, moving = folder / "chaos-01", folder / "totalsegmentator-example"
    return Case(
        fixed=Side(fixed / "image.nii.gz", fixed / "labels.nii.gz", (Structure(1, "Liver", (0.9, 0.6, 0.3), liver),)),
        moving=Side(
            moving / "image.nii.gz",
            moving / "labels.nii.gz",
            (
                Structure(5, "liver", (0.7, 0.4, 0.1), liver),
                Structure(1, "spleen", (0.6, 0.2, 0.4)),
                Structure(2, "right kidney", (0.8, 0.8, 0.2)),
            ),
        ),
        preset="LIVER_CT",
    )


def array_of_labels(side: Side) -> np.ndarray:
    """The label map of a side, (z, y, x)."""
    return sitk.GetArrayFromImage(sitk.ReadImage(str(side.labels)))


def crop_around(image: sitk.Image, point: np.ndarray, size: tuple[int, int, int] = (48, 48, 32)) -> sitk.Image:
    """A box of voxels around a point (LPS, mm)."""
    center = np.array(image.TransformPhysicalPointToIndex(point.tolist()))
    return sitk.RegionOfInterest(image, size, (center - np.array(size) // 2).tolist())


def _load_segmentation(side: Side, name: str, volume: Any) -> Any:
    """The structures of a side as a segmentation that belongs to a volume."""
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    array = array_of_labels(side)
    for structure in side.structures:
        identifier = node.GetSegmentation().AddEmptySegment("", structure.name, structure.color)
        if structure.terminology:
            tag = slicer.vtkSegment.GetTerminologyEntryTagName()
            node.GetSegmentation().GetSegment(identifier).SetTag(tag, structure.terminology)
        mask = (array == structure.value).astype(np.uint8)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, identifier, volume)
    return node


def _load_landmarks(points_lps: np.ndarray, name: str) -> Any:
    import slicer
    import vtk

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    for number, (x, y, z) in enumerate(points_lps, start=1):
        node.AddControlPoint(vtk.vtkVector3d(-x, -y, z), f"L{number}")
    return node


def load(case: Case) -> dict[str, Any]:
    """Load a case into the scene; return its nodes by the names of the parameter node."""
    import slicer

    nodes: dict[str, Any] = {}
    for name, side in (("fixed", case.fixed), ("moving", case.moving)):
        volume = slicer.util.loadVolume(str(side.image), {"name": f"{name} scan"})
        nodes[f"{name}Volume"] = volume
        if side.labels is not None:
            nodes[f"{name}Segmentation"] = _load_segmentation(side, f"{name} structures", volume)
    if case.landmarks is not None:
        nodes["fixedLandmarks"] = _load_landmarks(case.landmarks[:, :3], "fixed landmarks")
        nodes["movingLandmarks"] = _load_landmarks(case.landmarks[:, 3:], "moving landmarks")
    return nodes


def select(widget: Any, nodes: dict[str, Any]) -> None:
    """Choose nodes in the selectors of the panel."""
    for name, node in nodes.items():
        selector = getattr(widget.ui, f"{name}Selector")
        selector.setCurrentNode(node)
        assert selector.currentNode() is node, f"{name} was not taken"


def choose_preset(widget: Any, preset: str) -> None:
    """Choose a preset by its name in the module's enumeration."""
    from DeepLargeDeformRegLib.widgets.parameters import Preset

    widget.ui.presetBox.currentIndex = list(Preset).index(Preset[preset])


def click_and_wait(application: Any, widget: Any, seconds: float = 500.0, keep: Path | None = None) -> Any:
    """Press Register and let events pass until the run is over; return the run.

    Args:
        keep: where the job folder is copied to before it is removed, to compare with what the engine wrote.
    """
    widget.ui.registerButton.click()
    run = widget.run
    assert run is not None, widget.ui.statusLabel.text
    if keep is not None:
        remove = run.folder.remove

        def copy_and_remove() -> None:
            if run.folder.path.exists():
                shutil.copytree(run.folder.path, keep, dirs_exist_ok=True)
            remove()

        run.folder.remove = copy_and_remove
    application.wait_until(lambda: run.finished, seconds, "the end of the registration")
    return run
