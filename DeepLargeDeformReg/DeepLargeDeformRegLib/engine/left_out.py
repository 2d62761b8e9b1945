"""Masks that leave something out of the similarity: what one scan shows and the other does not.

A resected part, a stent, a tumor that has grown, an artifact: nothing in the other scan corresponds to it, and a
similarity that counts it pulls the map towards what is not there. What such a mask marks (non-zero) has no weight in
pre-alignment, search, refinement and the measures of similarity; the regularity carries the map across. Masks of
other programs (elastix, ANTs) mark the opposite: what counts.

Weights alone would not do: self-similarity, gradients and local correlation of the voxels beside it see it too, so
its intensities are replaced by a smooth continuation of those around it before any of them is computed. Networks get
the scans as they are: that is what they were trained on.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.errors import BadInputError
from ..core.images import LabelMap, Volume
from ..core.sentences import marked as _
from ..core.subjects import the
from . import fields
from .fields import as_tensor, counted_voxels, warp_labels

LEAST_LEFT = 0.01  # share of a scan; less is no evidence
RELAXATIONS = 8  # a ramp across 8 voxels is then met to a twentieth
SURROUNDINGS = 8  # voxels around what is left out, which its filling continues
SUSPICIOUS = 0.5  # share of a scan; whoever marks more may have marked what shall count


def leave_out(volume: Volume, mask: LabelMap, name: str) -> tuple[Volume, list[str]]:
    """A scan of which what a mask marks does not count in the similarity, and what the user should know of it.

    Args:
        volume: the scan.
        mask: non-zero where it is left out, on any grid.
        name: of the scan: ``"fixed"`` or ``"moving"``.

    Raises:
        BadInputError: if the mask is empty, or leaves nothing of the scan.
    """
    own, scan = the(f"{name} mask", first=True), the(f"{name} scan")
    if not mask.array.any():
        raise BadInputError(_("{mask} is empty: it leaves out nothing; draw it again or give none.").format(mask=own))
    same = mask.grid == volume.grid
    marked = mask if same else warp_labels(mask, fields.identity(volume.grid), volume.grid)
    counted = ~marked.mask()
    left = float(np.count_nonzero(counted)) / counted.size
    if left < LEAST_LEFT:
        raise BadInputError(
            _(
                "{mask} marks the whole scan, so that nothing is left to align. What a mask marks "
                "is left out; if it marks what shall count, invert it."
            ).format(mask=own)
        )
    if left == 1.0:
        return volume, [_("{mask} does not overlap {scan}: it leaves out nothing.").format(mask=own, scan=scan)]
    warnings: list[str] = []
    if left < 1 - SUSPICIOUS:
        warnings = [
            _(
                "{mask} leaves out {share:.0%} of {scan}. What a mask marks does not count; "
                "if it marks what shall count, invert it."
            ).format(mask=own, share=1 - left, scan=scan)
        ]
    return replace(volume, counted=counted), warnings


def filled(volume: Volume) -> Volume:
    """The scan with a smooth continuation of its surroundings in what does not count; else itself."""
    if volume.counted is None:
        return volume
    around = tuple(
        slice(max(0, int(low) - SURROUNDINGS), int(high) + 1 + SURROUNDINGS)
        for low, high in (_ends(volume.counted, axis) for axis in range(3))
    )
    known = counted_voxels(volume)[0, 0][around][None, None]
    values = as_tensor(volume)[0, 0][around][None, None] * known
    array = volume.array.copy()
    array[around] = _continued(values, known)[0, 0].numpy()
    return replace(volume, array=array)


def _ends(counted: npt.NDArray[np.bool_], axis: int) -> npt.NDArray[np.intp]:
    """First and last index along an axis with something that is left out."""
    others = tuple(other for other in range(3) if other != axis)
    return np.flatnonzero(~counted.all(axis=others))[[0, -1]]


def _continued(values: Tensor, known: Tensor) -> Tensor:
    """Values ``(1, 1, D, H, W)`` where ``known`` is 1, continued where it is 0 by means over ever larger cells.

    The pull-push of Gortler et al., "The Lumigraph" (SIGGRAPH 1996), section 3.4; on each level what is filled in is
    averaged with its neighbors a few times, so that it meets its surroundings without an edge.

    Args:
        values: 0 where they are not known.
        known: 0 or 1; 1 somewhere.
    """
    if bool(known.all()):
        return values
    share = F.avg_pool3d(known, 2, ceil_mode=True)
    cells = F.avg_pool3d(values, 2, ceil_mode=True) / share.clamp(min=1e-6)
    coarse = _continued(cells, (share > 0).to(known.dtype))
    finer = F.interpolate(coarse, size=values.shape[2:], mode="trilinear", align_corners=False)
    continued = torch.where(known > 0, values, finer)
    for _round in range(RELAXATIONS):
        averaged = F.avg_pool3d(F.pad(continued, (1,) * 6, mode="replicate"), 3, 1)
        continued = torch.where(known > 0, values, averaged)
    return continued
