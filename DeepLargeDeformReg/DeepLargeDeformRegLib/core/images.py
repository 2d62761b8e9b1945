"""What goes into a registration and comes out of it: volumes, label maps, landmarks, and pairs of scans of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from .errors import BadInputError
from .geometry import ImageGrid
from .sentences import marked as _
from .subjects import the

OUTSIDE_MM = 20.0  # that a landmark may lie beyond the border of its scan, as one of a scan that was cropped later


@dataclass(frozen=True, eq=False)
class Volume:
    """A scalar 3D image.

    Args:
        array: intensities ``(D, H, W)``, float32.
        grid: where the voxels are.
        counted: voxels that count in the similarity, ``(D, H, W)``; None where all do. See ``engine/left_out.py``.
    """

    array: npt.NDArray[np.float32]
    grid: ImageGrid
    counted: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        _check_shape(self.array, self.grid)
        if self.counted is not None:
            _check_shape(self.counted, self.grid)
        object.__setattr__(self, "array", np.ascontiguousarray(self.array, dtype=np.float32))

    @classmethod
    def from_image(cls, image: sitk.Image) -> Volume:
        """Volume of a scalar SimpleITK image; the voxels are copied."""
        return cls(sitk.GetArrayFromImage(image).astype(np.float32, copy=False), ImageGrid.from_image(image))

    def to_image(self) -> sitk.Image:
        """SimpleITK image, float32; the voxels are copied."""
        return self.grid.to_image(self.array)


@dataclass(frozen=True, kw_only=True)
class Label:
    """One structure of a label map.

    Args:
        value: of its voxels.
        name: for people, and to match structures by.
        color: RGB, 0..1.
        terminology: Slicer's entry.
        counterpart: value of the fixed structure that the user says a moving one is; see :mod:`.labels`.
    """

    value: int
    name: str
    color: tuple[float, float, float] | None = None
    terminology: str | None = None
    counterpart: int | None = None


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A segmentation.

    Args:
        array: label values ``(D, H, W)``, int16 or int32; 0 is background. Where structures overlap, the smaller.
        grid: where the voxels are.
        labels: the structures; made from the values that occur when left empty.
        layers: arrays as ``array`` that hold all structures whole between them; empty where none overlap.
    """

    array: npt.NDArray[np.integer]
    grid: ImageGrid
    labels: tuple[Label, ...] = ()
    layers: tuple[npt.NDArray[np.integer], ...] = ()

    def __post_init__(self) -> None:
        _check_shape(self.array, self.grid)
        wide = np.issubdtype(self.array.dtype, np.integer) and self.array.dtype.itemsize > 2
        array = np.ascontiguousarray(self.array, dtype=np.int32 if wide else np.int16)
        object.__setattr__(self, "array", array)
        for layer in self.layers:
            _check_shape(layer, self.grid)
        if not self.labels:
            values = np.unique(array)
            found = tuple(Label(value=int(v), name=f"label {int(v)}") for v in values if v != 0)
            object.__setattr__(self, "labels", found)

    def mask(self, value: int | None = None) -> npt.NDArray[np.bool_]:
        """Voxels of one label, those shared with others among them, or of any label."""
        if value is None:
            return self.array != 0
        first, *others = self.layers or (self.array,)
        inside = first == value
        for layer in others:
            inside |= layer == value
        return inside

    def union(self, values: Sequence[int]) -> npt.NDArray[np.bool_]:
        """Voxels of any of some labels."""
        return np.logical_or.reduce([self.mask(value) for value in values])


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Points of one scan: LPS positions (n, 3) in mm and as many names (empty where there are none)."""

    points: npt.NDArray[np.float64]
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.points)


def unequal_numbers(fixed: int, moving: int) -> BadInputError:
    """The refusal of landmarks that cannot be pairs, as there are more in one scan."""
    text = _("There are {fixed} fixed but {moving} moving landmarks; they must come in pairs.")
    return BadInputError(text.format(fixed=fixed, moving=moving))


@dataclass(frozen=True, eq=False)
class LandmarkPairs:
    """Corresponding points in the fixed and the moving scan, LPS mm, each (n, 3)."""

    fixed: npt.NDArray[np.float64]
    moving: npt.NDArray[np.float64]
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        fixed = np.asarray(self.fixed, dtype=np.float64).reshape(-1, 3)
        moving = np.asarray(self.moving, dtype=np.float64).reshape(-1, 3)
        if len(fixed) != len(moving):
            raise unequal_numbers(len(fixed), len(moving))
        if not (np.all(np.isfinite(fixed)) and np.all(np.isfinite(moving))):
            raise BadInputError(_("A landmark has a coordinate that is not a finite number."))
        object.__setattr__(self, "fixed", fixed)
        object.__setattr__(self, "moving", moving)
        if not self.names:
            object.__setattr__(self, "names", tuple(str(i + 1) for i in range(len(fixed))))

    def __len__(self) -> int:
        return len(self.fixed)


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan with what is known of it.

    Args:
        volume: its intensities.
        labels: its segmentation, on whatever grid; None if there is none.
        landmarks: its points; those of a pair's two scans correspond in their order.
    """

    volume: Volume
    labels: LabelMap | None = None
    landmarks: Landmarks | None = None

    @property
    def grid(self) -> ImageGrid:
        """The grid of the volume."""
        return self.volume.grid


@dataclass(frozen=True, eq=False)
class Pair:
    """Two scans to align: the moving one is brought onto the fixed one.

    Raises:
        BadInputError: if the scans have different numbers of landmarks.
    """

    fixed: Scan
    moving: Scan

    def __post_init__(self) -> None:
        _ = self.landmarks  # checks that they correspond

    @property
    def landmarks(self) -> LandmarkPairs | None:
        """The corresponding landmarks, with the names of the fixed scan; None unless both scans have some."""
        fixed, moving = self.fixed.landmarks, self.moving.landmarks
        if fixed is None or moving is None:
            return None
        return LandmarkPairs(fixed.points, moving.points, fixed.names)

    def with_landmarks(self, pairs: LandmarkPairs | None) -> Pair:
        """The same scans with other landmarks, or without any."""
        fixed = None if pairs is None else Landmarks(pairs.fixed, pairs.names)
        moving = None if pairs is None else Landmarks(pairs.moving, pairs.names)
        return Pair(replace(self.fixed, landmarks=fixed), replace(self.moving, landmarks=moving))

    def swapped(self) -> Pair:
        """The pair in the other direction."""
        return Pair(self.moving, self.fixed)


def notices_of_landmarks(pair: Pair) -> list[str]:
    """What the user should know of landmarks that lie outside of their scan, in a sentence a scan.

    Raises:
        BadInputError: if none of a scan's landmarks lies in it: they are another scan's, or in other coordinates.
    """
    notices: list[str] = []
    for name, scan in (("fixed", pair.fixed), ("moving", pair.moving)):
        points = () if scan.landmarks is None else scan.landmarks.points
        outside = len(points) - int(np.count_nonzero(scan.grid.contains(points, OUTSIDE_MM))) if len(points) else 0
        landmarks, of = the(f"{name} landmarks", first=True), the(f"{name} scan")
        if outside and outside == len(points):
            raise BadInputError(
                _(
                    "{landmarks} lie outside of {scan}; they belong to another scan, or their coordinates are RAS "
                    "where LPS is expected."
                ).format(landmarks=landmarks, scan=of)
            )
        if outside:
            text = _("{landmarks}: {outside} of {count} lie outside of {scan}; check them.")
            notices.append(text.format(landmarks=landmarks, outside=outside, count=len(points), scan=of))
    return notices


def _check_shape(array: npt.NDArray, grid: ImageGrid) -> None:
    if array.shape != grid.shape:
        raise ValueError(f"array of shape {array.shape} does not fit a grid of shape {grid.shape}")
