"""What Slicer's own code makes of a transform node, to compare with the engine's results."""

from __future__ import annotations

from typing import Any

import numpy as np


def voxels_in_moving(reference: Any, moving: Any, transform: Any) -> np.ndarray:
    """Where a transform puts the center of each voxel of a volume: moving voxels (i, j, k), array (D, H, W, 3).

    Linear transforms above the moving volume are taken along, as in the scene.
    """
    import slicer
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

    shape = slicer.util.arrayFromVolume(reference).shape
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")[::-1], axis=-1).reshape(-1, 3)
    to_ras, to_moving, above = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    reference.GetIJKToRASMatrix(to_ras)
    moving.GetRASToIJKMatrix(to_moving)
    if moving.GetParentTransformNode() is not None:
        moving.GetParentTransformNode().GetMatrixTransformFromWorld(above)
    out, back, world = (slicer.util.arrayFromVTKMatrix(matrix) for matrix in (to_ras, to_moving, above))
    points, moved = vtk.vtkPoints(), vtk.vtkPoints()
    points.SetDataTypeToDouble()
    moved.SetDataTypeToDouble()
    points.SetData(numpy_to_vtk(np.ascontiguousarray(index @ out[:3, :3].T + out[:3, 3]), deep=True))
    transform.GetTransformFromParent().TransformPoints(points, moved)
    matrix = back @ world
    found = vtk_to_numpy(moved.GetData()) @ matrix[:3, :3].T + matrix[:3, 3]
    return found.reshape(*shape, 3)


def resampled_by_slicer(moving: Any, reference: Any, transform: Any) -> np.ndarray:
    """The moving volume put under a transform, resampled onto the grid of a volume by the Volumes module's logic."""
    import slicer

    top = moving
    while top.GetParentTransformNode() is not None:
        top = top.GetParentTransformNode()
    top.SetAndObserveTransformNodeID(transform.GetID())
    resampled = slicer.modules.volumes.logic().ResampleVolumeToReferenceVolume(moving, reference)
    try:
        return slicer.util.arrayFromVolume(resampled).astype(float)
    finally:
        top.SetAndObserveTransformNodeID(None)
        slicer.mrmlScene.RemoveNode(resampled)


def assert_slicer_agrees(moving: Any, warped: Any, transform: Any, least_inside: float = 0.25) -> None:
    """The moving volume resampled through the node is the warped one, but for Slicer's rounding to whole numbers."""
    import slicer

    found, expected = resampled_by_slicer(moving, warped, transform), slicer.util.arrayFromVolume(warped)
    voxels = voxels_in_moving(warped, moving, transform)
    size = np.array(slicer.util.arrayFromVolume(moving).shape[::-1])
    inside = ((voxels >= 0) & (voxels <= size - 1)).all(axis=-1)
    assert inside.mean() > least_inside
    assert np.abs(found - expected)[inside].max() < 0.5 + 1e-3 * np.ptp(expected)


def nearest_labels(labels: np.ndarray, voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels (D, H, W) at voxels (..., 3) by their nearest neighbor, 0 outside; and where that is undecided.

    Within a thousandth of the middle between two voxels either neighbor is right.
    """
    nearest = np.rint(voxels).astype(int)
    undecided = (np.abs(voxels - np.floor(voxels) - 0.5) < 1e-3).any(axis=-1)
    inside = ((nearest >= 0) & (nearest < np.array(labels.shape[::-1]))).all(axis=-1)
    i, j, k = np.moveaxis(np.where(inside[..., None], nearest, 0), -1, 0)
    return np.where(inside, labels[k, j, i], 0), undecided
