"""Landmarks in and out, and the list of folds as points to jump to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from ..core.errors import BadInputError
from ..core.measures import Fold
from .errors import SceneError
from .words import say_error

if TYPE_CHECKING:
    from ..core.images import LandmarkPairs

BELONGS_TO_ROLE = "DeepLargeDeformReg.volume"
"""Reference of a markups node to the volume in which its points lie."""


def points_lps(node: Any) -> tuple[np.ndarray, list[str]]:
    """Defined control points of a markups node in the world, LPS, mm: array (n, 3) and their labels."""
    points, names = [], []
    for index in range(node.GetNumberOfControlPoints()):
        if node.GetNthControlPointPositionStatus(index) != slicer.vtkMRMLMarkupsNode.PositionDefined:
            continue
        position = node.GetNthControlPointPositionWorld(index)
        points.append([-position[0], -position[1], position[2]])
        names.append(node.GetNthControlPointLabel(index))
    return np.array(points, dtype=float).reshape(-1, 3), names


def landmark_pairs(fixed: Any, moving: Any) -> LandmarkPairs:
    """Corresponding points, LPS, mm, paired as :func:`..core.files.landmarks.pair_landmarks` does.

    Raises:
        SceneError: if there are none, or the two lists cannot be paired.
    """
    from ..core.files.landmarks import pair_landmarks  # loads SimpleITK, for which opening the panel must not wait
    from ..core.images import Landmarks

    lists = []
    for node in (fixed, moving):
        points, names = points_lps(node)
        lists.append(Landmarks(points, tuple(names)))
    if not len(lists[0]) and not len(lists[1]):
        raise SceneError(_("The landmark lists have no points. Place at least one landmark in each volume."))
    try:
        return pair_landmarks(*lists)
    except BadInputError as error:
        raise SceneError(say_error(error)) from error


@dataclass(frozen=True, kw_only=True)
class LandmarkDistance:
    """One pair of landmarks.

    Args:
        name: of the fixed landmark. point_lps: where it is, LPS, mm.
        loaded_mm: distance of the pair as loaded. registered_mm: by the transform; None without one.
    """

    name: str
    point_lps: tuple[float, ...]
    loaded_mm: float
    registered_mm: float | None = None


def landmark_distances(fixed: Any, moving: Any, transform: Any = None) -> list[LandmarkDistance]:
    """Distances of corresponding landmarks; the transform brings fixed points to moving ones.

    Raises:
        SceneError: if the two lists cannot be paired.
    """
    pairs = landmark_pairs(fixed, moving)
    to_moving = transform.GetTransformFromParent() if transform is not None else None
    found = []
    for point, other, name in zip(pairs.fixed, pairs.moving, pairs.names, strict=True):
        registered = None
        if to_moving is not None:
            x, y, z = to_moving.TransformPoint((-point[0], -point[1], point[2]))
            registered = float(np.linalg.norm(np.array((-x, -y, z)) - other))
        loaded = float(np.linalg.norm(point - other))
        found.append(LandmarkDistance(name=name, point_lps=tuple(point), loaded_mm=loaded, registered_mm=registered))
    return found


def points_node(points: np.ndarray, names: Iterable[str], name: str, node: Any = None) -> Any:
    """Markups node of LPS points (n, 3); ``node`` is overwritten, or a new one is made."""
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetAndObserveTransformNodeID(None)
    node.RemoveAllControlPoints()
    for point, label in zip(points, names, strict=True):
        node.AddControlPoint(vtk.vtkVector3d(-point[0], -point[1], point[2]), label)
    return node


def show_as_carried(node: Any, color: tuple[float, float, float]) -> None:
    """Show landmarks that were carried over: in a color of their own, without names, which those beside them have."""
    display = node.GetDisplayNode()
    display.SetSelectedColor(*color)
    display.SetColor(*color)
    display.SetPointLabelsVisibility(False)


def fold_points(folds: Iterable[Fold], name: str, node: Any = None) -> Any:
    """The folding list as locked points; volume, worst value and structure are each point's description."""
    folds = list(folds)
    points = np.array([fold.point_lps for fold in folds], dtype=float).reshape(-1, 3)
    node = points_node(
        points, [_("fold {number}").format(number=index) for index in range(1, len(folds) + 1)], name, node
    )
    for index, fold in enumerate(folds):
        where = fold.structure or _("outside the structures")
        text = _("{where}: {volume:.1f} mm\u00b3, smallest volume change (det J) {worst:.2f}")
        text = text.format(where=where, volume=fold.volume_mm3, worst=fold.worst)
        node.SetNthControlPointDescription(index, text)
    node.SetLocked(True)
    display = node.GetDisplayNode()
    display.SetSelectedColor(1.0, 0.0, 0.9)
    display.SetPointLabelsVisibility(False)
    return node
