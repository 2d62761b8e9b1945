"""Regularity of a displacement field: curvature, diffusion, volume change; lower is better.

All derivatives are physical. Displacements are in mm and derivatives per mm, so a weight keeps its meaning across
spacings: diffusion is dimensionless, curvature is 1/mm^2, volume change is dimensionless.
The derivatives run along the index axes and the components along the LPS axes; with orthonormal axes the sums of
squares below are the same in any rotated frame (the Laplacian and the Frobenius norms of the first and second
derivatives do not change under a rotation of either), so the spacing alone is needed, not the direction.

Borders: second derivatives at a border voxel are those of its inner neighbor, first derivatives are one-sided. A
translation and an affine map therefore have zero curvature at every voxel, corners included.
Every function takes an optional mask ``(N or 1, 1, D, H, W)`` for its mean.
"""

from __future__ import annotations

from itertools import product
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..fields import DisplacementField, determinant, jacobian_determinant, to_voxels
from .stencils import full_precision, laplacian, masked_mean, spatial_axes


@full_precision
def curvature(field: DisplacementField, mask: Tensor | None = None) -> Tensor:
    """Curvature: mean of ``sum_j (Laplacian u_j)^2``, 1/mm^2 (Hering et al. 2021, equation 2; Fischer 2003)."""
    total = field.displacement.new_zeros(())
    for component in field.displacement.split(1, dim=1):
        total = total + masked_mean(laplacian(component, field.grid.spacing).square(), mask)
    return total


@full_precision
def diffusion(field: DisplacementField, mask: Tensor | None = None) -> Tensor:
    """Diffusion: mean of ``sum_j |grad u_j|^2``, dimensionless (LDGNet 2023, equations 3 to 5; VoxelMorph).

    Differences of adjacent voxels, as LDGNet's equation 5: unlike central ones they see a checkerboard. Along each
    axis the mean is taken over the pairs of neighbors (with a mask: pairs of which both lie inside, weighted by the
    product of the mask's values).
    """
    total = field.displacement.new_zeros(())
    for dim, spacing in spatial_axes(field.grid.spacing):
        length = field.displacement.shape[dim]
        if length < 2:
            continue
        pairs = None
        if mask is not None:
            weights = mask.to(field.displacement.dtype)
            pairs = weights.narrow(dim, 1, length - 1) * weights.narrow(dim, 0, length - 1)
        squares = torch.diff(field.displacement, dim=dim).square()
        total = total + masked_mean(squares, pairs) * (3 / spacing**2)
    return total


def volume_change_penalty(determinant: Tensor, threshold: float) -> Tensor:
    """psi_t of Hering et al. 2021 (equation 6), elementwise.

    ``(z - 1)^2 / z`` for z >= t, a line ``(1 - 1/t^2) z + 2 (1 - t) / t`` below: finite, and with a slope, where the
    map folds. Checked against continuity at t, the printed constants are right: both branches have the value
    ``t + 1/t - 2`` and the derivative ``1 - 1/t^2`` there, so psi is C1 (the second derivative jumps from 0 to
    ``2/t^3``). psi(z) = psi(1/z) holds for z and 1/z >= t; psi(1) = 0 is the minimum.

    Raises:
        ValueError: unless 0 < threshold < 1; from 1 on the line would no longer rise towards folds.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must lie between 0 and 1, not {threshold}")
    above = determinant.clamp_min(threshold)
    line = (determinant - above) * (1 - threshold**-2)
    return (above - 1).square() / above + line


@full_precision
def volume_change(field: DisplacementField, threshold: float = 0.2, mask: Tensor | None = None) -> Tensor:
    """Volume change control: mean of psi_t(det J), dimensionless (Hering et al. 2021, equations 3 and 6).

    Args:
        field: displacements in mm.
        threshold: t, the determinant below which the penalty is a line; see :func:`threshold_at_level`.
        mask: where the mean is taken.
    """
    return masked_mean(volume_change_penalty(jacobian_determinant(field), threshold), mask)


@full_precision
def volume_change_at_corners(field: DisplacementField, threshold: float = 0.2, mask: Tensor | None = None) -> Tensor:
    """As :func:`volume_change`, of one-sided differences (ours): the mean over the eight corners of each cell.

    Central differences pass over every second voxel, so a field may fold between neighbors that they do not compare;
    and where a scan ends within the network's grid, folds are counted by one-sided differences at its border. Central
    ones are means of one-sided ones, so where no corner folds, no voxel does.

    Args:
        field: displacements in mm, at least two voxels along each axis.
        threshold: as that of :func:`volume_change`.
        mask: where the mean is taken; the voxel at the corner counts.
    """
    u = to_voxels(field)
    dx, dy, dz = torch.diff(u, dim=4), torch.diff(u, dim=3), torch.diff(u, dim=2)
    means = []
    for firsts in product((0, 1), repeat=3):
        z, y, x = (slice(first, first + length - 1) for first, length in zip(firsts, u.shape[2:], strict=True))
        at_corner = determinant(dx[:, :, z, y], dy[:, :, z, :, x], dz[:, :, :, y, x])
        counted = None if mask is None else mask[:, :, z, y, x]
        means.append(masked_mean(volume_change_penalty(at_corner, threshold), counted))
    return torch.stack(means).mean()


def threshold_at_level(level: int, coarsest: float = 0.2) -> float:
    """The barrier's t per level of a pyramid: ``coarsest`` on level 0, the coarsest, halved on each finer one."""
    if level < 0:
        raise ValueError(f"levels count from 0, the coarsest, not {level}")
    return coarsest / 2**level


class RegularityLoss(nn.Module):
    """Base of the regularity modules, called as ``loss(field, mask=None)``."""

    family: ClassVar[str] = "regularity"

    def forward(self, field: DisplacementField, mask: Tensor | None = None) -> Tensor:
        """Scalar loss of a field in mm."""
        raise NotImplementedError


class Curvature(RegularityLoss):
    """Module of :func:`curvature`."""

    def forward(self, field: DisplacementField, mask: Tensor | None = None) -> Tensor:
        return curvature(field, mask)


class Diffusion(RegularityLoss):
    """Module of :func:`diffusion`."""

    def forward(self, field: DisplacementField, mask: Tensor | None = None) -> Tensor:
        return diffusion(field, mask)


class VolumeChange(RegularityLoss):
    """Module of :func:`volume_change`, or of :func:`volume_change_at_corners`, with the barrier of one level."""

    def __init__(self, level: int = 0, coarsest: float = 0.2, corners: bool = False) -> None:
        super().__init__()
        self.threshold, self.corners = threshold_at_level(level, coarsest), corners

    def forward(self, field: DisplacementField, mask: Tensor | None = None) -> Tensor:
        function = volume_change_at_corners if self.corners else volume_change
        return function(field, self.threshold, mask)
