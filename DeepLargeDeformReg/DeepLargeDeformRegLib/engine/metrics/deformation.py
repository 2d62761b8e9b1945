"""Whether a map is plausible: its Jacobian determinant, its folds, its inverse consistency."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from ...core.geometry import ImageGrid
from ...core.images import LabelMap, Volume
from ...core.measures import ConsistencyMetrics, Fold, JacobianStatistics
from ...core.progress import Monitor
from .. import fields
from ..fields import DisplacementField
from .overlap import bounding_box
from .statistics import Moments, parts_of, percentiles, planes_of

CONSISTENCY_VOXELS = 250_000  # inverse consistency is smooth; a coarser grid measures it in a second
INVERSION_STEPS = 30
INVERSION_TOLERANCE_MM = 0.05
LISTED_FOLDS = 20


def jacobian_statistics(
    determinant: npt.NDArray[np.floating], mask: npt.NDArray[np.bool_] | None = None
) -> JacobianStatistics:
    """Statistics of det J over a grid ``(D, H, W)``, or over its voxels in a mask: no unit.

    ``fold_percent`` is the share of voxels with det J <= 0, in percent; ``p1`` and ``p99`` are percentiles.
    ``sdlogj`` is the standard deviation of log det J over det J > 0 (Leow et al., TMI 2007). ``sdlogj_learn2reg`` is
    the one of the Learn2Reg challenge: of ``log(clip(det J + 3, 1e-9, 1e9))`` without a border of two voxels (Hering
    et al., TMI 2022); the two are never comparable. None where no voxel is left to count.
    """
    values, logs = Moments(1.0), Moments()
    least, most = np.inf, -np.inf
    parts = parts_of(determinant, mask)
    for part in parts():
        if part.size:
            values.add(part)
            logs.add(np.log(part[part > 0], dtype=np.float64))
            least, most = np.minimum(least, part.min()), np.maximum(most, part.max())  # both hand on NaN
    if not values.count:
        return JacobianStatistics()
    inner, shifted = (slice(2, -2),) * 3, Moments(np.log(4.0))
    for part in parts_of(determinant[inner], None if mask is None else mask[inner])():
        shifted.add(np.log(np.clip(part.astype(np.float64) + 3, 1e-9, 1e9)))
    low, high = percentiles(parts, (1, 99)) if np.isfinite(values.mean) else (float("nan"),) * 2
    return JacobianStatistics(
        min=float(least),
        max=float(most),
        std=values.std,
        p1=low,
        p99=high,
        fold_percent=100.0 * (1 - logs.count / values.count),  # what is no number is no map either
        sdlogj=logs.std if logs.count else None,
        sdlogj_learn2reg=shifted.std if shifted.count else None,
    )


def fold_regions(jacobian: Volume, labels: LabelMap | None = None) -> tuple[tuple[Fold, ...], int]:
    """Connected regions of det J <= 0 (voxels that share a face, an edge or a corner), largest first.

    Args:
        jacobian: det J.
        labels: fixed segmentation, to name the structure that a region lies in.

    Returns:
        The largest ones, at most 20 and the deepest one always among them; and how many regions there are in all.
    """
    folded = [place for place in planes_of(jacobian.array) if (jacobian.array[place] <= 0).any()]
    if not folded:
        return (), 0
    planes = slice(folded[0].start, folded[-1].stop)
    box = bounding_box(jacobian.array[planes] <= 0)
    box = (slice(box[0].start + planes.start, box[0].stop + planes.start), *box[1:])
    values = jacobian.array[box]
    regions, count = ndimage.label(values <= 0, structure=np.ones((3, 3, 3)))
    voxels = np.bincount(regions.ravel(), minlength=count + 1)[1:]
    listed = np.argsort(-voxels, kind="stable")[:LISTED_FOLDS] + 1
    deepest = regions[np.unravel_index(int(values.argmin()), regions.shape)]
    if deepest not in listed:
        listed[-1] = deepest
    places = ndimage.minimum_position(values, regions, listed)
    rows = []
    for region, place in zip(listed, places, strict=True):
        point = jacobian.grid.to_physical((np.array(place) + [side.start for side in box])[::-1])
        rows.append(
            Fold(
                volume_mm3=float(voxels[region - 1]) * jacobian.grid.voxel_volume,
                worst=float(values[place]),
                point_lps=(float(point[0]), float(point[1]), float(point[2])),
                structure=None if labels is None else structure_at(labels, point),
            )
        )
    return tuple(rows), int(count)


def structure_at(labels: LabelMap, point: npt.NDArray[np.float64]) -> str | None:
    """Name of the structure at an LPS point; None on the background and outside of the label map."""
    index = np.round(labels.grid.to_index(point)).astype(int)
    if np.any(index < 0) or np.any(index >= labels.grid.size):
        return None
    value = int(labels.array[index[2], index[1], index[0]])
    return next((label.name for label in labels.labels if label.value == value), None) if value else None


def inverse_consistency(field: DisplacementField, backward: DisplacementField | None = None) -> ConsistencyMetrics:
    """How far a point misses itself after the way there and back, mm (Christensen and Johnson, TMI 2001).

    Without a backward map, its numerical inverse takes the place: the error is then that of the inversion, large
    where the map folds, since no inverse exists there, and it says nothing about accuracy. Measured on a grid of
    about a quarter of a million voxels; points that the map leads out of the other grid are left out.

    Args:
        field: fixed to moving.
        backward: moving to fixed, from a registration of its own in that direction.

    Returns:
        Mean, 95th percentile and maximum in mm, None if no voxel counts.
    """
    return summarize_consistency(consistency_map(field, backward), backward is not None)


def summarize_consistency(error: Volume, backward_run: bool) -> ConsistencyMetrics:
    """What :func:`inverse_consistency` returns, of a map of the error."""
    counted = error.array[np.isfinite(error.array)]
    source = "backward run" if backward_run else "numerical inverse"
    if not counted.size:
        return ConsistencyMetrics(source=source)
    p95 = float(np.percentile(counted, 95))
    return ConsistencyMetrics(mean=float(counted.mean()), p95=p95, max=float(counted.max()), source=source)


def consistency_map(
    field: DisplacementField, backward: DisplacementField | None = None, monitor: Monitor | None = None
) -> Volume:
    """Inverse consistency error in mm at points of the fixed scan, on a coarse grid; NaN where it is not defined.

    The error at x is ``|b(y(x)) - x|`` for a backward map b, its numerical inverse without one. It is not defined
    where y leads out of the grid of the backward map.
    """
    forward = fields.resample(field, coarse_grid(field.grid, CONSISTENCY_VOXELS))
    if backward is None:
        backward = fields.invert(forward, _reached(forward), INVERSION_STEPS, INVERSION_TOLERANCE_MM, monitor).field
    landed = fields.points(forward.grid) + forward.displacement
    outside = ~torch.from_numpy(backward.grid.contains(np.moveaxis(landed[0].numpy(), 0, -1)))
    error = fields.lengths(fields.compose(backward, forward).displacement)[0, 0]
    return Volume(error.masked_fill(outside, float("nan")).numpy(), forward.grid)


def _reached(field: DisplacementField) -> ImageGrid:
    """Grid of about the same voxels on the box that a field leads into, but for the farthest 1 % of its points."""
    landed = (fields.points(field.grid) + field.displacement)[0].reshape(3, -1).numpy()
    index = field.grid.to_index(landed.T)
    low, high = np.percentile(index, (0.5, 99.5), axis=0)
    extent = np.maximum(high - low, 1.0)
    size = np.array(field.grid.size)
    spacing = np.array(field.grid.spacing) * extent / np.maximum(size - 1, 1)
    origin = field.grid.to_physical(low)
    return ImageGrid(field.grid.size, tuple(spacing), tuple(origin), field.grid.direction)


def coarse_grid(grid: ImageGrid, voxels: int) -> ImageGrid:
    """The grid itself, or a coarser one of the same box with at most so many voxels."""
    while np.prod(grid.size) > voxels:
        grid = grid.with_spacing([spacing * 1.26 for spacing in grid.spacing])
    return grid
