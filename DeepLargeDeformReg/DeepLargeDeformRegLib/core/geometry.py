"""Sampling grids in physical space: the one place where axes and units are converted.

Physical points are LPS, millimeters. Voxel indices and all per-axis tuples have the order (x, y, z); arrays and
tensors have the order (z, y, x), written ``(D, H, W)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from .errors import BadInputError
from .sentences import marked as _

Vector = tuple[float, float, float]
Matrix = npt.NDArray[np.float64]

_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
_ORTHONORMALITY_TOLERANCE = 1e-3  # what scanners' rounded direction cosines stay below


@dataclass(frozen=True)
class ImageGrid:
    """Voxel centers of a 3D image in physical space: ``p = origin + direction @ (spacing * index)``.

    Args:
        size: voxels along (x, y, z).
        spacing: distance of voxel centers along (x, y, z), mm.
        origin: LPS position of the center of voxel (0, 0, 0), mm.
        direction: 3x3 direction cosines, row-major; column j is the LPS direction of index axis j.

    Raises:
        BadInputError: if a size or spacing is not positive, a number is not finite, or the direction matrix is
            not orthonormal.
    """

    size: tuple[int, int, int]
    spacing: Vector
    origin: Vector = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = _IDENTITY

    def __post_init__(self) -> None:
        if len(self.size) != 3 or len(self.spacing) != 3 or len(self.origin) != 3 or len(self.direction) != 9:
            raise BadInputError(_("The image is not three-dimensional; only 3D volumes can be registered."))
        object.__setattr__(self, "size", tuple(int(n) for n in self.size))
        for name in ("spacing", "origin", "direction"):
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
        if min(self.size) < 1:
            raise BadInputError(_("The image has no voxels (size {size}).").format(size=self.size))
        numbers = np.array([*self.spacing, *self.origin, *self.direction])
        if not np.all(np.isfinite(numbers)):
            raise BadInputError(_("The image's geometry contains numbers that are not finite."))
        if min(self.spacing) <= 0:
            raise BadInputError(
                _(
                    "The voxel spacing {spacing} mm is not positive along every axis; correct the file's header."
                ).format(spacing=self.spacing)
            )
        matrix = self.direction_matrix
        if np.abs(matrix.T @ matrix - np.eye(3)).max() > _ORTHONORMALITY_TOLERANCE:
            raise BadInputError(
                _(
                    "The axes of the image are not at right angles to each other (non-orthonormal direction "
                    "matrix, as after a tilted gantry); resample the scan to a rectangular grid first."
                )
            )

    @classmethod
    def from_image(cls, image: sitk.Image) -> ImageGrid:
        """Grid of a 3D SimpleITK image."""
        if image.GetDimension() != 3:
            raise BadInputError(
                _("The image has {count} dimensions; 3 are needed.").format(count=image.GetDimension())
            )
        return cls(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())

    @classmethod
    def axis_aligned(
        cls, size: Sequence[int], spacing: Sequence[float], origin: Sequence[float] = (0.0, 0.0, 0.0)
    ) -> ImageGrid:
        """Grid whose index axes are the LPS axes."""
        return cls(_triple(size, int), _triple(spacing), _triple(origin))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Array shape ``(D, H, W)``."""
        return (self.size[2], self.size[1], self.size[0])

    @property
    def direction_matrix(self) -> Matrix:
        """Direction cosines, (3, 3)."""
        return np.array(self.direction, dtype=np.float64).reshape(3, 3)

    @cached_property
    def index_to_physical(self) -> Matrix:
        """Homogeneous matrix (4, 4) from voxel index (x, y, z) to LPS mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.direction_matrix * np.array(self.spacing)
        matrix[:3, 3] = self.origin
        return matrix

    @cached_property
    def physical_to_index(self) -> Matrix:
        """Homogeneous matrix (4, 4) from LPS mm to voxel index (x, y, z)."""
        inverse = np.linalg.inv(self.index_to_physical).astype(np.float64)
        return inverse

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel, mm^3."""
        return float(np.prod(self.spacing))

    @property
    def extent(self) -> Vector:
        """Edge lengths of the box that the voxels (not only their centers) fill, mm."""
        return _triple(n * s for n, s in zip(self.size, self.spacing, strict=True))

    @property
    def center(self) -> Vector:
        """LPS position of the middle of the grid, mm."""
        return _triple(self.to_physical((np.array(self.size) - 1) / 2))

    @property
    def corners(self) -> Matrix:
        """LPS positions of the eight outermost voxel centers, (8, 3) mm."""
        ends = [(0, n - 1) for n in self.size]
        return self.to_physical(np.array([(x, y, z) for x in ends[0] for y in ends[1] for z in ends[2]]))

    @property
    def is_axis_aligned(self) -> bool:
        """True if the index axes are the LPS axes, in order and sense."""
        return bool(np.abs(self.direction_matrix - np.eye(3)).max() < 1e-6)

    def to_physical(self, indices: npt.ArrayLike) -> Matrix:
        """LPS positions (..., 3) of voxel indices (..., 3) in the order (x, y, z)."""
        matrix = self.index_to_physical
        return np.asarray(indices, dtype=np.float64) @ matrix[:3, :3].T + matrix[:3, 3]

    def to_index(self, points: npt.ArrayLike) -> Matrix:
        """Voxel indices (..., 3), with fractions, of LPS positions (..., 3)."""
        matrix = self.physical_to_index
        return np.asarray(points, dtype=np.float64) @ matrix[:3, :3].T + matrix[:3, 3]

    def contains(self, points: npt.ArrayLike, margin_mm: float = 0.0) -> npt.NDArray[np.bool_]:
        """Which LPS positions (..., 3) lie in the box of the voxels, widened by a margin in mm."""
        index = self.to_index(points)
        margin = margin_mm / np.array(self.spacing) + 0.5
        return np.all((index >= -margin) & (index <= np.array(self.size) - 1 + margin), axis=-1)

    def same_geometry(self, other: ImageGrid, tolerance: float = 1e-3) -> bool:
        """True if the sizes are equal and all voxel centers coincide within ``tolerance`` voxels."""
        if self.size != other.size:
            return False
        distance = np.abs(self.corners - other.corners).max()
        return bool(distance <= tolerance * min(self.spacing) * max(1.0, max(self.size) / 100))

    def apply_to(self, image: sitk.Image) -> sitk.Image:
        """Write this grid into a SimpleITK image of the same size, in place, and return it."""
        if tuple(image.GetSize()) != self.size:
            raise ValueError(f"image size {image.GetSize()} is not the grid's {self.size}")
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction)
        return image

    def to_image(self, array: npt.NDArray, is_vector: bool = False) -> sitk.Image:
        """SimpleITK image of an array ``(D, H, W)`` (``(D, H, W, C)`` with ``is_vector``) on this grid."""
        return self.apply_to(sitk.GetImageFromArray(array, isVector=is_vector))

    def planes(self, start: int, count: int) -> ImageGrid:
        """The grid of ``count`` planes along z (fewer at the end), from the plane ``start`` on."""
        size = (self.size[0], self.size[1], min(count, self.size[2] - start))
        origin = _triple(self.to_physical(np.array((0.0, 0.0, start))))
        return ImageGrid(size, self.spacing, origin, self.direction)

    def with_spacing(self, spacing: float | Sequence[float]) -> ImageGrid:
        """Grid of the same box with about the given spacing (mm): each axis holds a whole number of voxels.

        The box is kept centered; its edge may grow by less than one new voxel per axis.
        """
        wanted = np.broadcast_to(np.asarray(spacing, dtype=np.float64), 3)
        if not np.all(wanted > 0):
            raise ValueError(f"spacing must be positive, not {spacing}")
        size = np.maximum(np.ceil(np.array(self.extent) / wanted - 1e-6), 1).astype(int)
        return self._centered(size, wanted)

    def coarser(self, factor: int | Sequence[int]) -> ImageGrid:
        """Grid of the cells of average pooling by a factor, or one factor each along (x, y, z).

        Voxels left over at the end of an axis belong to no cell, as with ``torch.nn.functional.avg_pool3d``.
        """
        factors = np.broadcast_to(np.asarray(factor, dtype=int), 3)
        size = np.maximum(np.array(self.size) // factors, 1)
        origin = self.to_physical((factors - 1) / 2)
        return ImageGrid(
            _triple(size, int), _triple(np.array(self.spacing) * factors), _triple(origin), self.direction
        )

    def padded(self, before: Sequence[int], after: Sequence[int]) -> ImageGrid:
        """Grid with voxels added (negative: removed) before and after along (x, y, z)."""
        size = np.array(self.size) + np.array(before) + np.array(after)
        origin = self.to_physical(-np.array(before, dtype=np.float64))
        return ImageGrid(_triple(size, int), self.spacing, _triple(origin), self.direction)

    def cropped(self, start: Sequence[int], size: Sequence[int]) -> ImageGrid:
        """Sub-grid of ``size`` voxels whose first voxel is ``start``, both (x, y, z)."""
        return ImageGrid(_triple(size, int), self.spacing, _triple(self.to_physical(start)), self.direction)

    def around(self, points: npt.ArrayLike, margin_mm: float = 0.0) -> ImageGrid:
        """Smallest sub-grid that contains the LPS points (n, 3) and a margin in mm, within this grid.

        Raises:
            BadInputError: if no point lies in the grid.
        """
        index = self.to_index(points)
        margin = margin_mm / np.array(self.spacing)
        first = np.clip(np.floor(index.min(axis=0) - margin), 0, None).astype(int)
        last = np.minimum(np.ceil(index.max(axis=0) + margin), np.array(self.size) - 1).astype(int)
        if np.any(last < first):
            raise BadInputError(_("The region of interest lies outside of the image."))
        return self.cropped(first.tolist(), (last - first + 1).tolist())

    def laid_on(self, other: ImageGrid) -> ImageGrid:
        """This grid, moved by at most half a voxel so that its points are voxels of another one.

        An image sampled between its voxels is blurred by the interpolation. Where the other grid has another spacing
        or is turned, that cannot be avoided, and this grid stays where it is.
        """
        steps = np.abs(other.physical_to_index[:3, :3] @ self.index_to_physical[:3, :3])
        if np.abs(steps - steps.round()).max() > 1e-3 or not np.all(steps.round().sum(axis=0) == 1):
            return self
        nearest = np.floor(other.to_index(self.origin) + 0.5 - 1e-6)  # halves all to the same side
        return replace(self, origin=_triple(other.to_physical(nearest)))

    def _centered(self, size: npt.NDArray, spacing: npt.NDArray) -> ImageGrid:
        half = (size - 1) / 2 * spacing
        origin = np.array(self.center) - self.direction_matrix @ half
        return ImageGrid(_triple(size, int), _triple(spacing), _triple(origin), self.direction)


def _triple(values, kind=float):  # type: ignore[no-untyped-def]
    x, y, z = values
    return (kind(x), kind(y), kind(z))
