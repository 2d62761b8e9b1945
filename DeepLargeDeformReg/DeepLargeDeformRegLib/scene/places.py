"""Where a row of the metrics table or of the folding list is, and how the views get there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import slicer
import vtk

from ..core.measures import StructureMetrics, measures_of
from ..core.rows import MetricRow
from .results import RunResult
from .segmentations import segment_names


def place_of(run: RunResult, row: MetricRow) -> np.ndarray | None:
    """Point (LPS, mm) in the fixed volume that a row is about; None where it has no place."""
    if row.point_lps is not None:
        return np.array(row.point_lps, dtype=float)
    if row.key in measures_of(StructureMetrics):
        return _center_of_structure(run, row.structure)
    if row.key in ("jacobian.min", "jacobian.max"):
        return _extreme(run.get("jacobian"), row.key.partition(".")[2])
    return None


def _center_of_structure(run: RunResult, name: str) -> np.ndarray | None:
    for role in ("fixed_segmentation", "segmentation"):
        node = run.get(role)
        for identifier, other in segment_names(node).items():
            if other.lower() == name.lower():
                center = node.GetSegmentCenterRAS(identifier)
                return None if center is None else np.array(center) * (-1.0, -1.0, 1.0)
    return None


def _extreme(volume: Any, which: str) -> np.ndarray | None:
    """Place of the smallest or largest voxel of a volume."""
    if volume is None:
        return None
    array = slicer.util.arrayFromVolume(volume)
    flat = array.argmin() if which == "min" else array.argmax()
    z, y, x = np.unravel_index(flat, array.shape)
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    point = slicer.util.arrayFromVTKMatrix(matrix) @ (x, y, z, 1.0)
    return point[:3] * (-1.0, -1.0, 1.0)


def jump_to(point_lps: Iterable[float]) -> None:
    """Center all slice views on a point (LPS, mm) and put the crosshair there."""
    x, y, z = (float(value) for value in point_lps)
    for slice_node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        slice_node.JumpSliceByCentering(-x, -y, z)
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair is not None:
        crosshair.SetCrosshairRAS(-x, -y, z)
        if crosshair.GetCrosshairMode() == slicer.vtkMRMLCrosshairNode.NoCrosshair:
            crosshair.SetCrosshairMode(slicer.vtkMRMLCrosshairNode.ShowSmallBasic)
