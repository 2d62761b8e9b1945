"""LDGNet: VoxelMorph with enhancement and guidance of large-deformation features.

H. Sun, X. Du: Large Deformation Features Guided Network for Medical Image Registration. 2023.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .blocks import Convolution, ReceptiveField, activation
from .voxelmorph import VoxelMorph


def taps_inside(rate: int, shape: Sequence[int]) -> int:
    """How many of the 27 taps of a 3x3x3 convolution read a voxel of a map at one place at least, the others padding.

    Args:
        rate: of dilation.
        shape: voxels of the map along each axis.
    """
    count = 1
    for length in shape:
        count *= 3 if rate < length else 1
    return count


class Enhancement(nn.Module):
    """Large-deformation feature enhancement (section 2.2): parallel dilated convolutions, fused to the input's width.

    The paper names no activation; each dilated convolution has the leaky ReLU of the rest of the network.
    """

    def __init__(self, width: int, rates: Sequence[int], slope: float) -> None:
        super().__init__()
        self.dilated = nn.ModuleList(Convolution(width, width, 3, padding=rate, dilation=rate) for rate in rates)
        self.activation = activation(slope)
        self.fuse = Convolution(len(rates) * width, width, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.fuse(torch.cat([self.activation(conv(features)) for conv in self.dilated], dim=1))


class Guidance(nn.Module):
    """Large-deformation feature guidance of one skip connection (section 2.3).

    Channel attention: encoder and upsampled decoder maps, concatenated and fused by 1x1x1 to the encoder's width, are
    average- and max-pooled over space; the sigmoid of the sum weighs the encoder map's channels. Spatial attention:
    the weighted map is average- and max-pooled over channels; the sigmoid of a 1x1x1 convolution of the two weighs
    its voxels.
    """

    def __init__(self, encoded: int, decoded: int) -> None:
        super().__init__()
        self.fuse = Convolution(encoded + decoded, encoded, 1)
        self.squeeze = Convolution(2, 1, 1)

    def forward(self, encoded: Tensor, decoded: Tensor) -> Tensor:
        enhanced = encoded * self.channel_attention(encoded, decoded)
        return enhanced * self.spatial_attention(enhanced)

    def channel_attention(self, encoded: Tensor, decoded: Tensor) -> Tensor:
        """Weights ``(N, C, 1, 1, 1)`` of the encoder map's channels."""
        fused = self.fuse(torch.cat((encoded, decoded), dim=1))
        space = (2, 3, 4)
        return torch.sigmoid(fused.mean(space, keepdim=True) + fused.amax(space, keepdim=True))

    def spatial_attention(self, enhanced: Tensor) -> Tensor:
        """Weights ``(N, 1, D, H, W)`` of the voxels."""
        pooled = torch.cat((enhanced.mean(1, keepdim=True), enhanced.amax(1, keepdim=True)), dim=1)
        return torch.sigmoid(self.squeeze(pooled))


class LDGNet(VoxelMorph):
    """VoxelMorph (model A) with guidance at the skips (B), enhancement at the bottleneck (C), or both (D, LDGNet).

    What the paper leaves open:

    - Filters, decoder and slope: those of VoxelMorph, its baseline (see :class:`VoxelMorph`).
    - Dilation rates: the paper's 6, 12 and 18 come from two-dimensional segmentation, and its bottleneck is small. At
      the paper's size of 160x192x224 it has 10x12x14 voxels: a tap of the kernel lies outside wherever its offset is
      at least the length of the axis, so at rate 12 only 3 of 27 taps ever read a voxel (the middle one and two along
      the longest axis) and at rate 18 one; at 48x64x48 (3x4x3 voxels) one at each rate, and the module is a
      1x1x1 convolution. :func:`taps_inside` counts them. The module is kept as the paper has it; the variant
      ``ldgnet-near`` has the rates 1, 2 and 3, which fit.
    - Guidance "at the skip connections": at all four, the one at full resolution included, where the encoder map is
      the image pair itself. ``guide_images=False`` leaves that one plain.

    Args:
        channels: channels of each image.
        ablation: ``"A"``, ``"B"``, ``"C"`` or ``"D"`` of the paper's table 2.
        rates: dilation rates of the enhancement.
        guide_images: guide the skip connection at full resolution as well.
        encoder: filters, see :class:`VoxelMorph`.
        decoder: filters, see :class:`VoxelMorph`.
        slope: of the leaky ReLU.
        initial_scale: standard deviation of the last layer's initial weights.
    """

    def __init__(
        self,
        channels: int = 1,
        ablation: str = "D",
        rates: Sequence[int] = (6, 12, 18),
        guide_images: bool = True,
        encoder: Sequence[int] = (16, 32, 32, 32),
        decoder: Sequence[int] = (32, 32, 32, 32, 32, 16, 16),
        slope: float = 0.2,
        initial_scale: float = 1e-5,
    ) -> None:
        if ablation not in ("A", "B", "C", "D"):
            raise ValueError(f"ablation must be 'A', 'B', 'C' or 'D', not {ablation!r}")
        super().__init__(channels, encoder, decoder, slope, initial_scale)
        self._rates = tuple(rates) if ablation in "CD" else ()
        if ablation in "CD":
            self.bottleneck = Enhancement(encoder[3], rates, slope)
        if ablation in "BD":
            encoded = (encoder[2], encoder[1], encoder[0], 2 * channels)
            decoded = (decoder[0], decoder[1], decoder[2], decoder[4])
            for i in range(4 if guide_images else 3):
                self.skips[i] = Guidance(encoded[i], decoded[i])

    def receptive_field(self) -> int:
        field = ReceptiveField().convolve(3, stride=2, times=4)
        if self._rates:
            field.convolve(3, dilation=max(self._rates))
        return self._count_decoder(field)
