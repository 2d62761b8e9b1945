"""Displacement fields: warp, compose, invert, exponentiate, resample, Jacobian determinant.

A field holds, at each voxel center x of its grid, the displacement u(x) in LPS millimeters of the map
``y(x) = x + u(x)`` from fixed to moving points. Normalized coordinates of ``grid_sample`` exist only in
:func:`sample`. Outside of its grid a field continues with the displacement of the nearest border voxel (as VTK does;
ITK assumes zero there), so that a constant field is constant everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...core.geometry import ImageGrid
from ..device import constant, to_device
from .sampling import grid_sample
from .slabs import by_slabs, slabs


@dataclass(frozen=True, eq=False)
class DisplacementField:
    """Displacements ``(N, 3, D, H, W)`` in LPS mm, components (x, y, z), on the voxel centers of ``grid``."""

    displacement: Tensor
    grid: ImageGrid

    def __post_init__(self) -> None:
        expected = (3, *self.grid.shape)
        if self.displacement.dim() != 5 or tuple(self.displacement.shape[1:]) != expected:
            raise ValueError(f"displacement of shape {tuple(self.displacement.shape)} is not (N, {expected})")

    def to(self, device: torch.device | str | torch.dtype) -> DisplacementField:
        """The same field on another device or with another number type."""
        if isinstance(device, torch.dtype):
            return replace(self, displacement=self.displacement.to(device))
        return replace(self, displacement=to_device(self.displacement, torch.device(device)))

    def detach(self) -> DisplacementField:
        """The same field without history."""
        return replace(self, displacement=self.displacement.detach())


def lengths(displacement: Tensor) -> Tensor:
    """Lengths ``(N, 1, D, H, W)`` of displacements ``(N, 3, D, H, W)``; many times faster than ``norm(dim=1)``."""
    x, y, z = displacement.split(1, dim=1)
    return (x * x).addcmul_(y, y).addcmul_(z, z).sqrt_()


def identity(
    grid: ImageGrid,
    batch: int = 1,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> DisplacementField:
    """The field of zero displacement."""
    return DisplacementField(torch.zeros((batch, 3, *grid.shape), device=device, dtype=dtype), grid)


def points(grid: ImageGrid, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """LPS positions of the voxel centers, ``(1, 3, D, H, W)`` mm."""
    return _apply_matrix(grid.index_to_physical, _lattice(grid.shape, device, dtype))


def from_affine(
    matrix: npt.ArrayLike,
    grid: ImageGrid,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> DisplacementField:
    """Field of the affine map ``x -> A x`` given as a homogeneous matrix (4, 4) in LPS mm."""
    # In double, since the positions may be hundreds of times larger than the displacements.
    difference = np.asarray(matrix, dtype=np.float64) - np.eye(4)

    def displaced(part: ImageGrid, _: slice) -> Tensor:
        lattice = _lattice(part.shape, device, torch.float64)
        return _apply_matrix(difference @ part.index_to_physical, lattice).to(dtype)

    return DisplacementField(by_slabs(grid, torch.empty(0, device=device), displaced), grid)


def sample(image: Tensor, index_coordinates: Tensor, mode: str = "bilinear", padding: str = "zeros") -> Tensor:
    """Interpolate an image at voxel coordinates.

    Args:
        image: ``(N, C, d, h, w)``.
        index_coordinates: ``(N or 1, 3, D, H, W)``, voxels, order (x, y, z).
        mode: ``"bilinear"`` (trilinear in 3D) or ``"nearest"``.
        padding: ``"zeros"``, ``"border"`` or ``"reflection"`` outside of the voxel centers.

    Returns:
        ``(N, C, D, H, W)`` in the number type of the image.
    """
    depth, height, width = image.shape[2:]
    # align_corners=False keeps one formula valid for axes of a single voxel.
    scale = constant([2.0 / width, 2.0 / height, 2.0 / depth], index_coordinates)
    offset = constant([1.0 / width - 1.0, 1.0 / height - 1.0, 1.0 / depth - 1.0], index_coordinates)
    normalized = torch.addcmul(offset, index_coordinates.permute(0, 2, 3, 4, 1), scale)
    if normalized.shape[0] != image.shape[0]:
        normalized = normalized.expand(image.shape[0], *normalized.shape[1:])
    return grid_sample(image, normalized.to(image.dtype), mode, padding)


def warp_voxels(image: Tensor, displacement: Tensor, mode: str = "bilinear", padding: str = "border") -> Tensor:
    """Warp ``image (N, C, D, H, W)`` with a displacement ``(N, 3, D, H, W)`` in voxels of the same lattice."""
    shape = tuple(displacement.shape[2:])
    warped: Tensor | None = None
    for planes in slabs(shape, image if image.requires_grad else displacement):
        part = displacement[:, :, planes]
        lattice = _lattice(tuple(part.shape[2:]), displacement.device, displacement.dtype)
        lattice[:, 2] += planes.start
        sampled = sample(image, lattice + part, mode, padding)
        if part.shape == displacement.shape:
            return sampled
        if warped is None:
            warped = sampled.new_empty((*sampled.shape[:2], *shape))
        warped[:, :, planes] = sampled
    assert warped is not None
    return warped


def compose_voxels(outer: Tensor, inner: Tensor) -> Tensor:
    """Displacement of ``x -> outer(inner(x))`` for displacements ``(N, 3, D, H, W)`` in voxels of one lattice."""
    return warp_voxels(outer, inner).add_(inner)


def warp(
    image: Tensor,
    image_grid: ImageGrid,
    field: DisplacementField,
    mode: str = "bilinear",
    padding: str = "zeros",
    fill: float = 0.0,
) -> Tensor:
    """Resample a moving image onto the field's grid: ``M(x + u(x))``.

    Args:
        image: ``(N, C, d, h, w)`` on ``image_grid``.
        image_grid: where the voxels of the image are.
        field: displacements in mm; its grid is the grid of the result.
        mode: ``"bilinear"`` or ``"nearest"``.
        padding: ``"zeros"`` or ``"border"``.
        fill: value outside of the image when ``padding`` is ``"zeros"``; the image ends half a voxel beyond its
            outermost voxel centers.

    Returns:
        ``(N, C, D, H, W)`` on ``field.grid``.
    """

    def warped(part: ImageGrid, place: slice) -> Tensor:
        coordinates = _moving_indices(DisplacementField(field.displacement[:, :, place], part), image_grid)
        sampled = sample(image, coordinates, mode, "border")
        if padding == "border":
            return sampled
        return torch.where(_within(coordinates, image_grid), sampled, fill)

    return by_slabs(field.grid, image if image.requires_grad else field.displacement, warped)


def covered(image_grid: ImageGrid, field: DisplacementField) -> Tensor:
    """Where a field leads into an image, up to half a voxel beyond its outermost centers, ``(N, 1, D, H, W)``."""

    def led(part: ImageGrid, place: slice) -> Tensor:
        moved = DisplacementField(field.displacement[:, :, place], part)
        return _within(_moving_indices(moved, image_grid), image_grid)

    return by_slabs(field.grid, field.displacement, led)


def regrid(
    image: Tensor, image_grid: ImageGrid, grid: ImageGrid, padding: str = "zeros", fill: float = 0.0
) -> Tensor:
    """An image on another grid, trilinear, as :func:`warp` with no displacement, which takes no memory."""

    def sampled(part: ImageGrid, _: slice) -> Tensor:
        return warp(
            image, image_grid, identity(part, device=image.device, dtype=image.dtype), "bilinear", padding, fill
        )

    return by_slabs(grid, image, sampled)


def compose(outer: DisplacementField, inner: DisplacementField) -> DisplacementField:
    """Field of ``x -> outer(inner(x))`` on the grid of ``inner``."""
    moved = warp(outer.displacement, outer.grid, inner, padding="border")
    return DisplacementField(inner.displacement + moved, inner.grid)


def compose_affine(matrix: npt.ArrayLike, field: DisplacementField) -> DisplacementField:
    """Field of ``x -> A (x + u(x))`` for a homogeneous matrix (4, 4) in LPS mm: the linear map after the field."""
    affine = np.asarray(matrix, dtype=np.float64)
    u = field.displacement

    def composed(part: ImageGrid, place: slice) -> Tensor:
        base = from_affine(affine, part, u.device, u.dtype).displacement
        return base + _apply_matrix(_homogeneous(affine[:3, :3]), u[:, :, place])

    return DisplacementField(by_slabs(field.grid, u, composed), field.grid)


def from_voxels(displacement: Tensor, grid: ImageGrid) -> DisplacementField:
    """Field in LPS mm of a displacement ``(N, 3, D, H, W)`` in voxels along the index axes of its grid."""
    return DisplacementField(_apply_matrix(_homogeneous(grid.index_to_physical[:3, :3]), displacement), grid)


def to_voxels(field: DisplacementField) -> Tensor:
    """Displacement ``(N, 3, D, H, W)`` in voxels along the index axes; the reverse of :func:`from_voxels`."""
    return _apply_matrix(_homogeneous(field.grid.physical_to_index[:3, :3]), field.displacement)


def resample(field: DisplacementField, grid: ImageGrid) -> DisplacementField:
    """The same displacements, trilinearly interpolated on another grid."""
    if field.grid == grid:
        return field
    u = field.displacement

    def sampled(part: ImageGrid, _: slice) -> Tensor:
        matrix = field.grid.physical_to_index @ part.index_to_physical
        return sample(u, _apply_matrix(matrix, _lattice(part.shape, u.device, u.dtype)), padding="border")

    return DisplacementField(by_slabs(grid, u, sampled), grid)


def exponentiate(velocity: DisplacementField, steps: int = 7) -> DisplacementField:
    """Time-one flow of a stationary velocity (mm) by scaling and squaring (Arsigny et al., MICCAI 2006)."""
    return from_voxels(exponentiate_voxels(to_voxels(velocity), steps), velocity.grid)


def exponentiate_voxels(velocity: Tensor, steps: int = 7) -> Tensor:
    """:func:`exponentiate` of a velocity ``(N, 3, D, H, W)`` in voxels along the index axes; so is the result."""
    displacement = velocity / 2**steps
    lattice = _lattice(tuple(velocity.shape[2:]), velocity.device, velocity.dtype)
    for _ in range(steps):
        displacement = displacement + sample(displacement, lattice + displacement, padding="border")
    return displacement


def transform_points(field: DisplacementField, positions: Tensor) -> Tensor:
    """Map LPS points (n, 3), mm, with the first field of the batch."""
    positions_in_double = positions.to(torch.float64)
    matrix = constant(field.grid.physical_to_index, positions_in_double)
    index = positions_in_double @ matrix[:3, :3].T + matrix[:3, 3]
    coordinates = index.T.reshape(1, 3, 1, 1, -1).to(field.displacement)
    moved = sample(field.displacement[:1], coordinates, padding="border")
    return positions + moved.reshape(3, -1).T.to(positions)


def index_gradient(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Derivatives along index x, y, z of ``(N, C, D, H, W)``: central inside, one-sided at the border."""
    return _difference(values, 4), _difference(values, 3), _difference(values, 2)


def jacobian_matrix(field: DisplacementField) -> Tensor:
    """Jacobian matrix of ``y = x + u`` in physical space, ``(N, 3, 3, D, H, W)``: entry (i, j) is dy_i / dx_j.

    Central differences inside, one-sided ones at the border; exact for affine maps everywhere.
    """
    to_index = constant(field.grid.physical_to_index[:3, :3], field.displacement)
    by_index = torch.stack(index_gradient(field.displacement), dim=2)
    matrix = torch.einsum("nikdhw,kj->nijdhw", by_index, to_index)
    return matrix + torch.eye(3, device=matrix.device, dtype=matrix.dtype)[None, :, :, None, None, None]


def jacobian_determinant(field: DisplacementField) -> Tensor:
    """det J of ``y = x + u``, ``(N, 1, D, H, W)``: the local volume ratio moving / fixed; <= 0 where it folds.

    Derivatives as in :func:`jacobian_matrix`. The determinant is the same in any orthonormal frame, so it is taken
    along the index axes: displacements in voxels, no 3x3 matrix per voxel in physical space.
    """
    u, depth = field.displacement, field.grid.size[2]

    def determined(_: ImageGrid, place: slice) -> Tensor:
        first = max(place.start - 1, 0)  # the neighbors of the outermost planes take part
        planes = slice(first, min(place.stop + 1, depth))
        dx, dy, dz = index_gradient(
            to_voxels(DisplacementField(u[:, :, planes], field.grid.planes(first, planes.stop - first)))
        )
        return determinant(dx, dy, dz)[:, :, place.start - first : place.stop - first]

    return by_slabs(field.grid, u, determined)


def determinant(dx: Tensor, dy: Tensor, dz: Tensor) -> Tensor:
    """det(I + [dx dy dz]) for derivatives ``(N, 3, ...)`` of a displacement along x, y and z -> ``(N, 1, ...)``."""
    a, b, c = 1 + dx[:, 0:1], dy[:, 0:1], dz[:, 0:1]
    d, e, f = dx[:, 1:2], 1 + dy[:, 1:2], dz[:, 1:2]
    g, h, i = dx[:, 2:3], dy[:, 2:3], 1 + dz[:, 2:3]
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def _within(coordinates: Tensor, image_grid: ImageGrid) -> Tensor:
    """Which voxel coordinates ``(N, 3, D, H, W)`` lie in an image, ``(N, 1, D, H, W)``.

    As in ITK it ends half a voxel beyond its outermost centers, with no rim that blends into what lies outside.
    """
    size = constant(image_grid.size, coordinates).reshape(1, 3, 1, 1, 1)
    return ((coordinates >= -0.5) & (coordinates <= size - 0.5)).all(dim=1, keepdim=True)


def _moving_indices(field: DisplacementField, image_grid: ImageGrid) -> Tensor:
    """Voxel coordinates in ``image_grid`` of ``x + u(x)``, ``(N, 3, D, H, W)``."""
    to_index = image_grid.physical_to_index
    u = field.displacement
    base = _apply_matrix(to_index @ field.grid.index_to_physical, _lattice(field.grid.shape, u.device, u.dtype))
    return base + _apply_matrix(_homogeneous(to_index[:3, :3]), u)


def _lattice(shape: tuple[int, ...], device: torch.device | str | None, dtype: torch.dtype) -> Tensor:
    """Voxel indices ``(1, 3, D, H, W)`` in the order (x, y, z)."""
    z, y, x = (torch.arange(n, device=device, dtype=dtype) for n in shape)
    grid = torch.meshgrid(z, y, x, indexing="ij")
    return torch.stack((grid[2], grid[1], grid[0]))[None]


def _apply_matrix(matrix: npt.NDArray, vectors: Tensor) -> Tensor:
    """Homogeneous matrix (4, 4) applied to ``(N, 3, D, H, W)``."""
    linear, shift = constant(matrix[:3, :3], vectors), constant(matrix[:3, 3], vectors)
    if np.count_nonzero(matrix[:3, :3] - np.diag(np.diag(matrix[:3, :3]))) == 0:
        scale = torch.diagonal(linear).reshape(1, 3, 1, 1, 1)
        return torch.addcmul(shift.reshape(1, 3, 1, 1, 1), vectors, scale)
    n, _, *spatial = vectors.shape
    return (linear @ vectors.reshape(n, 3, -1) + shift[:, None]).reshape(n, 3, *spatial)


def _homogeneous(linear: npt.NDArray) -> npt.NDArray:
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    return matrix


def _difference(values: Tensor, dim: int) -> Tensor:
    length = values.shape[dim]
    if length == 1:
        return torch.zeros_like(values)
    first = values.narrow(dim, 1, 1) - values.narrow(dim, 0, 1)
    last = values.narrow(dim, length - 1, 1) - values.narrow(dim, length - 2, 1)
    inner = (values.narrow(dim, 2, length - 2) - values.narrow(dim, 0, length - 2)) * 0.5 if length > 2 else None
    return torch.cat([first, last] if inner is None else [first, inner, last], dim=dim)
