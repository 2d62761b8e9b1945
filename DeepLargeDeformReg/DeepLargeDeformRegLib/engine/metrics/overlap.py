"""Overlap, surface distances and volumes of structures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ...core.geometry import ImageGrid
from ...core.images import LabelMap
from ...core.measures import Change, StructureMetrics, Volumes
from ...core.metrics import WorstPlace

Mask = npt.NDArray[np.bool_]
Box = tuple[slice, slice, slice]


class SurfaceDistances(NamedTuple):
    """Distances between the surfaces of two structures, mm.

    Args:
        average: average symmetric surface distance (ASD): the mean of both directions' pooled distances (Heimann et
            al., TMI 2009).
        hausdorff95: the larger of both directions' 95th percentiles (HD95), as MONAI defines it.
        hausdorff: Hausdorff distance (HD): the largest distance in either direction (Huttenlocher et al., PAMI 1993).
        farthest: voxel (z, y, x) of the surface point that has it.
    """

    average: float
    hausdorff95: float
    hausdorff: float
    farthest: tuple[int, int, int]


def dice(first: Mask, second: Mask) -> float | None:
    """Dice overlap ``2 |A and B| / (|A| + |B|)``, 0..1 (Dice, Ecology 1945); None if both are empty."""
    total = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    return 2.0 * int(np.count_nonzero(first & second)) / total if total else None


def dice30(values: Iterable[float]) -> float | None:
    """Mean Dice of the lowest 30 % of the cases of a cohort: how it does where it does worst (Hering et al., 2021).

    Of n cases the ``ceil(0.3 n)`` lowest count. None without cases.
    """
    ordered = np.sort(np.fromiter(values, dtype=np.float64))
    return float(ordered[: int(np.ceil(0.3 * len(ordered) - 1e-9))].mean()) if len(ordered) else None


def surface_distances(first: Mask, second: Mask, grid: ImageGrid) -> SurfaceDistances | None:
    """Distances between the surface voxels of two structures, mm, in the grid's own spacing.

    The surface of a structure are its voxels with a face on the outside (the border of the array counts as outside,
    as in MONAI). Distances are those of SimpleITK's exact Euclidean distance map (Maurer et al., PAMI 2003), between
    voxel centers. None if either structure is empty.
    """
    if not first.any() or not second.any():
        return None
    region = bounding_box(first | second)
    surfaces = [_surface(mask[region]) for mask in (first, second)]
    distances = [_distance_to(surfaces[1 - side], grid)[surfaces[side]] for side in (0, 1)]
    side = int(distances[1].max() > distances[0].max())
    farthest = np.argwhere(surfaces[side])[int(distances[side].argmax())] + [part.start for part in region]
    return SurfaceDistances(
        average=float(sum(one.sum(dtype=np.float64) for one in distances)) / sum(one.size for one in distances),
        hausdorff95=float(max(np.percentile(one, 95) for one in distances)),
        hausdorff=float(distances[side].max()),
        farthest=(int(farthest[0]), int(farthest[1]), int(farthest[2])),
    )


def label_overlap(
    fixed: LabelMap, before: LabelMap, after: LabelMap, moving: LabelMap, shared: tuple[tuple[int, int], ...]
) -> tuple[dict[str, StructureMetrics], WorstPlace | None]:
    """Overlap, surface distances and volumes of each shared structure, by the name of the fixed one.

    Args:
        fixed: fixed segmentation.
        before: moving segmentation as loaded, on the fixed grid.
        after: moving segmentation with the transform, on the fixed grid.
        moving: moving segmentation on its own grid, for its volumes.
        shared: pairs of values (fixed, moving).

    Returns:
        The structures, None where one is empty; and where the largest Hausdorff distance after registration is.
    """
    names = {label.value: label.name for label in fixed.labels}
    boxes = [_boxes(labels) for labels in (fixed, before, after)]
    structures: dict[str, StructureMetrics] = {}
    worst: WorstPlace | None = None
    for fixed_value, moving_value in shared:
        name = names.get(fixed_value, f"label {fixed_value}")
        overlaps, distances = [], []
        for labels, places in ((before, boxes[1]), (after, boxes[2])):
            region = _around(boxes[0].get(fixed_value), places.get(moving_value))
            target, moved = (_part(one, region, v) for one, v in ((fixed, fixed_value), (labels, moving_value)))
            overlaps.append(dice(target, moved))
            distances.append(surface_distances(target, moved, fixed.grid))
        found = distances[1]
        if found is not None and (worst is None or found.hausdorff > worst.value):
            index = np.array(found.farthest) + [part.start for part in region]
            x, y, z = (float(value) for value in fixed.grid.to_physical(index[::-1]))
            worst = WorstPlace(measure="hd_mm", value=found.hausdorff, point_lps=(x, y, z), structure=name)
        volumes = Volumes(
            fixed=volume_ml(fixed, fixed_value),
            moving=volume_ml(moving, moving_value),
            warped=volume_ml(after, moving_value),
        )
        structures[name] = StructureMetrics(
            dice=Change(before=overlaps[0], after=overlaps[1]),
            asd_mm=_change([one and one.average for one in distances]),
            hd95_mm=_change([one and one.hausdorff95 for one in distances]),
            hd_mm=_change([one and one.hausdorff for one in distances]),
            volume_ml=volumes,
            volume_change_percent=100.0 * (volumes.moving / volumes.fixed - 1)
            if volumes.fixed and volumes.moving is not None
            else None,
        )
    return structures, worst


def _change(values: list[float | None]) -> Change:
    before, after = values
    return Change(before=before, after=after)


def volume_ml(labels: LabelMap, value: int) -> float:
    """Volume of a structure, ml: its voxels times the volume of one."""
    return int(np.count_nonzero(labels.mask(value))) * labels.grid.voxel_volume / 1000.0


def bounding_box(mask: Mask) -> Box:
    """Smallest slices that hold all of a mask, which must not be empty."""
    ends = []
    for axis in range(3):
        where = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        ends.append(slice(int(where[0]), int(where[-1]) + 1))
    return ends[0], ends[1], ends[2]


def _part(labels: LabelMap, region: Box, value: int) -> Mask:
    """Voxels of a structure within a box, those that it shares with others among them."""
    inside = [layer[region] == value for layer in labels.layers or (labels.array,)]
    return np.logical_or.reduce(inside)


def _boxes(labels: LabelMap) -> dict[int, Box]:
    """Bounding box of each label, all of a layer in one pass."""
    boxes: dict[int, Box] = {}
    for layer in labels.layers or (labels.array,):
        statistics = sitk.LabelShapeStatisticsImageFilter()
        statistics.ComputePerimeterOff()
        statistics.Execute(sitk.GetImageFromArray(layer))
        for value in statistics.GetLabels():
            x, y, z, width, height, depth = statistics.GetBoundingBox(value)
            boxes[int(value)] = (slice(z, z + depth), slice(y, y + height), slice(x, x + width))
    return boxes


def _around(first: Box | None, second: Box | None) -> Box:
    """Smallest box around both; an empty one without either."""
    boxes = [box for box in (first, second) if box is not None]
    if not boxes:
        return slice(0, 0), slice(0, 0), slice(0, 0)
    ends = [slice(min(box[a].start for box in boxes), max(box[a].stop for box in boxes)) for a in range(3)]
    return ends[0], ends[1], ends[2]


def _surface(mask: Mask) -> Mask:
    inner = np.pad(mask, 1)
    eroded = mask.copy()
    for axis in range(3):
        for shift in (0, 2):
            part = [slice(1, -1)] * 3
            part[axis] = slice(shift, shift + mask.shape[axis])
            eroded &= inner[tuple(part)]
    return mask & ~eroded


def _distance_to(surface: Mask, grid: ImageGrid) -> npt.NDArray[np.float32]:
    """Distance of each voxel to the nearest voxel of a surface, mm."""
    # A rim of background: a thin structure may be all surface and fill its box, and the filter needs an outside.
    image = sitk.GetImageFromArray(np.pad(surface, 1).astype(np.uint8))
    image.SetSpacing(grid.spacing)
    distance = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
    return np.abs(sitk.GetArrayFromImage(distance)[1:-1, 1:-1, 1:-1])
