"""Layers as a processor computes them fastest, outside of training: the same numbers, to rounding, by other ways.

For one image, the channels of whose voxels lie together (``torch.channels_last_3d``), torch's own layers lose half of
the time: instance norm and pooling take the channels apart and put them together again, a concatenation copies what a
sum of two convolutions does not need, and each new tensor of hundreds of megabytes costs as much as a convolution of
few channels, since its memory must be asked from the system. Here instance norm and activation work in place, slab by
slab in the processor's cache, and batch norm is part of the convolution's weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SLAB_BYTES = 1 << 21  # of a slab of planes, to be within the cache
_LAYOUT = torch.channels_last_3d


def applies(features: Sequence[Tensor], convolution: nn.Conv3d) -> bool:
    """Whether features may take the quick ways through a convolution and what follows it."""
    return (
        not convolution.training
        and all(_is_single(part) for part in features)
        and convolution.weight.is_contiguous(memory_format=_LAYOUT)
    )


def convolved(features: Sequence[Tensor], convolution: nn.Conv3d, norm: nn.Module, activation: nn.Module) -> Tensor:
    """Convolution, normalization and activation of features, as if they were concatenated.

    Args:
        features: each ``(1, C, D, H, W)``; :func:`applies` holds for them.
        convolution: of all their channels.
        norm: instance norm with scale and shift, batch norm, or what leaves features as they are.
        activation: works in place.
    """
    weight, bias = convolution.weight, convolution.bias
    if isinstance(norm, nn.BatchNorm3d):
        weight, bias = _folded(convolution, norm)
    total: Tensor | None = None
    for part, kernel in zip(features, weight.split([part.shape[1] for part in features], dim=1), strict=True):
        part, kernel = (tensor.contiguous(memory_format=_LAYOUT) for tensor in (part, kernel))
        if total is None:
            total = F.conv3d(part, kernel, bias, convolution.stride, convolution.padding)
        else:
            total += F.conv3d(part, kernel, None, convolution.stride, convolution.padding)
    assert total is not None
    if isinstance(norm, nn.InstanceNorm3d) and total.is_contiguous(memory_format=_LAYOUT):
        return _normalized_in_place(total, norm, activation)
    return activation(total if isinstance(norm, nn.BatchNorm3d) else norm(total))


def pooled(features: Tensor) -> Tensor:
    """Average over cells of 2x2x2 voxels."""
    if not _is_single(features) or not features.is_contiguous(memory_format=_LAYOUT):
        return F.avg_pool3d(features, 2)
    # Pooling has no code of its own for channels that lie together, nor for half precision.
    channels = features.shape[1]
    return F.conv3d(features, features.new_full((channels, 1, 2, 2, 2), 1 / 8), stride=2, groups=channels)


def _is_single(features: Tensor) -> bool:
    """One image on a processor, outside of training."""
    return not torch.is_grad_enabled() and features.device.type == "cpu" and features.shape[0] == 1


def _folded(convolution: nn.Conv3d, norm: nn.BatchNorm3d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with the batch norm that follows it."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    scale = norm.weight * (variance + norm.eps).rsqrt()
    bias = norm.bias - mean * scale
    if convolution.bias is not None:
        bias = bias + convolution.bias * scale
    return convolution.weight * scale.reshape(-1, 1, 1, 1, 1), bias


def _normalized_in_place(features: Tensor, norm: nn.InstanceNorm3d, activation: nn.Module) -> Tensor:
    """Instance norm and activation.

    Means and variances of slabs are combined in double precision (Chan et al. 1983): a sum of millions of voxels in
    single precision loses four digits.
    """
    plane = features[0, :, 0].numel() * features.element_size()
    slabs = features.split(max(1, _SLAB_BYTES // plane), dim=2)
    means, deviations = [], []
    for slab in slabs:
        _, mean, inverse = torch.native_batch_norm(slab, None, None, None, None, True, 0.0, norm.eps)
        means.append(mean)
        deviations.append(inverse)
    share = torch.tensor([slab.shape[2] / features.shape[2] for slab in slabs], dtype=torch.float64)[:, None]
    each = torch.stack(means).double()
    mean = (share * each).sum(dim=0)
    variances = torch.stack(deviations).double() ** -2 - norm.eps
    variance = (share * (variances + (each - mean) ** 2)).sum(dim=0).clamp(min=0)
    mean, variance = mean.to(norm.weight.dtype), variance.to(norm.weight.dtype)
    for slab in slabs:
        slab.copy_(activation(F.batch_norm(slab, mean, variance, norm.weight, norm.bias, eps=norm.eps)))
    return features
