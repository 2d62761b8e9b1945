"""Foerstner keypoints: places whose structure fixes their position along all three axes.

Foerstner and Guelch, ISPRS 1987, in three dimensions as Ruehaak et al., IEEE TMI 2017 (section II-B): the
distinctiveness ``1 / trace(A^-1)`` of the smoothed structure tensor ``A = G_sigma * (grad F grad F^T)``.
"""

from __future__ import annotations

import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine.fields import index_gradient
from DeepLargeDeformRegLib.engine.fields.dilation import largest_around
from torch import Tensor

from ..synthesis.draw import blur


def distinctiveness(image: Tensor, grid: ImageGrid, sigma_mm: float = 2.0) -> Tensor:
    """Foerstner's measure of each voxel, ``(D, H, W)``; 0 where the image is flat or a straight edge.

    Args:
        image: ``(D, H, W)``.
        grid: its grid.
        sigma_mm: of the Gaussian over which the structure tensor is averaged.
    """
    dx, dy, dz = (d[0, 0] / s for d, s in zip(index_gradient(image[None, None]), grid.spacing, strict=True))
    xx, yy, zz = (blur(one * one, sigma_mm, grid) for one in (dx, dy, dz))
    xy, xz, yz = (blur(one * other, sigma_mm, grid) for one, other in ((dx, dy), (dx, dz), (dy, dz)))
    # trace(A^-1) is the sum of the principal minors over the determinant; a little noise keeps it finite.
    minors = (yy * zz - yz**2) + (xx * zz - xz**2) + (xx * yy - xy**2)
    determinant = xx * (yy * zz - yz**2) - xy * (xy * zz - yz * xz) + xz * (xy * yz - yy * xz)
    tiny = torch.finfo(image.dtype).tiny ** 0.5
    return (determinant / minors.clamp_min(tiny)).clamp_min(0)


def foerstner_keypoints(
    image: Tensor,
    grid: ImageGrid,
    mask: Tensor,
    count: int,
    distance_mm: float = 6.0,
    sigma_mm: float = 2.0,
) -> Tensor:
    """The most distinct voxels of a region, none of them close to a more distinct one.

    Args:
        image: ``(D, H, W)``.
        grid: its grid.
        mask: where keypoints may be, ``(D, H, W)`` bool.
        count: most keypoints.
        distance_mm: half edge of the box in which a keypoint is the maximum.
        sigma_mm: of the structure tensor.

    Returns:
        Voxel indices ``(n, 3)`` int64 in the order (x, y, z), the most distinct first.
    """
    measure = torch.where(mask, distinctiveness(image, grid, sigma_mm), 0.0)
    reach = [max(1, round(distance_mm / spacing)) for spacing in reversed(grid.spacing)]
    largest = largest_around(measure[None, None], reach)[0, 0]
    where = torch.nonzero((measure == largest) & (measure > 0))
    order = measure[tuple(where.T)].argsort(descending=True, stable=True)[:count]
    return where[order].flip(1)
