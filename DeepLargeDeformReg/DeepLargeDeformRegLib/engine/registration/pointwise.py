"""Similarity of a pair at random places, of a field that is known at voxels of the working grid."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.geometry import ImageGrid
from .. import fields
from ..device import constant
from .control import ControlLattice, RandomVoxels


class PointwiseDifference:
    """Mean squared difference of fixed features at x and moving features at x + u(x), at random voxels x.

    The objective of a stochastic gradient descent, see ``RandomVoxels``.
    """

    def __init__(
        self, grid: ImageGrid, fixed: Tensor, moving: Tensor, inside: Tensor, valid: Tensor, count: int
    ) -> None:
        """Features of a pair.

        Args:
            grid: working grid.
            fixed: features of the fixed scan ``(1, C, D, H, W)``.
            moving: features of the moving scan, likewise.
            inside: which voxels count, ``(1, 1, D, H, W)``, above 0.5.
            valid: weight of the moving scan's voxels, 0..1, likewise.
            count: about how many voxels a step shall look at.
        """
        self._grid = grid
        self._inside = inside > 0.5
        self._random = RandomVoxels(grid, count, self._inside)
        # Features last: the values of one point lie together, which halves the time of sampling on a CPU.
        self._fixed = fixed[0].flatten(1).T.contiguous()
        self._moving = torch.cat((moving, valid), dim=1).contiguous(memory_format=torch.channels_last_3d)
        self._to_voxels = constant(grid.physical_to_index[:3, :3], fixed)

    def __call__(self, control: ControlLattice, nodes: Tensor) -> Tensor:
        """The difference under the field of a control lattice."""
        voxels = self._random.draw()
        displacement = control.on(nodes, voxels).displacement[0]
        where = torch.nonzero(voxels.among(self._inside)[0, 0])
        among = (where[:, 0] * displacement.shape[2] + where[:, 1]) * displacement.shape[3] + where[:, 2]
        index = where.flip(1) * constant(voxels.step, where) + constant(voxels.start, where)
        moved = displacement.flatten(1).index_select(1, among)
        coordinates = index.T.to(moved) + self._to_voxels @ moved
        sampled = fields.sample(self._moving, coordinates.reshape(1, 3, 1, 1, -1), padding="border")
        values = sampled[0, :, 0, 0].T
        weight = values[:, -1].detach()
        width, height, _ = self._grid.size
        fixed = self._fixed.index_select(0, (index[:, 2] * height + index[:, 1]) * width + index[:, 0])
        difference = (values[:, :-1] - fixed).square().mean(dim=1)
        return (difference * weight).sum() / weight.sum().clamp(min=1.0)
