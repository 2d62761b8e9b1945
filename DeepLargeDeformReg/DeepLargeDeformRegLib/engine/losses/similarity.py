"""Similarity of the fixed and the warped moving image; all are losses, lower is better.

Images are ``(N, C, D, H, W)`` on one grid; an optional mask ``(N or 1, 1, D, H, W)`` (bool, or weights) restricts the
mean to the structure of interest. Every function returns a scalar.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...core.geometry import ImageGrid
from ..device import constant
from .stencils import box_count, box_sum, derivative, full_precision, masked_mean, require_same_shape, spatial_axes

FLAT_VARIANCE = 1e-5
"""Local variance, relative to the image's, below which a neighborhood counts as flat in :func:`local_ncc`."""


@full_precision
def ngf_epsilon(image: Tensor, grid: ImageGrid, mask: Tensor | None = None, noise: float = 1.0) -> Tensor:
    """Automatic edge parameter of NGF: ``eps = nu / V * integral of |grad I|`` (Haber and Modersitzki, 2006).

    Args:
        image: ``(N, C, D, H, W)``, e.g. HU.
        grid: its grid.
        mask: domain of the integral; the whole image by default.
        noise: nu, the level of noise relative to the average gradient.

    Returns:
        Scalar without history, in intensity per mm: nu times the mean gradient magnitude.
    """
    with torch.no_grad():
        squared = torch.zeros_like(image)
        for axis in spatial_axes(grid.spacing):
            squared.add_(derivative(image, axis).square_())
        return noise * masked_mean(squared.sqrt_(), mask)


@full_precision
def ngf(
    fixed: Tensor,
    warped: Tensor,
    grid: ImageGrid,
    mask: Tensor | None = None,
    epsilon: float | Tensor | None = None,
) -> Tensor:
    """Normalized gradient fields, Hering et al. 2021 (section 3.2.1), after Haber and Modersitzki 2006.

    ``1 - <gM, gF>_eps^2 / (|gM|_eps^2 |gF|_eps^2)`` with ``<f, g>_eps = sum_j f_j g_j + eps^2``, averaged over the
    (fixed) mask; within [0, 1], and 0 for identical images. The 2021 paper prints eps^2 inside of the sum, which is
    this formula with ``sqrt(3) eps``; the form of 2006 is used. Gradients are physical (intensity per mm): central
    differences, one-sided at the border. Products of gradients do not depend on the direction of the axes, so the
    spacing alone is needed.

    Args:
        fixed: ``(N, C, D, H, W)`` raw intensities, e.g. HU.
        warped: as ``fixed``.
        grid: the images' grid.
        mask: where the mean is taken; the whole image by default.
        epsilon: edge parameter, intensity per mm; the paper uses 1 for CT. ``None``: :func:`ngf_epsilon` of the
            fixed image within the mask (in a loop over one pair, compute that once and pass it).
    """
    require_same_shape(fixed, warped)
    if epsilon is None:
        epsilon = ngf_epsilon(fixed, grid, mask)
    # A constant fixed image has the automatic epsilon 0; then no edge is suppressed, and nothing divided by zero.
    edge = epsilon.to(fixed) if isinstance(epsilon, Tensor) else constant(epsilon, fixed)
    inner = edge.square().clamp_min(torch.finfo(fixed.dtype).tiny ** 0.5)
    fixed_norm = warped_norm = inner
    for axis in spatial_axes(grid.spacing):
        of_fixed, of_warped = derivative(fixed, axis), derivative(warped, axis)
        inner = torch.addcmul(inner, of_fixed, of_warped)
        fixed_norm = torch.addcmul(fixed_norm, of_fixed, of_fixed)
        warped_norm = torch.addcmul(warped_norm, of_warped, of_warped)
    # Divided one after the other: the product of two squared HU gradients leaves float32's accurate range.
    return 1 - masked_mean((inner / fixed_norm) * (inner / warped_norm), mask)


@full_precision
def local_ncc(fixed: Tensor, warped: Tensor, window: int = 9, mask: Tensor | None = None) -> Tensor:
    """Local normalized cross-correlation, squared, as in VoxelMorph and LapIRN: minus its mean, within [-1, 0].

    Identical textured images give -1; flat neighborhoods (see :data:`FLAT_VARIANCE`) contribute 0. At the border only
    the voxels inside of the image count, not zeros around it. Each image is standardized first: the measure does
    not notice, and the differences of sums stay accurate in float32 on HU.

    Args:
        fixed: ``(N, C, D, H, W)``.
        warped: as ``fixed``.
        window: edge of the cube, voxels, odd.
        mask: where the mean is taken (the neighborhoods may reach over its edge).
    """
    require_same_shape(fixed, warped)
    if window < 3 or window % 2 == 0:
        raise ValueError(f"window must be odd and at least 3, not {window}")
    fixed, warped = _standardized(fixed), _standardized(warped)
    count = box_count(tuple(fixed.shape), window, fixed)
    return -masked_mean(_SquaredLocalCorrelation.apply(fixed, warped, count, window), mask)


@full_precision
def mutual_information(
    fixed: Tensor,
    warped: Tensor,
    bins: int = 20,
    mask: Tensor | None = None,
    fixed_range: tuple[float, float] | None = None,
    warped_range: tuple[float, float] | None = None,
    width: float = 0.5,
) -> Tensor:
    """Minus the mutual information (nats) from a joint histogram with Gaussian Parzen windows.

    Every voxel spreads a weight of one over the bins, ``exp(-(i - c)^2 / (2 sigma^2))`` normalized, which keeps the
    histogram differentiable (as in VoxelMorph's and DeepReg's mutual information). Between minus ``log(bins)`` and 0.

    Args:
        fixed: ``(N, C, D, H, W)``; the channels are pooled into one histogram.
        warped: as ``fixed``.
        bins: number of bins; the papers' 20.
        mask: voxels (or weights) that enter the histogram.
        fixed_range: intensities of the first and the last bin; the image's minimum and maximum by default. Values
            outside count in the outermost bin.
        warped_range: likewise.
        width: sigma, in bins.
    """
    require_same_shape(fixed, warped)
    n, channels = fixed.shape[:2]
    of_fixed = _parzen_weights(fixed, bins, width, fixed_range)
    of_warped = _parzen_weights(warped, bins, width, warped_range)
    if mask is None:
        total: float | Tensor = of_fixed.shape[1]
        joint = of_fixed.transpose(1, 2) @ of_warped
    else:
        weights = mask.to(fixed.dtype).expand(n, channels, *fixed.shape[2:]).reshape(n, -1, 1)
        total = weights.sum(dim=1, keepdim=True).clamp_min(torch.finfo(fixed.dtype).tiny)
        joint = (of_fixed * weights).transpose(1, 2) @ of_warped
    joint = joint / total
    independent = joint.sum(dim=2, keepdim=True) * joint.sum(dim=1, keepdim=True)
    tiny = torch.finfo(fixed.dtype).eps
    information = joint * ((joint + tiny) / (independent + tiny)).log()
    return -information.sum(dim=(1, 2)).mean()


@full_precision
def similarity_pyramid(
    fixed: Tensor, warped: Tensor, levels: int = 3, window: int = 7, mask: Tensor | None = None
) -> Tensor:
    """Similarity pyramid of LapIRN (Mok and Chung, 2020, equation 2): ``sum_i -NCC_w(F_i, M_i) / 2^(K - i)``.

    Resolution K is the images' own; each coarser one is half of it (average pooling, size rounded up) and counts
    half as much. Identical images give ``-(2 - 2^(1 - K))``.

    Args:
        fixed: ``(N, C, D, H, W)`` at the resolution of the pyramid's level.
        warped: as ``fixed``.
        levels: K, the number of resolutions.
        window: w at the finest resolution, voxels; two less on each coarser one and at least 3, since the coarse
            images are small (the paper leaves w open).
        mask: where the means are taken; pooled alongside.
    """
    require_same_shape(fixed, warped)
    weights = None if mask is None else mask.to(fixed.dtype)
    total = fixed.new_zeros(())
    for octave in range(levels):
        if octave > 0:
            fixed, warped = _halved(fixed), _halved(warped)
            weights = None if weights is None else _halved(weights)
        total = total + local_ncc(fixed, warped, max(window - 2 * octave, 3), weights) / 2**octave
    return total


def _standardized(image: Tensor) -> Tensor:
    """Zero mean and unit variance per image and channel; the two numbers are constants for the gradient."""
    axes = (2, 3, 4)
    with torch.no_grad():
        mean = image.mean(dim=axes, keepdim=True)
        norm = torch.linalg.vector_norm(image - mean, dim=axes, keepdim=True)
        scale = image[0, 0].numel() ** 0.5 / norm.clamp_min(torch.finfo(image.dtype).tiny ** 0.5)
    return (image - mean) * scale


class _SquaredLocalCorrelation(torch.autograd.Function):
    """``c^2 / (v_f v_w)`` per voxel, with c, v_f, v_w the covariance and variances over its cube.

    The gradient in closed form takes three box filters and keeps a third of what autograd would.
    """

    @staticmethod
    def forward(ctx: Any, fixed: Tensor, warped: Tensor, count: Tensor, window: int) -> Tensor:
        share = count.reciprocal()
        fixed_mean, warped_mean = box_sum(fixed, window).mul_(share), box_sum(warped, window).mul_(share)
        covariance = box_sum(fixed * warped, window).mul_(share).addcmul_(fixed_mean, warped_mean, value=-1)
        fixed_variance = _variance(fixed, fixed_mean, share, window)
        warped_variance = _variance(warped, warped_mean, share, window)
        ratio = (covariance / fixed_variance).div_(warped_variance)
        result = ratio * covariance
        ctx.save_for_backward(
            fixed, warped, share, fixed_mean, warped_mean, fixed_variance, warped_variance, ratio, result
        )
        ctx.window = window
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        fixed, warped, share, fixed_mean, warped_mean, fixed_variance, warped_variance, ratio, result = (
            ctx.saved_tensors
        )
        scaled = gradients[0] * (2 * share)
        by_covariance = ratio * scaled
        by_variance = (result * scaled).neg_()
        smooth = box_sum(by_covariance, ctx.window)

        def of(image: Tensor, mean: Tensor, variance: Tensor, other: Tensor, other_mean: Tensor) -> Tensor:
            weight = by_variance / variance
            total = (by_covariance * other_mean).addcmul_(weight, mean)
            gradient = box_sum(total, ctx.window).neg_().addcmul_(smooth, other)
            return gradient.addcmul_(box_sum(weight, ctx.window), image)

        of_fixed = of_warped = None
        if ctx.needs_input_grad[0]:
            of_fixed = of(fixed, fixed_mean, fixed_variance, warped, warped_mean)
        if ctx.needs_input_grad[1]:
            of_warped = of(warped, warped_mean, warped_variance, fixed, fixed_mean)
        return of_fixed, of_warped, None, None


def _variance(image: Tensor, mean: Tensor, share: Tensor, window: int) -> Tensor:
    square = box_sum(image * image, window).mul_(share)
    return square.addcmul_(mean, mean, value=-1).clamp_min_(0).add_(FLAT_VARIANCE)


def _parzen_weights(image: Tensor, bins: int, width: float, intensity_range: tuple[float, float] | None) -> Tensor:
    """Share of each voxel in each bin, ``(N, voxels, bins)``.

    The square of the intensity is common to all bins and cancels, so the weights are a softmax of linear functions.
    """
    n = image.shape[0]
    flat = image.reshape(n, -1, 1)
    if intensity_range is None:
        lower = flat.detach().amin(dim=1, keepdim=True)
        upper = flat.detach().amax(dim=1, keepdim=True)
    else:
        lower, upper = (constant(value, flat) for value in intensity_range)
    position = (flat - lower) * ((bins - 1) / (upper - lower).clamp_min(torch.finfo(image.dtype).tiny ** 0.5))
    position = position.clamp(0, bins - 1)
    center = torch.arange(bins, dtype=image.dtype, device=image.device)
    precision = 1 / width**2
    return torch.softmax(position * (center * precision) - center.square() * (precision / 2), dim=2)


def _halved(image: Tensor) -> Tensor:
    return F.avg_pool3d(image, 2, ceil_mode=True, count_include_pad=False)


class SimilarityLoss(nn.Module):
    """Base of the similarity modules, called as ``loss(fixed, warped, grid, mask=None)``."""

    family: ClassVar[str] = "similarity"

    def forward(self, fixed: Tensor, warped: Tensor, grid: ImageGrid, mask: Tensor | None = None) -> Tensor:
        """Scalar loss of images ``(N, C, D, H, W)``."""
        raise NotImplementedError


class NGF(SimilarityLoss):
    """Module of :func:`ngf`."""

    def __init__(self, epsilon: float | None = None) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, fixed: Tensor, warped: Tensor, grid: ImageGrid, mask: Tensor | None = None) -> Tensor:
        return ngf(fixed, warped, grid, mask, self.epsilon)


class LocalNCC(SimilarityLoss):
    """Module of :func:`local_ncc`."""

    def __init__(self, window: int = 9) -> None:
        super().__init__()
        self.window = window

    def forward(self, fixed: Tensor, warped: Tensor, grid: ImageGrid, mask: Tensor | None = None) -> Tensor:
        return local_ncc(fixed, warped, self.window, mask)


class MutualInformation(SimilarityLoss):
    """Module of :func:`mutual_information`."""

    def __init__(
        self,
        bins: int = 20,
        fixed_range: tuple[float, float] | None = None,
        warped_range: tuple[float, float] | None = None,
        width: float = 0.5,
    ) -> None:
        super().__init__()
        self.bins, self.width = bins, width
        self.fixed_range, self.warped_range = fixed_range, warped_range

    def forward(self, fixed: Tensor, warped: Tensor, grid: ImageGrid, mask: Tensor | None = None) -> Tensor:
        return mutual_information(fixed, warped, self.bins, mask, self.fixed_range, self.warped_range, self.width)


class SimilarityPyramid(SimilarityLoss):
    """Module of :func:`similarity_pyramid`."""

    def __init__(self, levels: int = 3, window: int = 7) -> None:
        super().__init__()
        self.levels, self.window = levels, window

    def forward(self, fixed: Tensor, warped: Tensor, grid: ImageGrid, mask: Tensor | None = None) -> Tensor:
        return similarity_pyramid(fixed, warped, self.levels, self.window, mask)
