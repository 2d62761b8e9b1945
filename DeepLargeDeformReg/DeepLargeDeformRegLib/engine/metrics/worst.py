"""Where a registration is at its worst, whether within the limits or not: the places to look at first."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...core.images import LabelMap, Volume
from ...core.metrics import WorstPlace
from .deformation import structure_at
from .statistics import planes_of


def smallest_determinant(
    jacobian: Volume, structures: npt.NDArray[np.bool_] | None, labels: LabelMap | None
) -> WorstPlace:
    """Where det J is smallest: the map folds there, or makes tissue shrink the most.

    Args:
        jacobian: det J.
        structures: voxels of the fixed structures on the same grid, ``(D, H, W)``; None looks everywhere.
        labels: fixed segmentation, to name the structure.
    """
    key = "jacobian.min"
    if structures is not None and structures.any():
        key = "jacobian_in_mask.min"
    else:
        structures = None
    return _place(key, jacobian, _largest(jacobian.array, structures, sign=-1), labels)


def largest_error(
    uncertainty: Volume, where: npt.NDArray[np.bool_] | None, labels: LabelMap | None
) -> WorstPlace | None:
    """Where the expected error is largest among the voxels ``(D, H, W)`` that count; None if none does.

    Args:
        uncertainty: expected error, mm; NaN where it is not defined.
        where: voxels that count; None counts all.
        labels: fixed segmentation, to name the structure.
    """
    largest = _largest(uncertainty.array, where)
    counts = where is None or bool(where.flat[largest])
    if not counts or not np.isfinite(uncertainty.array.flat[largest]):
        return None
    return _place("uncertainty_mm.max", uncertainty, largest, labels)


def _largest(values: npt.NDArray[np.floating], where: npt.NDArray[np.bool_] | None, sign: int = 1) -> int:
    """Flat index of the first largest number, or smallest with the sign -1, among those that count; else 0."""
    best, found = -np.inf, 0
    for place in planes_of(values):
        part = sign * values[place]
        counted = ~np.isnan(part) if where is None else where[place] & ~np.isnan(part)
        part[~counted] = -np.inf
        at = int(part.argmax())
        if part.flat[at] > best:
            best, found = part.flat[at], place.start * values[0].size + at
    return found


def _place(key: str, volume: Volume, flat: int, labels: LabelMap | None) -> WorstPlace:
    index = np.unravel_index(flat, volume.array.shape)
    point = volume.grid.to_physical(np.array(index)[::-1])
    return WorstPlace(
        measure=key,
        value=float(volume.array[index]),
        point_lps=(float(point[0]), float(point[1]), float(point[2])),
        structure=None if labels is None else structure_at(labels, point),
    )
