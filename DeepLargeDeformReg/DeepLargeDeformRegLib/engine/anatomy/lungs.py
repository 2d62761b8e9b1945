"""Body and lungs of a CT by thresholds and connected components, for any field of view."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ...core.geometry import ImageGrid

RIGHT, LEFT = 1, 2
_BODY_HU = -300.0
_LUNG_HU = (-950.0, -400.0)  # low-passed lung; air around the body, in the airways and the bowel lies below
_DENSE_HU = -250.0  # vessels and dense parts within are closed over
_SMALLEST_ML = 60.0
_SPLIT_SHARE = 0.25  # of a component's volume on the smaller side of the midline: then it is both lungs


def find_body(values: npt.NDArray[np.float32], grid: ImageGrid) -> npt.NDArray[np.bool_]:
    """The patient without table and blankets, with lungs and bowel gas filled.

    Args:
        values: CT ``(D, H, W)`` HU.
        grid: axis-aligned LPS, spacing of 2 to 5 mm.
    """
    steps = max(1, round(6.0 / min(grid.spacing)))
    solid = ndimage.binary_opening(values > _BODY_HU, iterations=steps)
    labels, count = ndimage.label(solid)
    if count == 0:
        return np.zeros(values.shape, bool)
    sizes = np.bincount(labels.ravel())[1:]
    body = np.isin(labels, np.flatnonzero(sizes >= 0.2 * sizes.max()) + 1)
    for plane in body:  # a transversal slice holds the lungs within closed walls
        plane[:] = ndimage.binary_fill_holes(plane)
    return body


def find_lungs(values: npt.NDArray[np.float32], grid: ImageGrid) -> npt.NDArray[np.uint8]:
    """Lungs of a CT: 1 the right one, 2 the left one, 0 elsewhere.

    Lung is told from other air by its density: low-passed, it lies between -950 and -400 HU in a thick body, where
    air around the patient, in airways and in the bowel is emptier and partial volume at walls is thin. So a scan that
    is cropped within the lungs, or to one of them, is no special case.

    Args:
        values: CT ``(D, H, W)`` HU.
        grid: axis-aligned LPS, spacing of 2 to 5 mm.
    """
    smooth = ndimage.gaussian_filter(values, [2.0 / s for s in reversed(grid.spacing)], mode="nearest")
    inside = ~_outside(values, smooth)
    lung = (smooth > _LUNG_HU[0]) & (smooth < _LUNG_HU[1]) & inside
    steps = max(1, round(5.0 / min(grid.spacing)))
    core = ndimage.binary_opening(lung, iterations=steps)
    grown = ndimage.binary_dilation(core, iterations=steps, mask=(smooth < _DENSE_HU) & inside)
    labels, count = ndimage.label(grown)
    found = np.zeros(values.shape, np.uint8)
    if count == 0:
        return found
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:] * grid.voxel_volume / 1000
    chosen = np.flatnonzero(sizes >= max(_SMALLEST_ML, 0.05 * sizes.max())) + 1
    if len(chosen) == 0:
        return found
    mask = np.isin(labels, chosen)
    mask = ndimage.binary_closing(np.pad(mask, steps), iterations=steps)[steps:-steps, steps:-steps, steps:-steps]
    for plane in mask:
        plane[:] = ndimage.binary_fill_holes(plane)
    return _sides(mask, values, grid)


def _outside(values: npt.NDArray[np.float32], smooth: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Air around the patient, with the table and blankets in it.

    In each transversal slice, what is no body and touches the slice's border where it is as empty as air. Lungs that
    a crop lays open at the border are not; and through the airways lungs meet that air in other slices alone.
    """
    outside = np.zeros(values.shape, bool)
    for plane, thin, dense in zip(outside, values, smooth, strict=True):
        labels, count = ndimage.label(thin < _BODY_HU)
        border = np.zeros(plane.shape, bool)
        border[[0, -1]] = border[:, [0, -1]] = True
        touching = np.bincount(labels[border], minlength=count + 1)[1:]
        empty = np.bincount(labels[border & (dense < _LUNG_HU[0])], minlength=count + 1)[1:]
        plane[:] = np.isin(labels, np.flatnonzero((touching > 0) & (2 * empty > touching)) + 1)
    return outside


def _sides(mask: npt.NDArray[np.bool_], values: npt.NDArray[np.float32], grid: ImageGrid) -> npt.NDArray[np.uint8]:
    """Right and left by each part's side of the body's middle; what reaches across is cut where it is thinnest."""
    body = find_body(values, grid)
    columns = np.flatnonzero(body.any(axis=(0, 1)))
    middle = (columns[0] + columns[-1]) / 2 if len(columns) else (mask.shape[2] - 1) / 2
    labels, count = ndimage.label(mask)
    sides = np.zeros(mask.shape, np.uint8)
    index = np.arange(mask.shape[2])
    for part in range(1, count + 1):
        where = labels == part
        profile = where.sum(axis=(0, 1))
        right = profile[index < middle].sum()
        if min(right, profile.sum() - right) > _SPLIT_SHARE * profile.sum():
            reach = 0.2 * (columns[-1] - columns[0]) if len(columns) else 0
            near = np.flatnonzero(np.abs(index - middle) <= reach)
            cut = near[int(np.argmin(ndimage.gaussian_filter1d(profile.astype(float), 2)[near]))]
            sides[where & (index < cut)] = RIGHT
            sides[where & (index >= cut)] = LEFT
        else:
            sides[where] = RIGHT if 2 * right > profile.sum() else LEFT
    return sides
