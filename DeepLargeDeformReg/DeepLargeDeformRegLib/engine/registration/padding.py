"""Padding: slabs of one value around a scan that was cropped, such as challenges add to give all scans one size."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...core.images import Volume

THINNEST = 2  # slices; a single one is left by resampling, too
FILLED = 0.5  # share of a face of what is left that a crop fills with anatomy; a body that ends in air fills less


def without_padding(volume: Volume) -> Volume:
    """The scan without slabs of its lowest value at its ends, if it was cut off where they begin.

    What begins at the slab's inner side with a face full of anatomy was cut off there: the edge says nothing about
    the anatomy, and what lies beyond was not scanned. A body that ends by itself within constant air, such as a
    brain without its skull, keeps the air.

    Args:
        volume: a scan that is not the same everywhere.
    """
    shows = volume.array != volume.array.min()
    box = [_ends(shows.any(axis=tuple(axis for axis in range(3) if axis != kept))) for kept in range(3)]
    inner = shows[tuple(slice(*ends) for ends in box)]
    start, stop = [0, 0, 0], list(shows.shape)
    for axis, (first, last) in enumerate(box):
        if first >= THINNEST and inner.take(0, axis).mean() >= FILLED:
            start[axis] = first
        if shows.shape[axis] - last >= THINNEST and inner.take(-1, axis).mean() >= FILLED:
            stop[axis] = last
    if start == [0, 0, 0] and stop == list(shows.shape):
        return volume
    kept = tuple(slice(*ends) for ends in zip(start, stop, strict=True))
    size = [last - first for first, last in zip(start, stop, strict=True)]
    counted = None if volume.counted is None else volume.counted[kept]
    return Volume(volume.array[kept], volume.grid.cropped(start[::-1], size[::-1]), counted)


def _ends(occupied: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """First index that is occupied, and the one after the last."""
    where = np.flatnonzero(occupied)
    return int(where[0]), int(where[-1]) + 1
