"""What the report looks at, gathered from a registration: scans, map, structures, and where to look."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import torch
from scipy import ndimage

from ..core.images import LabelMap, Pair, Volume
from ..core.labels import shared_structures
from ..core.presets import Preset
from ..engine import fields
from ..engine.evaluation import Evaluation
from ..engine.fields import DisplacementField
from ..engine.registration.pipeline import RegistrationResult
from .planes import Box, Plane2D, Points, sample

FRAME_MM = 30.0  # what is shown around the structures
RIM_MM = 10.0  # what counts around the structures when the gray window is chosen
MOST_FREEDOM = 12  # of an affine map
COARSE_VOXELS = 400_000  # for what need not be known to the voxel
AIR_BELOW = -300.0  # Hounsfield units have air below; other gray values start at zero or above
Range = tuple[float, float]


@dataclass(frozen=True)
class Structure:
    """A structure that both segmentations have, and its label values."""

    name: str
    fixed_value: int
    moving_value: int


@dataclass(frozen=True, eq=False)
class Case:
    """A registration as the report sees it.

    Args:
        result: the scans, the transform, and what was measured.
        structures: what both segmentations outline.
        preset: for whose kind of scans the transform was made; or None.
        region: region of interest that the registration was limited to; or None.
    """

    result: Evaluation
    structures: tuple[Structure, ...]
    preset: Preset | None = None
    region: LabelMap | None = None

    @classmethod
    def of(cls, result: Evaluation, preset: Preset | None = None, region: LabelMap | None = None) -> Case:
        """Case of a transform on its pair."""
        labels = result.pair.fixed.labels
        names = {} if labels is None else {label.value: label.name for label in labels.labels}
        shared = shared_structures(result.pair)
        return cls(result, tuple(Structure(names[fixed], fixed, moving) for fixed, moving in shared), preset, region)

    @property
    def pair(self) -> Pair:
        """Both scans."""
        return self.result.pair

    @property
    def fixed(self) -> Volume:
        """The fixed scan."""
        return self.pair.fixed.volume

    @property
    def moving(self) -> Volume:
        """The moving scan."""
        return self.pair.moving.volume

    @property
    def field(self) -> DisplacementField:
        """The map from fixed to moving points."""
        return self.result.field

    @property
    def similarity(self) -> Volume | None:
        """Local similarity on a grid of its own, NaN where there is nothing to compare; None if not measured."""
        return self.result.maps.get("local_similarity")

    @property
    def uncertainty(self) -> Volume | None:
        """Expected error of the displacement, mm; None if it was not estimated."""
        return self.result.maps.get("uncertainty_mm")

    @cached_property
    def focus(self) -> Volume:
        """1 in what matters, on the fixed grid: the structures, else the region of interest, else the body."""
        labels, region = self.pair.fixed.labels, self.region
        if self.structures and labels is not None:
            inside = np.isin(labels.array, [structure.fixed_value for structure in self.structures])
            if inside.any():
                return Volume(inside.astype(np.float32), labels.grid)
        if region is not None and region.array.any():
            return Volume((region.array != 0).astype(np.float32), region.grid)
        return Volume(_body(self.fixed.array).astype(np.float32), self.fixed.grid)

    @property
    def focus_name(self) -> str:
        """Where :attr:`determinants` are, in words that follow a noun."""
        if self.pair.fixed.labels is not None:
            return "in the fixed segmentation"
        return "in the body" if self.region is None else "in the region of interest"

    @cached_property
    def box(self) -> Box:
        """What the pictures show: what matters with a frame around, within the fixed scan."""
        grid = self.fixed.grid
        size = np.array(grid.size)
        ends = np.array([[-0.5, -0.5, -0.5], size - 0.5])
        edges = np.array([[ends[i, 0], ends[j, 1], ends[k, 2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
        whole = Box.around(grid.to_physical(edges))
        box = ndimage.find_objects(self.focus.array.astype(np.uint8))[0]
        ends = np.array([[part.start, part.stop - 1] for part in box])[::-1]
        indices = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3)
        return Box.around(self.focus.grid.to_physical(indices), FRAME_MM).within(whole)

    @cached_property
    def windows(self) -> tuple[Range, Range]:
        """Gray values that are shown black and white, fixed and moving.

        From a little below the 10th percentile in and around what matters (air beside an organ is no part of it) to
        the 99th; one window for two scans in Hounsfield units, within the preset's.
        """
        every = _stride(self.focus.array.size)
        near = self.focus.array[::every, ::every, ::every] > 0
        steps = tuple(max(int(RIM_MM / (every * spacing)), 1) for spacing in self.focus.grid.spacing[::-1])
        near = ndimage.maximum_filter(near, size=[2 * step + 1 for step in steps])
        here = self.focus.grid.to_physical(np.argwhere(near)[:, ::-1] * every)
        there, inside = self.mapped(here)
        fixed = sample(self.fixed, here)
        moving = sample(self.moving, there[inside]) if inside.any() else self.moving.array
        if fixed.min() < AIR_BELOW and moving.min() < AIR_BELOW:  # both in Hounsfield units: one window for both
            both = self._limited(_percentiles(np.concatenate([fixed, moving])))
            return both, both
        return _percentiles(fixed), _percentiles(moving)

    def _limited(self, window: Range) -> Range:
        """A window no wider than the one of the preset."""
        preset = self.preset
        if preset is None or not preset.windows:
            return window
        low, high = max(window[0], preset.windows[0][0]), min(window[1], preset.windows[0][1])
        return (low, high) if low < high else preset.windows[0]

    def mapped(self, points: Points) -> tuple[Points, npt.NDArray[np.bool_]]:
        """Where LPS points ``(..., 3)`` lie in the moving scan, and which of them it covers."""
        moved = fields.transform_points(self.field, torch.from_numpy(points.reshape(-1, 3)))
        there = moved.numpy().reshape(points.shape)
        return there, self.moving.grid.contains(there)

    @cached_property
    def masks(self) -> list[tuple[Volume, Volume]]:
        """The structures in the fixed and in the moving segmentation, 0 or 1, each cut to its own box."""
        fixed, moving = self.pair.fixed.labels, self.pair.moving.labels
        if fixed is None or moving is None:
            return []
        return [(_cut(fixed, one.fixed_value), _cut(moving, one.moving_value)) for one in self.structures]

    @cached_property
    def found(self) -> list[tuple[Volume, Volume]]:
        """The organs that were found automatically in both scans, as :attr:`masks`; bone would hide them."""
        anatomy = self.result.anatomy if isinstance(self.result, RegistrationResult) else None
        if anatomy is None:
            return []
        values = {label.name: label.value for label in anatomy.moving.labels if label.name != "bone"}
        shared = [label for label in anatomy.fixed.labels if label.name in values]
        return [(_cut(anatomy.fixed, one.value), _cut(anatomy.moving, values[one.name])) for one in shared]

    @cached_property
    def affine(self) -> npt.NDArray[np.float64]:
        """The affine map ``(4, 4)``, LPS mm, that is closest to the registration in what matters (least squares)."""
        here = self.coarse_points
        matrix = np.eye(4)
        if len(here) > 4 * MOST_FREEDOM:
            center = here.mean(axis=0)
            design = np.c_[here - center, np.ones(len(here))]
            solution = np.linalg.lstsq(design, self.mapped(here)[0], rcond=None)[0]
            matrix[:3, :3] = solution[:3].T
            matrix[:3, 3] = solution[3] - solution[:3].T @ center
        return matrix

    def beyond_affine(self, here: Points, there: Points) -> Plane2D:
        """Length of what the closest affine map leaves of the displacement ``(...)``, mm."""
        return np.linalg.norm(there - here @ self.affine[:3, :3].T - self.affine[:3, 3], axis=-1)

    @cached_property
    def coarse_points(self) -> Points:
        """LPS points ``(n, 3)`` of what matters and the moving scan covers, a lattice of bounded size."""
        every = _stride(self.focus.array.size)
        index = np.argwhere(self.focus.array[::every, ::every, ::every] > 0)[:, ::-1] * every
        points = self.focus.grid.to_physical(index)
        return points[self.mapped(points)[1]]

    @cached_property
    def determinants(self) -> npt.NDArray[np.float32]:
        """det J of the voxels of the fixed segmentation, or of what matters without one, ``(n,)``."""
        labels = self.pair.fixed.labels
        where = self.focus if labels is None else Volume(labels.mask().astype(np.float32), labels.grid)
        return self.result.jacobian.array[self.inside(where)]

    def inside(self, where: Volume) -> npt.NDArray[np.bool_]:
        """Which voxels of det J's grid ``(D, H, W)`` lie in a mask, on whatever grid it is."""
        grid = self.result.jacobian.grid
        if grid == where.grid:
            return where.array > 0
        points = fields.points(grid, dtype=torch.float64)[0].movedim(0, -1).numpy()
        return (sample(where, points, nearest=True) > 0) & where.grid.contains(points)


def _stride(voxels: int) -> int:
    return max(int(np.ceil((voxels / COARSE_VOXELS) ** (1 / 3))), 1)


def _cut(labels: LabelMap, value: int) -> Volume:
    """Mask of one structure, with a rim of one voxel so that it ends within its box where the scan goes on."""
    mask = labels.mask(value)
    found = ndimage.find_objects(mask.astype(np.uint8))
    box = found[0] if found else (slice(0, 1),) * 3
    first = [max(part.start - 1, 0) for part in box]
    last = [min(part.stop + 1, n) for part, n in zip(box, mask.shape, strict=True)]
    cut = mask[tuple(slice(a, b) for a, b in zip(first, last, strict=True))].astype(np.float32)
    return Volume(cut, labels.grid.cropped(first[::-1], cut.shape[::-1]))


def _percentiles(values: npt.NDArray) -> Range:
    low, high = (float(value) for value in np.percentile(values, (10, 99)))
    low -= 0.15 * (high - low)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _body(array: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Voxels brighter than air (Otsu, IEEE Trans. SMC 1979), or all where that leaves next to nothing."""
    every = _stride(array.size)
    coarse = sitk.GetImageFromArray(np.ascontiguousarray(array[::every, ::every, ::every]))
    threshold = sitk.OtsuThresholdImageFilter()
    threshold.Execute(coarse)
    body = array > threshold.GetThreshold()
    return body if body.mean() > 0.01 else np.ones_like(body)
