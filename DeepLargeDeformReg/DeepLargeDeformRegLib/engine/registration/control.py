"""The control lattice of a refinement: nodes that an optimizer moves, and the cubic B-spline that they stand for.

The coefficients of the spline are the nodes after two box filters of three nodes each. The filters are part of what
is optimized, so that a step of the optimizer never moves a node alone; they work as the smoothing of the update does
in demons and as a preconditioner (Sundaramoorthi et al., IJCV 2007, on Sobolev gradients).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.geometry import ImageGrid
from .. import fields
from ..fields import DisplacementField
from ..fields.bspline import SplineField, along_axes, axis_positions, basis, control_lattice, fit, separable

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Voxels:
    """Every so-many-th voxel of a grid along each axis, all in the order (x, y, z).

    Args:
        start: first voxel.
        step: voxels from one to the next.
        stop: voxel before which they end.
    """

    start: Triple
    step: Triple
    stop: Triple

    def of(self, grid: ImageGrid) -> ImageGrid:
        """Their grid."""
        size = [len(range(*bounds)) for bounds in zip(self.start, self.stop, self.step, strict=True)]
        spacing = [s * step for s, step in zip(grid.spacing, self.step, strict=True)]
        origin = tuple(grid.to_physical(self.start).tolist())
        return ImageGrid((size[0], size[1], size[2]), (spacing[0], spacing[1], spacing[2]), origin, grid.direction)

    def among(self, values: Tensor) -> Tensor:
        """Their values of ``(N, C, D, H, W)`` on the whole grid; a view."""
        x, y, z = (slice(*bounds) for bounds in zip(self.start, self.stop, self.step, strict=True))
        return values[:, :, z, y, x]


class ControlLattice:
    """Nodes on every so-many-th voxel of a working grid.

    With a mask there are two splines, one for its inside and one for its outside, so that the inside may slide along
    its surroundings. Each voxel takes its share of both; the shares are the mask itself as a cubic B-spline on the
    voxels, so that the field is smooth across the surface, too, where it changes within two voxels.
    """

    def __init__(self, grid: ImageGrid, factor: int, mask: Tensor | None = None) -> None:
        """Lattice on a working grid.

        Args:
            grid: working grid.
            factor: voxels from node to node.
            mask: what slides along its surroundings, 0..1, ``(1, 1, D, H, W)`` on the working grid; or None.
        """
        self.grid = grid
        self.lattice = control_lattice(grid, factor)
        self.on_nodes = Voxels((0, 0, 0), (factor, factor, factor), grid.size)
        self.inside = None if mask is None else _smooth((mask > 0.5).to(mask.dtype))
        self._slope = None if self.inside is None else fields.index_gradient(self.inside)
        self._filters = [_two_boxes(n) for n in self.lattice.size]
        self._basis: dict[tuple[int, int, int, int, bool], npt.NDArray[np.float64]] = {}

    @property
    def sides(self) -> int:
        """Splines: one, or one each inside and outside of the mask."""
        return 1 if self.inside is None else 2

    def nodes(self, initial: DisplacementField) -> Tensor:
        """Nodes ``(sides, 3, d, h, w)`` to begin with, mm, by a least-squares fit of a field on any grid.

        A field of a batch of one is the beginning of all splines.
        """
        if axis_positions(self.lattice, initial.grid) is None:
            initial = fields.resample(initial, self.grid)
        nodes = fit(initial, self.lattice).coefficients
        return nodes.expand(self.sides, *nodes.shape[1:]).detach().clone()

    def splines(self, nodes: Tensor) -> SplineField:
        """The splines of nodes, a batch of one for each side."""
        return SplineField(separable(nodes, along_axes(self._filters, nodes)), self.lattice)

    def each(self, nodes: Tensor, voxels: Voxels) -> DisplacementField:
        """Each side's displacements at some voxels, a batch of one for each side."""
        matrices = along_axes([self._matrix(axis, voxels) for axis in range(3)], nodes)
        return DisplacementField(separable(nodes, matrices), voxels.of(self.grid))

    def on(self, nodes: Tensor, voxels: Voxels) -> DisplacementField:
        """Displacements at some voxels, in mm."""
        return self.mixed(self.each(nodes, voxels), voxels)

    def gradients(self, nodes: Tensor, voxels: Voxels) -> tuple[Tensor, Tensor]:
        """Derivatives at some voxels: of each side, and of the one field, as displacements in voxels per voxel.

        Returns:
            ``(3, sides, 3, D, H, W)`` and ``(3, 1, 3, D, H, W)``; the first dimension is the index axis x, y or z
            along which the derivative is taken, the third one the displacement's component along x, y and z.
        """
        moved = fields.to_voxels(DisplacementField(nodes, self.lattice)) * self.on_nodes.step[0]
        parts = []
        for axis in range(3):
            matrices = along_axes([self._matrix(other, voxels, other == axis) for other in range(3)], nodes)
            parts.append(separable(moved, matrices))
        each = torch.stack(parts)
        if self.inside is None or self._slope is None:
            return each, each
        values = separable(moved, along_axes([self._matrix(axis, voxels) for axis in range(3)], nodes))
        inside, outside = each.split(1, dim=1)
        slope = torch.stack([voxels.among(part) for part in self._slope])
        slip = (values[:1] - values[1:]) * slope
        return each, torch.lerp(outside, inside, voxels.among(self.inside)) + slip

    def mixed(self, each: DisplacementField, voxels: Voxels) -> DisplacementField:
        """One field of those of the sides."""
        if self.inside is None:
            return each
        inside, outside = each.displacement.split(1)
        return DisplacementField(torch.lerp(outside, inside, voxels.among(self.inside)), each.grid)

    def at(self, nodes: Tensor, positions: Tensor) -> Tensor:
        """Displacements (n, 3), mm, at LPS points (n, 3), mm."""
        splines = self.splines(nodes)
        if self.inside is None:
            return splines.at(positions)
        share = _at(self.inside, self.grid, positions)
        return torch.lerp(splines.at(positions, 1), splines.at(positions, 0), share[:, None])

    def _matrix(self, axis: int, voxels: Voxels, derivative: bool = False) -> npt.NDArray[np.float64]:
        """Values at voxels, or derivatives per voxel, from nodes along one axis: filters, then the spline."""
        bounds = (voxels.start[axis], voxels.stop[axis], voxels.step[axis])
        key = (axis, *bounds, derivative)
        if key not in self._basis:
            step = self.on_nodes.step[axis]
            positions = tuple(1 + voxel / step for voxel in range(*bounds))
            matrix = basis(positions, self.lattice.size[axis], derivative) @ self._filters[axis]
            self._basis[key] = matrix / step if derivative else matrix
        return self._basis[key]


class RandomVoxels:
    """Random choices of voxels: every so-many-th one from a random first one on.

    They are spread more evenly than so many single ones, and a spline is evaluated on them axis by axis.
    """

    def __init__(self, grid: ImageGrid, count: int, inside: Tensor | None = None) -> None:
        """Choices within a grid.

        Args:
            grid: working grid.
            count: about how many voxels, of those that count, a choice shall have.
            inside: which voxels count, ``(1, 1, D, H, W)``, boolean; None for all.
        """
        self._low: list[int] = [0, 0, 0]
        self._high = list(grid.size)
        number = int(np.prod(grid.size))
        if inside is not None and bool(inside.any()):
            number = int(inside.sum())
            for axis, (first, second) in enumerate(((1, 0), (2, 0), (2, 1))):
                used = torch.nonzero(inside[0, 0].any(dim=first).any(dim=second))
                self._low[axis], self._high[axis] = int(used.min()), int(used.max()) + 1
        share = max(1.0, number / count)
        z = max(1, round(share ** (1 / 3)))
        y = max(1, round((share / z) ** (1 / 2)))
        self._step = (max(1, round(share / (z * y))), y, z)
        self._generator = torch.Generator().manual_seed(0)

    def draw(self) -> Voxels:
        """The next choice."""
        first = [int(torch.randint(step, (), generator=self._generator)) for step in self._step]
        x, y, z = (min(low + one, high - 1) for low, one, high in zip(self._low, first, self._high, strict=True))
        return Voxels((x, y, z), self._step, (self._high[0], self._high[1], self._high[2]))


def all_of(grid: ImageGrid) -> Voxels:
    """All voxels of a grid."""
    return Voxels((0, 0, 0), (1, 1, 1), grid.size)


def _two_boxes(count: int) -> npt.NDArray[np.float64]:
    """Two box filters of three nodes, the border repeated, as a matrix (count, count)."""
    matrix = np.zeros((count, count))
    for shift, weight in zip(range(-2, 3), np.array([1, 2, 3, 2, 1]) / 9, strict=True):
        np.add.at(matrix, (np.arange(count), np.clip(np.arange(count) + shift, 0, count - 1)), weight)
    return matrix


def _smooth(values: Tensor) -> Tensor:
    """The cubic B-spline at voxels of which these are the coefficients."""
    matrices = [basis(tuple(range(1, n + 1)), n + 2) for n in reversed(values.shape[2:])]
    return separable(F.pad(values, (1,) * 6, mode="replicate"), along_axes(matrices, values))


def _at(values: Tensor, grid: ImageGrid, positions: Sequence[float] | Tensor) -> Tensor:
    """Values (n,) of ``(1, 1, D, H, W)`` at LPS points (n, 3)."""
    points = torch.as_tensor(positions, dtype=torch.float64)
    matrix = torch.as_tensor(grid.physical_to_index).to(points)
    index = (points @ matrix[:3, :3].T + matrix[:3, 3]).T.reshape(1, 3, 1, 1, -1).to(values)
    return fields.sample(values, index, padding="border").flatten()
