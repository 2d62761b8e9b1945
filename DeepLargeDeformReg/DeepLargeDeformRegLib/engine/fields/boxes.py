"""Boxes of a lattice around the voxels that matter, and those voxels in groups that lie apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..device import constant
from .field import DisplacementField

SMALL = 1 << 18  # voxels of a box in which groups would save nothing
MOST_AT_ONCE = 1 << 23  # voxels of a box of one group; where it has more, its voxels are sorted into tiles
TILE = 2  # reaches along each axis

Box = tuple[slice, ...]
"""Batch, channels, and some planes, lines and columns."""


def around(chosen: Tensor, margin: Sequence[int]) -> Box:
    """The box around all chosen voxels ``(1, 1, D, H, W)``, larger by a margin along x, y and z on each side."""
    return box_of(torch.nonzero(chosen[0, 0]), margin, chosen.shape[2:])


def box_of(places: Tensor, margin: Sequence[int], shape: Sequence[int]) -> Box:
    """The box around voxels (n, 3), order (z, y, x), within a lattice (D, H, W); as :func:`around`."""
    rim = constant(margin[::-1], places)
    low, high = (places.amin(dim=0) - rim).tolist(), (places.amax(dim=0) + rim + 1).tolist()
    box = [slice(max(int(first), 0), min(int(last), n)) for first, last, n in zip(low, high, shape, strict=True)]
    return (slice(None), slice(None), *box)


def voxels_of(box: Box) -> int:
    """How many voxels a box has."""
    return int(np.prod([at.stop - at.start for at in box[2:]]))


def groups(chosen: Tensor, reach: Sequence[int], margin: Sequence[int]) -> list[Tensor]:
    """The chosen voxels ``(1, 1, D, H, W)`` in groups, places (n, 3) each, order (z, y, x).

    One group if the box around all and a margin is small. Else those that have less than a reach between them are in
    one, or, where such a group spreads far, in groups of neighboring tiles.

    Args:
        chosen: boolean.
        reach: voxels along x, y and z.
        margin: voxels along x, y and z, as for :func:`around`.
    """
    shape = chosen.shape[2:]
    places = torch.nonzero(chosen[0, 0])
    if voxels_of(box_of(places, margin, shape)) <= SMALL:
        return [places]
    cells = (places // constant(reach[::-1], places)).cpu().numpy()
    taken = np.zeros(cells.max(axis=0) + 1, dtype=bool)
    taken[tuple(cells.T)] = True
    labels = ndimage.label(taken, np.ones((3, 3, 3)))[0][tuple(cells.T)]
    found = []
    for number in range(1, int(labels.max()) + 1):
        members = np.flatnonzero(labels == number)
        if voxels_of(box_of(places[members], margin, shape)) <= MOST_AT_ONCE:
            found.append(places[members])
            continue
        tiles = np.unique(cells[members] // TILE, axis=0, return_inverse=True)[1].ravel()
        found += [places[members[tiles == tile]] for tile in range(int(tiles.max()) + 1)]
    return found


def crop(field: DisplacementField, box: Box) -> DisplacementField:
    """A box of a field; a view."""
    part = field.displacement[box]
    depth, height, width = part.shape[2:]
    start = [at.start for at in reversed(box[2:])]
    return DisplacementField(part, field.grid.cropped(start, (width, height, depth)))
