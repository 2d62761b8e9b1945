"""Body and lungs of a CT by thresholds and connected components, for any field of view."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ...core.geometry import ImageGrid
from ...core.images import Label, LabelMap, Volume
from .. import fields
from .resampling import pooled

RIGHT, LEFT = 1, 2
LUNGS = (
    Label(value=RIGHT, name="right lung", color=(0.77, 0.87, 0.96)),
    Label(value=LEFT, name="left lung", color=(0.62, 0.78, 0.92)),
)
_SPACING_MM = 2.5
_BODY_HU = -300.0
_LUNG_HU = -320.0
_EMPTY_HU = -970.0  # median of air around the body and in the bowel; that of emphysema is above it
_LEAST_AREA_MM2 = 4000.0  # of air at the scan's border; a windpipe that the border cuts has less
_AIR_HU = -1000.0
_LUMEN_SHARE = 0.25  # of an airway's section that is nearer to air than to lung; its rim shares voxels with the wall
_AIRWAY_MM2 = 900.0  # section of a windpipe at most
_AIRWAY_MM = 40.0  # a windpipe is longer; ends of lungs whose sections are as small are shorter
_CLOSED_MM = 4.0  # vessels and airway walls that count as lung
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


def lungs_of(scan: Volume) -> LabelMap | None:
    """Lungs of a CT, "right lung" 1 and "left lung" 2, on a grid of 2.5 mm around it; None where it shows none."""
    low, high = scan.grid.corners.min(axis=0), scan.grid.corners.max(axis=0)
    size = np.maximum(np.floor((high - low) / _SPACING_MM).astype(int) + 1, 2)
    grid = ImageGrid.axis_aligned(size.tolist(), (_SPACING_MM,) * 3, low.tolist())
    image, source = pooled(scan, grid)
    # Beyond the scan its border goes on: air that is not there would lay the lungs open.
    values = fields.warp(image, source, fields.identity(grid), padding="border")[0, 0].numpy()
    found = find_lungs(values, grid).astype(np.int16)
    labels = tuple(label for label in LUNGS if (found == label.value).any())
    return LabelMap(found, grid, labels) if labels else None


def find_lungs(values: npt.NDArray[np.float32], grid: ImageGrid) -> npt.NDArray[np.uint8]:
    """Lungs of a CT: 1 the right one, 2 the left one, 0 elsewhere.

    Lung is told from other air by where it lies and by its density: it does not belong to the air around the patient,
    and even in emphysema its median is above that of air and bowel gas. So a scan that is cropped within the lungs,
    or to one of them, is no special case.

    Args:
        values: CT ``(D, H, W)`` HU.
        grid: axis-aligned LPS, spacing of 2 to 5 mm.
    """
    air = (values < _LUNG_HU) & ~_outside(values, grid)
    air &= ~_airways(air, values, grid)
    core = ndimage.binary_opening(air, iterations=2)
    labels, count = ndimage.label(core)
    if count == 0:
        return np.zeros(values.shape, np.uint8)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:] * grid.voxel_volume / 1000
    # Within, where no wall takes part: gas in the bowel is empty there.
    inner = np.where(ndimage.binary_erosion(core, iterations=2), labels, 0)
    density = np.atleast_1d(ndimage.median(values, inner, np.arange(1, count + 1)))
    chosen = np.flatnonzero((sizes >= max(_SMALLEST_ML, 0.05 * sizes.max())) & (density > _EMPTY_HU)) + 1
    grown = ndimage.binary_dilation(np.isin(labels, chosen), iterations=3, mask=air)
    steps = max(1, round(_CLOSED_MM / min(grid.spacing)))
    mask = ndimage.binary_closing(np.pad(grown, steps), iterations=steps)[steps:-steps, steps:-steps, steps:-steps]
    for plane in mask:
        plane[:] = ndimage.binary_fill_holes(plane)
    return _sides(mask, values, grid)


def _outside(values: npt.NDArray[np.float32], grid: ImageGrid) -> npt.NDArray[np.bool_]:
    """Air around the patient, with the table and blankets in it.

    In each transversal slice, what is no body and touches the slice's border where it is as empty as air; how empty
    is judged of all that hangs together at the border of the whole scan. Lungs that a crop lays open at the border
    are denser; and through the airways lungs meet that air in other slices alone.
    """
    thin = values < _BODY_HU
    border = np.zeros(values.shape, bool)
    border[:, [0, -1]] = border[:, :, [0, -1]] = True
    patches, count = ndimage.label(thin & border)
    density = np.atleast_1d(ndimage.median(values, patches, np.arange(1, count + 1))) if count else np.zeros(0)
    areas = np.bincount(patches.ravel(), minlength=count + 1)[1:] * min(grid.spacing) ** 2
    empty = np.isin(patches, np.flatnonzero((density < _EMPTY_HU) & (areas > _LEAST_AREA_MM2)) + 1)
    outside = np.zeros(values.shape, bool)
    for plane, slice_, seeds in zip(outside, thin, empty, strict=True):
        labels, _ = ndimage.label(slice_)
        plane[:] = np.isin(labels, np.setdiff1d(labels[seeds], 0))
    return outside


def _airways(air: npt.NDArray[np.bool_], values: npt.NDArray[np.float32], grid: ImageGrid) -> npt.NDArray[np.bool_]:
    """Windpipe and main bronchi: small sections, darker than lung, that follow each other from slice to slice."""
    sections = np.zeros(air.shape, bool)
    inner = values[ndimage.binary_erosion(air, iterations=2)]
    if not len(inner):
        return sections
    lumen_hu = (float(np.median(inner)) + _AIR_HU) / 2
    for plane, slice_, dark in zip(sections, air, values < lumen_hu, strict=True):
        labels, count = ndimage.label(slice_)
        sizes = np.bincount(labels.ravel(), minlength=count + 1)
        lumen = np.bincount(labels[dark], minlength=count + 1)
        small = (sizes * grid.spacing[0] * grid.spacing[1] <= _AIRWAY_MM2) & (lumen >= _LUMEN_SHARE * sizes)
        small[0] = False
        plane[:] = small[labels]
    labels, _ = ndimage.label(sections)
    long = [
        index + 1
        for index, box in enumerate(ndimage.find_objects(labels))
        if (box[0].stop - box[0].start) * grid.spacing[2] >= _AIRWAY_MM
    ]
    return np.isin(labels, long)


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
