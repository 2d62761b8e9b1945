"""Similarity of a pair at random places, of a field that is known at voxels of the working grid."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.geometry import ImageGrid
from ..device import constant, to_device
from .control import ControlLattice, RandomVoxels, Triple

LINE = 16  # numbers of a cache line


class PointwiseDifference:
    """Mean squared difference of fixed features at x and moving features at x + u(x), at random voxels x.

    The objective of a stochastic gradient descent, see ``RandomVoxels``.
    """

    def __init__(
        self, grid: ImageGrid, fixed: Tensor, moving: Tensor, channels: int, inside: Tensor, count: int
    ) -> None:
        """Features of a pair.

        Args:
            grid: working grid.
            fixed: features of the fixed scan as :func:`rows_of`.
            moving: features of the moving scan and, last, the weight of its voxels, 0..1, likewise.
            channels: of the features.
            inside: which voxels count, ``(1, 1, D, H, W)``, above 0.5.
            count: about how many voxels a step shall look at.
        """
        self._grid = grid
        self._inside = inside.cpu() > 0.5  # on a GPU each choice of voxels would wait for what was given to it before
        self._random = RandomVoxels(grid, count, self._inside)
        self._fixed, self._moving = fixed, moving
        self._channels = channels
        self._to_voxels = constant(grid.physical_to_index[:3, :3], fixed)

    def __call__(self, control: ControlLattice, nodes: Tensor) -> Tensor:
        """The difference under the field of a control lattice."""
        voxels = self._random.draw()
        displacement = control.on(nodes, voxels).displacement[0]
        where = torch.nonzero(voxels.among(self._inside)[0, 0])
        among = (where[:, 0] * displacement.shape[2] + where[:, 1]) * displacement.shape[3] + where[:, 2]
        index = where.flip(1) * constant(voxels.step, where) + constant(voxels.start, where)
        width, height, _ = self._grid.size
        rows = (index[:, 2] * height + index[:, 1]) * width + index[:, 0]
        among, index, rows = (to_device(numbers, displacement.device) for numbers in (among, index, rows))
        moved = displacement.flatten(1).index_select(1, among)
        coordinates = index.T.to(moved) + self._to_voxels @ moved
        values = interpolate(self._moving, self._grid.size, coordinates)
        weight = values[:, self._channels].detach()
        fixed = self._fixed.index_select(0, rows)[:, : self._channels]
        difference = (values[:, : self._channels] - fixed).square().mean(dim=1)
        return (difference * weight).sum() / weight.sum().clamp(min=1.0)


def rows_of(*features: Tensor) -> Tensor:
    """Features ``(1, C, D, H, W)`` beside each other, with a row for each voxel, with zeros to whole cache lines."""
    count = sum(part.shape[1] for part in features)
    table = features[0].new_zeros((features[0][0, 0].numel(), -(-count // LINE) * LINE))
    first = 0
    for part in features:
        table[:, first : first + part.shape[1]] = part[0].flatten(1).T
        first += part.shape[1]
    return table


def interpolate(table: Tensor, size: Triple, coordinates: Tensor) -> Tensor:
    """Trilinear interpolation of :func:`rows_of` features ``(n, columns)``; beyond the border its value goes on.

    Twice as fast on a CPU as ``grid_sample``, which goes through the channels of a point one by one.

    Args:
        table: one row for each voxel.
        size: voxels along (x, y, z).
        coordinates: voxels, ``(3, n)``, order (x, y, z); their gradient is that of the interpolation.
    """
    return _Interpolation.apply(table, size, coordinates)


class _Interpolation(torch.autograd.Function):
    """A weighted sum of eight rows for each point; its derivatives are such sums with other weights."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, size: Triple, coordinates: Tensor) -> Tensor:
        last = constant([max(n - 1, 0) for n in size], coordinates)[:, None]
        inside = torch.minimum(coordinates.clamp(min=0), last)
        low = torch.minimum(inside.floor(), (last - 1).clamp(min=0))
        upper = inside - low
        x, y, z = low.long()
        steps = [0 if n == 1 else stride for n, stride in zip(size, (1, size[0], size[0] * size[1]), strict=True)]
        corners = [c * steps[2] + b * steps[1] + a * steps[0] for c in (0, 1) for b in (0, 1) for a in (0, 1)]
        rows = ((z * size[1] + y) * size[0] + x)[:, None] + constant(corners, x)
        weights = torch.stack((1 - upper, upper))  # (2, 3, n)
        ctx.save_for_backward(table, rows, weights, inside == coordinates)
        return _weighted(table, rows, weights[:, 0], weights[:, 1], weights[:, 2])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, Tensor]:
        table, rows, weights, free = ctx.saved_tensors
        slope = torch.ones_like(weights[:, 0])
        slope[0] = -1
        parts = []
        for axis in range(3):
            along = [slope if other == axis else weights[:, other] for other in range(3)]
            parts.append((_weighted(table, rows, *along) * gradients[0]).sum(dim=1))
        return None, None, torch.stack(parts) * free


def _weighted(table: Tensor, rows: Tensor, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Sum of eight rows for each point, with the products of two weights ``(2, n)`` along each axis."""
    products = z[:, None, None] * y[None, :, None] * x[None, None]
    return F.embedding_bag(rows, table, mode="sum", per_sample_weights=products.flatten(0, 2).T.contiguous())
