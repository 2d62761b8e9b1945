"""MIND-SSC: the self-similarity context descriptor, for scans of different modalities, phases or contrast.

Heinrich et al., "Towards realtime multimodal fusion for image-guided interventions using self-similarities", MICCAI
2013. Twelve channels compare the patches around those pairs of a voxel's six neighbors that are sqrt(2) apart.

The twelve pairs are the edges of an octahedron, and opposite edges are parallel: two pairs share one image of squared
differences, read at two offsets. So six box filters serve twelve channels, and nothing is kept for the backward pass
but the padded image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.geometry import ImageGrid
from .similarity import SimilarityLoss
from .stencils import full_precision, require_same_shape

CHANNELS = 12
_VARIANCE_RANGE = (1e-3, 1e3)  # of the image's mean, as in Heinrich's implementation: keeps flat regions finite

Offset = tuple[int, int, int]


@full_precision
def mind_ssc(image: Tensor, radius: int = 1, dilation: int = 2) -> Tensor:
    """MIND-SSC features of an image.

    ``exp(-(d_k - min d) / V)`` with d_k the mean squared difference of two patches and V the mean of ``d_k - min d``
    over the twelve pairs, clamped to 1/1000 ... 1000 times its mean over the image. The image continues beyond its
    border with the nearest voxel's value.

    Args:
        image: ``(N, C, D, H, W)``; each channel is described by itself.
        radius: of the cubic patch, voxels (1: 3x3x3).
        dilation: distance of the neighbors, voxels.

    Returns:
        ``(N, 12 C, D, H, W)`` within (0, 1]; the best matching pair of each voxel has 1. A constant image has 1
        everywhere.
    """
    if image.dim() != 5:
        raise ValueError(f"an image (N, C, D, H, W) is needed, not {tuple(image.shape)}")
    if radius < 0 or dilation < 1:
        raise ValueError(f"radius must be at least 0 and dilation at least 1, not {radius} and {dilation}")
    n, channels, *spatial = image.shape
    padded = F.pad(image.reshape(n * channels, 1, *spatial), [radius + dilation] * 6, mode="replicate")
    features = _SelfSimilarity.apply(padded, radius, dilation)
    return features.reshape(n, CHANNELS * channels, *spatial)


@full_precision
def feature_ssd(fixed_features: Tensor, warped_features: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared difference of features ``(N, C, D, H, W)`` over channels and voxels (of the mask)."""
    require_same_shape(fixed_features, warped_features)
    n, channels = fixed_features.shape[:2]
    weights = None if mask is None else mask.to(fixed_features.dtype)
    total = _SquaredDifference.apply(fixed_features, warped_features, weights)
    if weights is None:
        return total / fixed_features.numel()
    count = weights.expand(n, *weights.shape[1:]).sum() * channels
    return total / count.clamp_min(torch.finfo(weights.dtype).tiny)


def mind_ssc_loss(
    fixed: Tensor, warped: Tensor, radius: int = 1, dilation: int = 2, mask: Tensor | None = None
) -> Tensor:
    """Mean squared difference of the MIND-SSC features of two images ``(N, C, D, H, W)``; 0 for identical ones.

    Where the fixed image stays the same, take its :func:`mind_ssc` once and call :func:`feature_ssd`.
    """
    require_same_shape(fixed, warped)
    return feature_ssd(mind_ssc(fixed, radius, dilation), mind_ssc(warped, radius, dilation), mask)


def _difference_images(dilation: int) -> Iterator[tuple[Offset, tuple[Offset, Offset]]]:
    """The six difference vectors v, each with the two neighbors from which it leads to another neighbor.

    Offsets in voxels per tensor dimension (D, H, W); ``p`` and ``p + v`` are both among the six neighbors.
    """
    for a, b in ((0, 1), (0, 2), (1, 2)):
        forward_a, forward_b = [0, 0, 0], [0, 0, 0]
        forward_a[a] = forward_b[b] = dilation
        for sign in (1, -1):
            # From +a to +b, and parallel to it from -b to -a; from +a to -b, and from +b to -a.
            vector = [sign * y - x for x, y in zip(forward_a, forward_b, strict=True)]
            second = [-sign * y for y in forward_b]
            yield _offset(vector), (_offset(forward_a), _offset(second))


class _SelfSimilarity(torch.autograd.Function):
    """Features ``(N, 12, D, H, W)`` of an image ``(N, 1, ...)`` padded by radius + dilation.

    Works channel by channel on tensors of one channel; those of twelve cost more to allocate than to fill.
    """

    @staticmethod
    def forward(ctx: Any, padded: Tensor, radius: int, dilation: int) -> Tensor:
        shape = tuple(length - 2 * (radius + dilation) for length in padded.shape[2:])
        features = padded.new_empty((padded.shape[0], CHANNELS, *shape))
        channels = features.split(1, dim=1)
        _patch_distances(padded, channels, radius, dilation)
        minimum = channels[0].clone()
        for channel in channels[1:]:
            torch.minimum(minimum, channel, out=minimum)
        variance = torch.zeros_like(minimum)
        for channel in channels:
            variance.add_(channel.sub_(minimum))
        variance.mul_(1 / CHANNELS)
        average = variance.mean(dim=(2, 3, 4), keepdim=True)
        tiny = torch.finfo(variance.dtype).tiny ** 0.5
        lower, upper = ((average * factor).clamp_min(tiny) for factor in _VARIANCE_RANGE)
        clamped = (variance < lower) | (variance > upper)
        precision = variance.clamp_(lower, upper).reciprocal_()
        for channel in channels:
            channel.mul_(precision).neg_().exp_()
        ctx.save_for_backward(padded, features, precision, clamped)
        ctx.radius, ctx.dilation = radius, dilation
        return features

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        padded, features, precision, clamped = ctx.saved_tensors
        # With e = -d' / V the logarithm of a feature and g its gradient, g_d' = -g_e / V + g_V / 12 where
        # g_e = g exp(e) and g_V = -sum_k g_e e / V; the minimum, subtracted from all, gets minus the sum.
        by_logarithm, total = torch.zeros_like(precision), torch.zeros_like(precision)
        tiny = torch.finfo(features.dtype).tiny
        for feature, gradient in zip(features.split(1, dim=1), gradients[0].split(1, dim=1), strict=True):
            product = feature * gradient
            total.add_(product)
            by_logarithm.addcmul_(product, feature.clamp_min(tiny).log_())
        shared = by_logarithm.mul_(precision).mul_(-1 / CHANNELS).masked_fill_(clamped, 0)
        of_minimum = total.mul_(precision).sub_(shared, alpha=CHANNELS)
        open_minimum = torch.ones_like(clamped)

        def of_distance(channel: int) -> Tensor:
            feature = features[:, channel : channel + 1]
            result = torch.addcmul(shared, feature * gradients[0][:, channel : channel + 1], precision, value=-1)
            is_minimum = (feature == 1).logical_and_(open_minimum)
            open_minimum.logical_xor_(is_minimum)
            return result.addcmul_(of_minimum, is_minimum.to(result.dtype))

        return _patch_distances_adjoint(padded, of_distance, ctx.radius, ctx.dilation), None, None


class _SquaredDifference(torch.autograd.Function):
    """Weighted sum of squared differences, channel by channel as above."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, weights: Tensor | None) -> Tensor:
        ctx.save_for_backward(first, second, weights)
        total = first.new_zeros(())
        for one, other in zip(first.split(1, dim=1), second.split(1, dim=1), strict=True):
            square = (one - other).square_()
            total += square.sum() if weights is None else square.mul_(weights).sum()
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        first, second, weights = ctx.saved_tensors
        result = torch.empty_like(first)
        factor = 2 * gradients[0] if weights is None else weights * (2 * gradients[0])
        for channel in range(first.shape[1]):
            here = slice(channel, channel + 1)
            torch.sub(first[:, here], second[:, here], out=result[:, here])
            result[:, here].mul_(factor)
        if not ctx.needs_input_grad[0]:
            return None, result.neg_(), None
        return result, -result if ctx.needs_input_grad[1] else None, None


def _patch_distances(padded: Tensor, channels: Sequence[Tensor], radius: int, dilation: int) -> None:
    """Write the mean squared patch differences of the twelve pairs into ``channels``, each ``(N, 1, D, H, W)``."""
    shape = tuple(channels[0].shape[2:])
    outputs = iter(channels)
    for vector, neighbors in _difference_images(dilation):
        base, moved = _operands(padded, vector, neighbors, radius, dilation)
        total = _window_sum((base - moved).square_(), 2 * radius + 1)
        for neighbor in neighbors:
            torch.mul(_part(total, neighbor, neighbors, shape), (2 * radius + 1) ** -3, out=next(outputs))


def _patch_distances_adjoint(
    padded: Tensor, gradient_of: Callable[[int], Tensor], radius: int, dilation: int
) -> Tensor:
    """Gradient of the padded image, given that of each channel (asked for in order)."""
    result = torch.zeros_like(padded)
    channel = 0
    for vector, neighbors in _difference_images(dilation):
        base, moved = _operands(padded, vector, neighbors, radius, dilation)
        difference = base - moved
        total = torch.zeros_like(_crop(difference, (0, 0, 0), [n - 2 * radius for n in difference.shape[2:]]))
        for neighbor in neighbors:
            gradient = gradient_of(channel)
            _part(total, neighbor, neighbors, tuple(gradient.shape[2:])).add_(gradient)
            channel += 1
        difference.mul_(_window_sum_adjoint(total, 2 * radius + 1)).mul_(2.0 * (2 * radius + 1) ** -3)
        base_gradient, moved_gradient = _operands(result, vector, neighbors, radius, dilation)
        base_gradient.add_(difference)
        moved_gradient.sub_(difference)
    return result


def _operands(
    padded: Tensor, vector: Offset, neighbors: tuple[Offset, Offset], radius: int, dilation: int
) -> tuple[Tensor, Tensor]:
    """Views of the padded image at all places from which the two pairs start, and where the vector leads."""
    reach = radius + dilation
    starts, lengths = [], []
    for dim in range(3):
        low = min(neighbor[dim] for neighbor in neighbors)
        high = max(neighbor[dim] for neighbor in neighbors)
        starts.append(dilation + low)
        lengths.append(padded.shape[dim + 2] - 2 * reach + high - low + 2 * radius)
    base = _crop(padded, starts, lengths)
    return base, _crop(padded, [start + step for start, step in zip(starts, vector, strict=True)], lengths)


def _crop(image: Tensor, starts: Sequence[int], lengths: Sequence[int]) -> Tensor:
    for dim, (start, length) in enumerate(zip(starts, lengths, strict=True), start=2):
        image = image.narrow(dim, start, length)
    return image


def _part(total: Tensor, neighbor: Offset, neighbors: tuple[Offset, Offset], shape: tuple[int, ...]) -> Tensor:
    """View of the sums at ``x + neighbor`` for all voxels x of the image."""
    starts = [neighbor[dim] - min(other[dim] for other in neighbors) for dim in range(3)]
    return _crop(total, starts, shape)


def _window_sum(image: Tensor, window: int) -> Tensor:
    """Sums over cubes that lie in the image: each spatial axis gets ``window - 1`` shorter."""
    for dim in (2, 3, 4):
        length = image.shape[dim] - window + 1
        total = image.narrow(dim, 0, length).clone()
        for shift in range(1, window):
            total.add_(image.narrow(dim, shift, length))
        image = total
    return image


def _window_sum_adjoint(gradient: Tensor, window: int) -> Tensor:
    for dim in (2, 3, 4):
        length = gradient.shape[dim]
        shape = list(gradient.shape)
        shape[dim] = length + window - 1
        total = gradient.new_zeros(shape)
        for shift in range(window):
            total.narrow(dim, shift, length).add_(gradient)
        gradient = total
    return gradient


def _offset(values: list[int]) -> Offset:
    z, y, x = values
    return (z, y, x)


class MINDSSC(SimilarityLoss):
    """Module of :func:`mind_ssc_loss`."""

    def __init__(self, radius: int = 1, dilation: int = 2) -> None:
        super().__init__()
        self.radius, self.dilation = radius, dilation

    def forward(self, fixed: Tensor, warped: Tensor, grid: ImageGrid, mask: Tensor | None = None) -> Tensor:
        return mind_ssc_loss(fixed, warped, self.radius, self.dilation, mask)
