"""How alike the scans are where both have data, where they are not, and whether they would fit better beside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.geometry import ImageGrid
from ...core.images import Volume
from ...core.measures import Change, SimilarityMetrics
from .. import fields
from ..fields import DisplacementField, as_tensor, averaged, counted_voxels
from ..losses.stencils import box_sum
from .overlap import bounding_box

SPACING_MM = 2.5  # finer voxels are averaged to about this: fine enough for organs' edges, and measured in a second
MOST_VOXELS = 1_000_000
WINDOW_MM = 17.5
SHIFTS_MM = (5.0, 10.0)  # beyond the tolerance of TG-132, within reach of a window
BINS = 32
FLAT = 0.01  # of the variance of the whole scan: a window with less holds noise, nothing to compare
ALL_COUNTED = 0.99  # of the voxels that a value is made of: it holds nothing that a mask leaves out
SMALLEST_VARIANCE = 1e-20
FILLED = 0.5  # share of a window that both scans must cover

Warped = tuple[Tensor, Tensor, Tensor]
"""The moving scan through a map, 0 where it has no data; where it has data, and where they count."""


@dataclass(frozen=True, eq=False)
class Similarity:
    """Similarity of two scans under a map.

    Args:
        local_ncc: mean of :attr:`local`, 0..1; None if no window counts.
        mutual_information: nats; None without overlap.
        overlap_percent: share of the fixed scan's voxels that the moving scan has data for.
        local: squared local correlation of each window, 0..1, NaN where neither scan has an edge, or one has no data
            or is left out.
    """

    local_ncc: float | None
    mutual_information: float | None
    overlap_percent: float
    local: Volume


def similarity_metrics(
    fixed: Volume, moving: Volume, field: DisplacementField
) -> tuple[SimilarityMetrics, Similarity]:
    """Similarity as loaded and with the transform, and more of the latter."""
    inputs = _prepare(fixed, moving)
    coarse = fields.resample(field, inputs[0].grid)
    before = _compare(inputs[0], _warped(inputs[1], fields.identity(inputs[0].grid)))
    warped = _warped(inputs[1], coarse)
    after = _compare(inputs[0], warped)
    found = SimilarityMetrics(
        local_ncc=Change(before=before.local_ncc, after=after.local_ncc),
        mutual_information=Change(before=before.mutual_information, after=after.mutual_information),
        in_place_percent=_in_place_percent(inputs[0], warped, after.local),
        overlap_percent=Change(before=before.overlap_percent, after=after.overlap_percent),
    )
    return found, after


def scan_similarity(fixed: Volume, moving: Volume, field: DisplacementField) -> Similarity:
    """Similarity of the fixed scan and the moving scan warped by a map.

    Local NCC is the square of the correlation coefficient within a cube of about 17.5 mm (Avants et al., MedIA 2008):
    it knows no gain, no offset and no sign of contrast, so that it serves scans of two modalities too. Mutual
    information is that of the joint histogram of 32 x 32 bins (Maes et al., TMI 1997). Both are taken where both
    scans have data that no mask leaves out, on voxels averaged to about 2.5 mm.
    """
    inputs = _prepare(fixed, moving)
    return _compare(inputs[0], _warped(inputs[1], fields.resample(field, inputs[0].grid)))


def in_place_percent(fixed: Volume, moving: Volume, field: DisplacementField) -> float | None:
    """Share of the windows that fit best where the map puts them, %; None if no window counts.

    A window of the local NCC is in place if no shift by 5 or 10 mm along an axis of the fixed scan makes it fit
    better. A right map leaves few windows that would rather be elsewhere, a map that is beside the truth leaves many,
    however plausible it is (after Saygili, Staring and Hendriks, TMI 2016, who read the confidence in a match from
    the costs around it). Like any similarity, it cannot tell right structures from wrong ones that look the same.
    """
    inputs = _prepare(fixed, moving)
    warped = _warped(inputs[1], fields.resample(field, inputs[0].grid))
    return _in_place_percent(inputs[0], warped, _compare(inputs[0], warped).local)


def _prepare(fixed: Volume, moving: Volume) -> tuple[Volume, Volume]:
    spacing = SPACING_MM * max(1.0, (_voxels_at(fixed.grid, SPACING_MM) / MOST_VOXELS) ** (1 / 3))
    return _averaged(fixed, spacing), _averaged(moving, spacing)


def _voxels_at(grid: ImageGrid, spacing: float) -> float:
    return float(np.prod([edge / max(own, spacing) for edge, own in zip(grid.extent, grid.spacing, strict=True)]))


def _averaged(volume: Volume, spacing: float) -> Volume:
    """Robust range of intensities, voxels averaged to about a spacing."""
    low, high = np.percentile(volume.array[::2, ::2, ::2], (0.5, 99.5))
    if high <= low:
        low, high = float(volume.array.min()), float(volume.array.max())
    factors = [
        min(max(1, round(spacing / own)), size)
        for own, size in zip(volume.grid.spacing, volume.grid.size, strict=True)
    ]
    pooled = averaged(volume, factors, (float(low), float(high)))
    counted = None
    if volume.counted is not None:
        counted = (F.avg_pool3d(counted_voxels(volume), factors[::-1])[0, 0] > ALL_COUNTED).numpy()
    return Volume(pooled[0, 0].numpy(), volume.grid.coarser(factors), counted)


def _compare(fixed: Volume, moving: Warped) -> Similarity:
    warped, covered, counts = moving
    counts = counts & _counted(fixed)
    local = _local_correlation(as_tensor(fixed), warped, counts, _window(fixed.grid))
    counted = local[torch.isfinite(local)]
    first, second = fixed.array[counts[0, 0].numpy()], warped[counts].numpy()
    return Similarity(
        local_ncc=float(counted.mean()) if counted.numel() else None,
        mutual_information=_mutual_information(first, second) if first.size else None,
        overlap_percent=100.0 * float(covered.float().mean()),
        local=Volume(local[0, 0].numpy(), fixed.grid),
    )


def _in_place_percent(fixed: Volume, moving: Warped, local: Volume) -> float | None:
    """As :func:`in_place_percent`, of the correlation of each window where the map puts it."""
    warped, _, counts = moving
    target, target_counts, window = as_tensor(fixed), _counted(fixed), _window(fixed.grid)
    here = as_tensor(local)
    counted = torch.isfinite(here)
    in_place = torch.ones_like(counted)
    for dimension, spacing in zip((4, 3, 2), fixed.grid.spacing, strict=True):
        steps = {max(1, round(length / spacing)) for length in SHIFTS_MM}
        for step in sorted(steps | {-step for step in steps}):
            if abs(step) < warped.shape[dimension]:
                moved = _shifted(warped, step, dimension)
                both = _shifted(counts, step, dimension) & target_counts
                there = _local_correlation(target, moved, both, window)
                counted &= torch.isfinite(there)
                in_place &= here >= there
    return 100.0 * float((in_place & counted).sum()) / float(counted.sum()) if bool(counted.any()) else None


def _shifted(image: Tensor, step: int, dimension: int) -> Tensor:
    """The image moved by some voxels along a dimension; zeros come in at the border."""
    result = torch.zeros_like(image)
    length = image.shape[dimension] - abs(step)
    source = image.narrow(dimension, max(-step, 0), length)
    result.narrow(dimension, max(step, 0), length).copy_(source)
    return result


def _warped(moving: Volume, field: DisplacementField) -> Warped:
    """The moving scan through a map, 0 where it has no data; where it has data, and where they count."""
    warped = fields.warp(as_tensor(moving), moving.grid, field, fill=float("nan"))
    covered = torch.isfinite(warped)
    counts = covered
    if moving.counted is not None:
        counts = covered & (fields.warp(counted_voxels(moving), moving.grid, field) > ALL_COUNTED)
    return warped.nan_to_num(0.0), covered, counts


def _counted(volume: Volume) -> Tensor:
    return counted_voxels(volume) > ALL_COUNTED


def _window(grid: ImageGrid) -> int:
    """Voxels along an edge of the window: odd, about 17.5 mm."""
    return 2 * max(1, round(WINDOW_MM / float(np.mean(grid.spacing)) / 2 - 0.5)) + 1


def _local_correlation(fixed: Tensor, warped: Tensor, covered: Tensor, window: int) -> Tensor:
    """Squared correlation in a cube over the voxels that both cover, ``(1, 1, D, H, W)``; NaN where undefined."""
    result = torch.full_like(fixed, float("nan"))
    if not bool(covered.any()):
        return result
    box = (slice(None), slice(None), *bounding_box(covered[0, 0].numpy()))  # beyond it nothing has a weight
    weight = covered[box].to(fixed.dtype)
    (first, first_variance), (second, second_variance) = (_centered(image[box], weight) for image in (fixed, warped))
    flat = (FLAT * first_variance, FLAT * second_variance)
    local = _squared_correlation(first, second, weight, window, flat)
    result[box] = local.masked_fill_(~covered[box], float("nan"))
    return result


def _centered(image: Tensor, weight: Tensor) -> tuple[Tensor, float]:
    """The image less its mean, 0 where it does not count, and its variance.

    Centered first: differences of sums of raw HU would not be accurate in float32.
    """
    number = max(float(weight.sum(dtype=torch.float64)), 1.0)
    mean = float((image * weight).sum(dtype=torch.float64)) / number
    centered = (image - mean).mul_(weight)
    return centered, float(centered.square().sum(dtype=torch.float64)) / number


def _squared_correlation(
    first: Tensor, second: Tensor, weight: Tensor, window: int, flat: tuple[float, float]
) -> Tensor:
    """Of two centered images; NaN where the window is not filled, or both vary by no more than what is flat."""
    count = box_sum(weight, window)
    share = count.clamp_min(1).reciprocal_()
    means = [box_sum(image, window).mul_(share) for image in (first, second)]

    def moment(one: int, other: int) -> Tensor:
        images = (first, second)
        total = box_sum(images[one] * images[other], window)
        return total.mul_(share).addcmul_(means[one], means[other], value=-1)

    variances = [moment(0, 0), moment(1, 1)]
    undefined = (count < FILLED * window**3) | ((variances[0] <= flat[0]) & (variances[1] <= flat[1]))
    squared = moment(0, 1).square_()
    for variance, least in zip(variances, flat, strict=True):
        squared.div_(variance.clamp_min_(max(least, SMALLEST_VARIANCE)))
    return squared.clamp_(max=1).masked_fill_(undefined, float("nan"))


def _mutual_information(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> float:
    bins = [_binned(values) for values in (first, second)]
    joint = np.bincount(bins[0] * BINS + bins[1], minlength=BINS * BINS).reshape(BINS, BINS) / first.size
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    present = joint > 0
    return float((joint[present] * np.log(joint[present] / independent[present])).sum())


def _binned(values: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    low, high = float(values.min()), float(values.max())
    return ((values - low) * (BINS / max(high - low, 1e-12))).astype(np.int64).clip(0, BINS - 1)
