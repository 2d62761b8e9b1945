"""A network that finds structures in one scan: probabilities of classes at half of the scan's resolution."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import ConvBlock

_SLOPE = 0.1


class SegmentationNetwork(nn.Module):
    """U-Net with convolutions of stride 2 down and one upsampling fewer, so that it ends at half resolution.

    It is built as the feature network of Schumacher et al. 2021 (see :mod:`.semantic`): convolutions 3x3x3 of stride
    2, instance norm, leaky ReLU 0.1, trilinear upsampling, class probabilities at half resolution. Three things
    differ, since it finds organs in whole scans and not features in crops around one organ: a fourth stride, which
    lets it see far enough to tell left from right; a residual convolution after each stride; and skip connections
    that are added after a 1x1x1 convolution, which takes half of the time of concatenation.

    Args:
        channels: of the scan, see :class:`..models.card.Channel`.
        classes: class 0, "none of them", included.
        filters: of the convolutions at 1/2, 1/4, 1/8, ... of the resolution.
    """

    def __init__(self, channels: int = 2, classes: int = 7, filters: Sequence[int] = (24, 48, 96, 128)) -> None:
        super().__init__()
        if len(filters) < 2:
            raise ValueError("filters needs two numbers at least")
        self.down = nn.ModuleList(
            ConvBlock(before, after, "instance", _SLOPE, stride=2)
            for before, after in itertools.pairwise((channels, *filters))
        )
        self.refine = nn.ModuleList(ConvBlock(width, width, "instance", _SLOPE) for width in filters)
        coarse_to_fine = list(itertools.pairwise(reversed(filters)))
        self.narrow = nn.ModuleList(nn.Conv3d(low, high, 1) for low, high in coarse_to_fine)
        self.up = nn.ModuleList(ConvBlock(high, high, "instance", _SLOPE) for _, high in coarse_to_fine)
        self.classify = nn.Conv3d(filters[0], classes, 1)
        self.size_multiple = 2 ** len(filters)

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``(N, classes, D / 2, H / 2, W / 2)`` of a scan ``(N, channels, D, H, W)``.

        Its sizes are multiples of ``size_multiple``.
        """
        features = image
        skips: list[Tensor] = []
        for down, refine in zip(self.down, self.refine, strict=True):
            features = down(features)
            features = features + refine(features)
            skips.append(features)
        features = skips.pop()
        for narrow, up in zip(self.narrow, self.up, strict=True):
            skip = skips.pop()
            features = F.interpolate(narrow(features), size=skip.shape[2:], mode="trilinear", align_corners=False)
            features = up(features + skip)
        return self.classify(features)
