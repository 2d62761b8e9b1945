"""What a registration is measured by. ``before`` is the moving scan as loaded, ``after`` with the transform."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import torch

from . import field as fields
from .field import DisplacementField
from .geometry import ImageGrid
from .images import LabelMap, LandmarkPairs

Mask = npt.NDArray[np.bool_]
CONSISTENCY_VOXELS = 500_000  # inverse consistency is smooth; a coarser grid measures it in a second


def dice(first: Mask, second: Mask) -> float | None:
    """Dice overlap ``2 |A and B| / (|A| + |B|)``, 0..1 (Dice, Ecology 1945); None if both are empty."""
    total = int(first.sum()) + int(second.sum())
    return 2.0 * int((first & second).sum()) / total if total else None


def surface_distances(first: Mask, second: Mask, grid: ImageGrid) -> tuple[float, float] | None:
    """Average symmetric surface distance and 95th percentile Hausdorff distance, both in mm.

    Distances from each surface voxel of one structure to the surface of the other, by SimpleITK's distance map in
    physical units; ASD is the mean of both directions' pooled distances, HD95 the larger of their 95th percentiles
    (as MONAI defines it). None if either structure is empty.
    """
    if not first.any() or not second.any():
        return None
    region = _bounding_box(first | second)
    images = [_image(mask[region], grid) for mask in (first, second)]
    surfaces = [sitk.LabelContour(image, fullyConnected=False) for image in images]
    distances = []
    for surface, other in ((surfaces[0], surfaces[1]), (surfaces[1], surfaces[0])):
        distance = sitk.Abs(sitk.SignedMaurerDistanceMap(other, squaredDistance=False, useImageSpacing=True))
        distances.append(sitk.GetArrayViewFromImage(distance)[sitk.GetArrayViewFromImage(surface) > 0])
    pooled = np.concatenate(distances)
    return float(pooled.mean()), float(max(np.percentile(values, 95) for values in distances))


def label_overlap(
    fixed: LabelMap, before: LabelMap, after: LabelMap, shared: tuple[tuple[int, int], ...]
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Dice, ASD (mm) and HD95 (mm) of each shared structure before and after, keyed by measure and name.

    Args:
        fixed: fixed segmentation.
        before: moving segmentation as loaded, on the fixed grid.
        after: moving segmentation with the transform, on the fixed grid.
        shared: pairs of values (fixed, moving).
    """
    names = {label.value: label.name for label in fixed.labels}
    table: dict[str, dict[str, dict[str, float | None]]] = {"dice": {}, "asd_mm": {}, "hd95_mm": {}}
    for fixed_value, moving_value in shared:
        name = names.get(fixed_value, f"label {fixed_value}")
        target = fixed.mask(fixed_value)
        for when, labels in (("before", before), ("after", after)):
            moved = labels.mask(moving_value)
            distances = surface_distances(target, moved, fixed.grid)
            table["dice"].setdefault(name, {})[when] = dice(target, moved)
            table["asd_mm"].setdefault(name, {})[when] = distances[0] if distances else None
            table["hd95_mm"].setdefault(name, {})[when] = distances[1] if distances else None
    return table


def landmark_errors(field: DisplacementField, landmarks: LandmarkPairs) -> npt.NDArray[np.float64]:
    """Target registration error ``|y(p_fixed) - p_moving|`` of each landmark pair, mm (Fitzpatrick, TMI 2001)."""
    moved = fields.transform_points(field, torch.from_numpy(landmarks.fixed)).numpy()
    return np.linalg.norm(moved - landmarks.moving, axis=1)


def summarize_errors(errors: npt.NDArray[np.float64]) -> dict[str, float]:
    """Mean, standard deviation, 75th percentile and maximum, in the unit of the errors."""
    return {
        "mean": float(errors.mean()),
        "std": float(errors.std()),
        "p75": float(np.percentile(errors, 75)),
        "max": float(errors.max()),
    }


def jacobian_statistics(determinant: npt.NDArray[np.floating]) -> dict[str, float | None]:
    """Statistics of det J over a grid ``(D, H, W)``: no unit, fold_percent in percent of all voxels.

    ``sdlogj`` is the standard deviation of log det J over det J > 0. ``sdlogj_learn2reg`` is the one of the
    Learn2Reg challenge: of ``log(clip(det J + 3, 1e-9, 1e9))`` without a border of two voxels (Hering et al., TMI
    2022); the two are never comparable. None where no voxel is left to count.
    """
    values = determinant.astype(np.float64)
    positive = values[values > 0]
    inner = values[2:-2, 2:-2, 2:-2]
    return {
        "min": float(values.min()),
        "max": float(values.max()),
        "std": float(values.std()),
        "fold_percent": 100.0 * float((values <= 0).mean()),
        "sdlogj": float(np.log(positive).std()) if positive.size else None,
        "sdlogj_learn2reg": float(np.log(np.clip(inner + 3, 1e-9, 1e9)).std()) if inner.size else None,
    }


def inverse_consistency(field: DisplacementField) -> dict[str, Any]:
    """How far the map misses each point when applied after its numerical inverse, mm: mean and 95th percentile.

    Measured on the field's own box, coarsened to about half a million voxels, where the way leads out of the box
    and back left out. Large where the map folds, since no inverse exists there.
    """
    grid = field.grid
    while np.prod(grid.size) > CONSISTENCY_VOXELS:
        grid = grid.with_spacing([spacing * 1.26 for spacing in grid.spacing])
    inverse = fields.invert(fields.resample(field, grid))
    landed = np.moveaxis((fields.points(grid) + inverse.field.displacement)[0].numpy(), 0, -1)
    counted = inverse.residual_mm[0, 0].numpy()[grid.contains(landed)]
    if not counted.size:
        return {"mean": None, "p95": None, "method": "numerical inverse"}
    return {"mean": float(counted.mean()), "p95": float(np.percentile(counted, 95)), "method": "numerical inverse"}


def match_labels(fixed: LabelMap, moving: LabelMap) -> tuple[tuple[int, int], ...]:
    """Pairs of label values (fixed, moving) of the structures that both have: by name, else by value."""
    by_name = {label.name.casefold(): label.value for label in moving.labels}
    pairs = [
        (label.value, by_name[label.name.casefold()]) for label in fixed.labels if label.name.casefold() in by_name
    ]
    if not pairs:
        values = {label.value for label in moving.labels}
        pairs = [(label.value, label.value) for label in fixed.labels if label.value in values]
    return tuple(pairs)


def _bounding_box(mask: Mask) -> tuple[slice, ...]:
    """Slices around a mask with a rim of one voxel where the array has it."""
    slices = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        where = np.flatnonzero(mask.any(axis=others))
        slices.append(slice(max(int(where[0]) - 1, 0), int(where[-1]) + 2))
    return tuple(slices)


def _image(mask: Mask, grid: ImageGrid) -> sitk.Image:
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(grid.spacing)
    return image
