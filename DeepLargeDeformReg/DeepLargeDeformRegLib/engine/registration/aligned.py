"""A linearly aligned pair on one working grid, as the search and the refinement see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...core.geometry import ImageGrid
from ...core.images import LabelMap, Pair, Volume
from ...core.labels import Matches
from .. import fields
from ..anatomy.structures import Structures
from ..device import to_device
from ..fields import DisplacementField, as_tensor, counted_voxels
from ..losses.mind import CHANNELS, mind_ssc
from .intensities import Scalings
from .pointwise import rows_of


@dataclass(frozen=True, eq=False, kw_only=True)
class AlignedScan:
    """One scan of an aligned pair, all ``(1, C, D, H, W)`` on the working grid.

    Args:
        image: intensities.
        covered: where the scan has data that count, 0..1.
        masks: one channel a structure, 0..1; or None.
        landmarks: LPS mm (n, 3), those of the moving scan mapped back through the linear alignment; or None.
        organs: soft masks of what was found automatically, times the square root of their weights; or None.
        left_out: where the scan has data that a mask leaves out, 0 or 1; None without a mask.
    """

    image: Tensor
    covered: Tensor
    masks: Tensor | None = None
    landmarks: Tensor | None = None
    organs: Tensor | None = None
    left_out: Tensor | None = None
    _similarity: dict[tuple[int, int], Tensor] = field(default_factory=dict, init=False, repr=False)
    _rows: dict[tuple[int, int], Tensor] = field(default_factory=dict, init=False, repr=False)

    def self_similarity(self, radius: int, dilation: int) -> Tensor:
        """MIND-SSC features ``(1, 12, D, H, W)``, computed once for all stages that compare the scan."""
        key = (radius, dilation)
        if key in self._rows:
            return self._rows[key][:, :CHANNELS].T.reshape(1, CHANNELS, *self.image.shape[2:])
        if key not in self._similarity:
            self._similarity[key] = mind_ssc(self.image, radius, dilation)
        return self._similarity[key]

    def similarity_rows(self, radius: int, dilation: int) -> Tensor:
        """The same and, last, what is covered, as :func:`rows_of`; held in this form alone from now on."""
        key = (radius, dilation)
        if key not in self._rows:
            self._rows[key] = rows_of(self.self_similarity(radius, dilation), self.covered)
            self._similarity.pop(key)
        return self._rows[key]


@dataclass(frozen=True, eq=False)
class AlignedPair:
    """Two linearly aligned scans.

    Args:
        grid: working grid.
        fixed: fixed scan.
        moving: moving scan, resampled through the linear alignment.
        sliding: True if the field may slip along the surface of the fixed masks.
    """

    grid: ImageGrid
    fixed: AlignedScan
    moving: AlignedScan
    sliding: bool = False

    @property
    def sliding_mask(self) -> Tensor | None:
        """What slides along its surroundings, 0..1, ``(1, 1, D, H, W)``; None if nothing does."""
        masks = self.fixed.masks
        return masks.amax(dim=1, keepdim=True) if self.sliding and masks is not None else None

    @property
    def counted(self) -> tuple[Tensor, Tensor] | None:
        """Where no mask leaves the fixed and the moving scan out, 0 or 1; None without masks."""
        sides = (self.fixed, self.moving)
        if all(side.left_out is None for side in sides):
            return None
        first, second = (torch.ones_like(s.covered) if s.left_out is None else 1 - s.left_out for s in sides)
        return first, second

    def swapped(self) -> AlignedPair:
        """The pair in the other direction, on the same grid."""
        return AlignedPair(self.grid, self.moving, self.fixed, self.sliding)


def align(
    pair: Pair,
    scalings: Scalings,
    linear: npt.NDArray[np.float64],
    grid: ImageGrid,
    guide: Matches = (),
    sliding: bool = False,
    structures: tuple[Structures, Structures] | None = None,
    device: torch.device | None = None,
) -> AlignedPair:
    """Resample both scans onto a working grid, the moving one through its linear alignment.

    Args:
        pair: both scans; their landmarks are taken along.
        scalings: how the scans become the intensities in which they are compared.
        linear: homogeneous matrix (4, 4), fixed to moving, LPS mm.
        grid: working grid.
        guide: the structures whose masks are taken along.
        sliding: as in :class:`AlignedPair`.
        structures: of both scans, found automatically.
        device: where the tensors shall lie.
    """
    identity = fields.identity(grid, device=device)
    aligned = fields.from_affine(linear, grid, device=device)
    inverse = np.linalg.inv(linear)
    points: tuple[npt.NDArray | None, npt.NDArray | None] = (None, None)
    landmarks = pair.landmarks
    if landmarks is not None:
        points = (landmarks.fixed, landmarks.moving @ inverse[:3, :3].T + inverse[:3, 3])
    values: tuple[list[int], list[int]] = ([one for one, _ in guide], [other for _, other in guide])
    sides = []
    for side, (scan, map_) in enumerate(((pair.fixed, identity), (pair.moving, aligned))):
        image, covered, left_out = _resampled(scalings[side].of(scan.volume), map_)
        masks = _masks(scan.labels, values[side], map_) if guide and scan.labels is not None else None
        position = points[side]
        marks = None
        if position is not None:
            marks = to_device(torch.as_tensor(position, dtype=torch.float32), identity.displacement.device)
        organs = None if structures is None else structures[side].through(map_)
        sides.append(
            AlignedScan(image=image, covered=covered, masks=masks, landmarks=marks, organs=organs, left_out=left_out)
        )
    return AlignedPair(grid, sides[0], sides[1], sliding)


def _resampled(volume: Volume, map_: DisplacementField) -> tuple[Tensor, Tensor, Tensor | None]:
    """A scan through a map, where it has data that count, and where it has data that are left out."""
    source = as_tensor(volume, map_.displacement.device)
    image = fields.warp(source, volume.grid, map_, padding="border")
    covered = fields.covered(volume.grid, map_).float()
    if volume.counted is None:
        return image, covered, None
    counts = (fields.warp(counted_voxels(volume, source.device), volume.grid, map_) > 0.99).float()
    return image, counts, covered - counts


def _masks(labels: LabelMap, values: Sequence[int], field: DisplacementField) -> Tensor:
    """One channel a structure, ``(1, K, D, H, W)``, resampled with linear weights so that rims are soft."""
    channels = []
    for value in values:
        # One byte a voxel on its way to a GPU.
        mask = to_device(torch.from_numpy(labels.mask(value))[None, None], field.displacement.device)
        channels.append(fields.warp(mask.float(), labels.grid, field))
    return torch.cat(channels, dim=1)
