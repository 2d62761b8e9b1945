"""Where a registration is at its worst, whether within the limits or not: the places to look at first."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...core.images import LabelMap, Volume
from ...core.metrics import WorstPlace
from .deformation import structure_at


def smallest_determinant(
    jacobian: Volume, structures: npt.NDArray[np.bool_] | None, labels: LabelMap | None
) -> WorstPlace:
    """Where det J is smallest: the map folds there, or makes tissue shrink the most.

    Args:
        jacobian: det J.
        structures: voxels of the fixed structures on the same grid, ``(D, H, W)``; None looks everywhere.
        labels: fixed segmentation, to name the structure.
    """
    values, key = jacobian.array, "jacobian.min"
    if structures is not None and structures.any():
        values, key = np.where(structures, jacobian.array, np.inf), "jacobian_in_mask.min"
    return _place(key, jacobian, int(np.argmin(np.where(np.isnan(values), np.inf, values))), labels)


def largest_error(uncertainty: Volume, where: npt.NDArray[np.bool_], labels: LabelMap | None) -> WorstPlace | None:
    """Where the expected error is largest among the voxels ``(D, H, W)`` that count; None if none does.

    Args:
        uncertainty: expected error, mm; NaN where it is not defined.
        where: voxels that count.
        labels: fixed segmentation, to name the structure.
    """
    counted = where & np.isfinite(uncertainty.array)
    if not counted.any():
        return None
    largest = int(np.argmax(np.where(counted, uncertainty.array, -np.inf)))
    return _place("uncertainty_mm.max", uncertainty, largest, labels)


def _place(key: str, volume: Volume, flat: int, labels: LabelMap | None) -> WorstPlace:
    index = np.unravel_index(flat, volume.array.shape)
    point = volume.grid.to_physical(np.array(index)[::-1])
    return WorstPlace(
        measure=key,
        value=float(volume.array[index]),
        point_lps=(float(point[0]), float(point[1]), float(point[2])),
        structure=None if labels is None else structure_at(labels, point),
    )
