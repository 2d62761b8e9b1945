"""Displacement fields as uniform cubic B-splines (Rueckert et al., IEEE TMI 1999; Unser, IEEE SPM 1999).

A spline is twice continuously differentiable, so that det J has no kinks at the nodes of the lattice, as it has where
displacements are interpolated linearly. Where the axes of a grid are those of the lattice, a spline is evaluated
axis by axis: one product with a matrix of basis functions each.

Positions along an axis are in nodes of the lattice; node i carries ``beta(t - i)``, where ``beta`` is the cubic
B-spline with support [-2, 2]. Beyond the outermost nodes but one a spline goes on with its value there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.geometry import ImageGrid
from ..device import constant
from .field import DisplacementField, compose_affine, points
from .slabs import by_slabs

INTERPOLATION_ROUGHNESS = 1e-8  # weight of the coefficients' squared second differences: decides what data do not
COMPOSITION_ROUGHNESS = 0.05  # a spline through every voxel rings where a field bends within two of them
FIT_ROUGHNESS = 1e-3  # the border's data may barely touch the last coefficient of a coarser lattice
SLAB_POINTS = 1 << 16  # evaluated at a time where the axes differ; 64 coefficients belong to each

Matrices = tuple[Tensor, Tensor, Tensor]
"""One matrix (rows, columns) each along z, y and x, the order of a tensor's dimensions."""

AxisMatrices = list[npt.NDArray[np.float64]]
"""One matrix each along x, y and z."""


@dataclass(frozen=True, eq=False)
class SplineField:
    """Displacement ``u(x) = sum_i c_i beta(x - i)`` in LPS mm.

    Args:
        coefficients: ``(N, 3, d, h, w)`` mm.
        lattice: where their nodes are.
    """

    coefficients: Tensor
    lattice: ImageGrid

    def __post_init__(self) -> None:
        if min(self.lattice.size) < 3:
            raise ValueError(f"a cubic spline needs three nodes along each axis, not {self.lattice.size}")

    def on(self, grid: ImageGrid) -> DisplacementField:
        """The displacements on a grid."""
        positions = axis_positions(self.lattice, grid)
        if positions is None:
            at = points(grid, self.coefficients.device, torch.float64)[0].flatten(1).T
            values = torch.stack([self.at(at, number) for number in range(len(self.coefficients))])
            return DisplacementField(values.transpose(1, 2).reshape(-1, 3, *grid.shape), grid)
        x, y, z = (basis(tuple(at), n) for at, n in zip(positions, self.lattice.size, strict=True))
        # A slab of a large grid needs few planes of nodes.
        used = np.flatnonzero(z.any(axis=0))
        planes = slice(int(used[0]), int(used[-1]) + 1)
        coefficients = self.coefficients[:, :, planes]
        return DisplacementField(separable(coefficients, along_axes((x, y, z[:, planes]), coefficients)), grid)

    def gradient_on(self, grid: ImageGrid) -> Matrices:
        """Derivatives along the index axes x, y and z of the lattice, per mm, ``(N, 3, D, H, W)`` each, on a grid.

        Raises:
            ValueError: if the grid's axes are not those of the lattice.
        """
        positions = axis_positions(self.lattice, grid)
        if positions is None:
            raise ValueError("the axes of the grid are not those of the lattice")
        size, spacing = self.lattice.size, self.lattice.spacing
        results = []
        for axis in range(3):
            along = [basis(tuple(at), n, i == axis) for i, (at, n) in enumerate(zip(positions, size, strict=True))]
            results.append(separable(self.coefficients, along_axes(along, self.coefficients)) / spacing[axis])
        return results[0], results[1], results[2]

    def at(self, positions: Tensor, number: int = 0) -> Tensor:
        """Displacements (n, 3), mm, of one field of the batch at LPS points (n, 3), mm."""
        positions = positions.to(torch.float64)
        matrix = constant(self.lattice.physical_to_index, positions)
        index = positions @ matrix[:3, :3].T + matrix[:3, 3]
        # Each row has the coefficients of a node and of the next three along x: a cache line for one access.
        nodes = F.pad(self.coefficients[number].flatten(1).T, (0, 1, 0, 3))
        table = nodes.unfold(0, 4, 1).flatten(1)
        return torch.cat([self._gathered(part, table) for part in index.split(SLAB_POINTS)])

    def _gathered(self, index: Tensor, table: Tensor) -> Tensor:
        """Displacements at positions in nodes (n, 3), order (x, y, z)."""
        width, height, depth = self.lattice.size
        x, along_x = _weights(index[:, 0], width)
        y, along_y = _weights(index[:, 1], height)
        z, along_z = _weights(index[:, 2], depth)
        four = torch.arange(4, device=index.device)
        # The last of four nodes may lie beyond the lattice, with weight zero.
        planes, lines = (z[:, None] + four).clamp(max=depth - 1), (y[:, None] + four).clamp(max=height - 1)
        rows = ((planes[:, :, None] * height + lines[:, None]) * width + x[:, None, None]).flatten(1)
        weights = (along_z[:, :, None] * along_y[:, None]).flatten(1).to(table)
        found = F.embedding_bag(rows, table, mode="sum", per_sample_weights=weights)
        return (found.reshape(-1, 4, 4)[:, :3] * along_x.to(table)[:, None]).sum(dim=2)


def control_lattice(grid: ImageGrid, factor: int) -> ImageGrid:
    """Nodes on every ``factor``-th voxel of a grid, with those before the first and behind the last that it needs.

    The nodes of half the factor hold those of the whole: a spline on one lattice is one on the other.
    """
    size = [-(-(n - 1) // factor) + 3 for n in grid.size]
    spacing = [s * factor for s in grid.spacing]
    origin = grid.to_physical([-factor] * 3)
    return ImageGrid((size[0], size[1], size[2]), (spacing[0], spacing[1], spacing[2]), tuple(origin), grid.direction)


def fit(field: DisplacementField, lattice: ImageGrid, roughness: float = FIT_ROUGHNESS) -> SplineField:
    """The spline on a lattice that comes closest to a field, by least squares; a spline on the lattice is kept.

    Where the field's voxels leave coefficients open, as beyond its border, those with the smallest second differences
    are taken; affine fields are kept up to the border.

    Args:
        field: displacements in mm on a grid with the lattice's axes, which it should cover.
        lattice: where the coefficients are wanted.
        roughness: weight of the squared second differences along each axis, against squared residuals.

    Raises:
        ValueError: if the field's axes are not those of the lattice.
    """
    _, inverses = fitting_matrices(field.grid, lattice, roughness)
    return SplineField(separable(field.displacement, along_axes(inverses, field.displacement)), lattice)


def fitting_matrices(grid: ImageGrid, lattice: ImageGrid, roughness: float) -> tuple[AxisMatrices, AxisMatrices]:
    """Values at a grid's voxels from coefficients ``(voxels, nodes)``, and coefficients from values, of each axis.

    Raises:
        ValueError: if the grid's axes are not those of the lattice.
    """
    positions = axis_positions(lattice, grid)
    if positions is None:
        raise ValueError("the axes of the field are not those of the lattice")
    along = [(tuple(at), n) for at, n in zip(positions, lattice.size, strict=True)]
    return [basis(*axis) for axis in along], [_least_squares(*axis, roughness) for axis in along]


def interpolated(field: DisplacementField) -> SplineField:
    """The cubic spline through the displacements of all voxels."""
    return fit(field, control_lattice(field.grid, 1), INTERPOLATION_ROUGHNESS)


def resample_smoothly(
    field: DisplacementField, grid: ImageGrid, linear: npt.NDArray[np.float64] | None = None
) -> DisplacementField:
    """The same displacements on another grid, interpolated by a cubic spline: det J keeps no trace of the voxels.

    Args:
        field: displacements in mm.
        grid: where they are wanted.
        linear: homogeneous matrix (4, 4), LPS mm, that is applied after the field; or None.
    """
    if field.grid == grid:
        return field if linear is None else compose_affine(linear, field)
    spline = interpolated(field)

    def on(part: ImageGrid, _: slice) -> Tensor:
        sampled = spline.on(part)
        return (sampled if linear is None else compose_affine(linear, sampled)).displacement

    return DisplacementField(by_slabs(grid, field.displacement, on), grid)


def compose_smoothly(outer: DisplacementField, inner: DisplacementField) -> DisplacementField:
    """Field of ``x -> outer(inner(x))`` on the grid of ``inner``, ``outer`` as a cubic spline close to its voxels."""
    moved = points(inner.grid, inner.displacement.device, torch.float64) + inner.displacement
    spline = fit(outer, control_lattice(outer.grid, 1), COMPOSITION_ROUGHNESS)
    values = spline.at(moved[0].flatten(1).T)
    return DisplacementField(inner.displacement + values.T.reshape(1, 3, *inner.grid.shape), inner.grid)


def axis_positions(lattice: ImageGrid, grid: ImageGrid) -> list[npt.NDArray[np.float64]] | None:
    """Positions of a grid's voxels along each axis x, y, z, in nodes; None if the axes differ."""
    matrix = lattice.physical_to_index @ grid.index_to_physical
    linear = matrix[:3, :3]
    away = np.abs(linear - np.diag(np.diag(linear))) @ np.array(grid.size)
    if away.max() > 1e-3:  # nodes by which the farthest voxel would be missed
        return None
    return [matrix[i, 3] + linear[i, i] * np.arange(n) for i, n in enumerate(grid.size)]


def basis(positions: tuple[float, ...], count: int, derivative: bool = False) -> npt.NDArray[np.float64]:
    """Values of the basis functions, or their derivatives per node, ``(positions, count)``."""
    first, weights = _weights(torch.tensor(positions, dtype=torch.float64), count, derivative)
    matrix = torch.zeros((len(positions), count), dtype=torch.float64)
    nodes = (first[:, None] + torch.arange(4)).clamp(0, count - 1)
    return matrix.scatter_add_(1, nodes, weights).numpy()


def along_axes(matrices: Sequence[npt.NDArray[np.float64]], like: Tensor) -> Matrices:
    """Matrices of the axes x, y, z as :func:`separable` takes them, on the device and in the type of a tensor."""
    x, y, z = (constant(matrix, like) for matrix in matrices)
    return z, y, x


def separable(values: Tensor, matrices: Matrices) -> Tensor:
    """Multiply each axis of ``(N, C, d, h, w)`` by its matrix -> ``(N, C, D, H, W)``."""
    z, y, x = matrices
    height, width = values.shape[3:]
    values = torch.matmul(z, values.reshape(*values.shape[:3], height * width))
    values = torch.matmul(y, values.reshape(*values.shape[:3], height, width))
    return torch.matmul(values, x.T)


def _weights(positions: Tensor, count: int, derivative: bool = False) -> tuple[Tensor, Tensor]:
    """First of the four nodes that matter at each position (n,), and their weights (n, 4)."""
    inside = positions.clamp(min(1.0, (count - 1) / 2), max(count - 2.0, (count - 1) / 2))
    first = inside.floor()
    t = inside - first
    if derivative:
        parts = (-((1 - t) ** 2) / 2, (3 * t**2 - 4 * t) / 2, (-3 * t**2 + 2 * t + 1) / 2, t**2 / 2)
        goes_on = (positions >= 1 - 1e-9) & (positions <= count - 2 + 1e-9)
        return first.long() - 1, torch.stack(parts, dim=1) * goes_on[:, None]
    parts = ((1 - t) ** 3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6, t**3 / 6)
    return first.long() - 1, torch.stack(parts, dim=1)


@lru_cache(maxsize=16)
def _least_squares(positions: tuple[float, ...], count: int, weight: float) -> npt.NDArray[np.float64]:
    """Coefficients from values at positions, ``(count, positions)``."""
    values = basis(positions, count)
    roughness = np.diff(np.eye(count), n=min(2, count - 1), axis=0)
    normal = values.T @ values + weight * (roughness.T @ roughness + 1e-4 * np.eye(count))
    return np.asarray(np.linalg.solve(normal, values.T), dtype=np.float64)
