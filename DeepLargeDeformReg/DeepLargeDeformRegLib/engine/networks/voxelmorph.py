"""VoxelMorph: the baseline that the other papers compare with, and on which LDGNet builds.

G. Balakrishnan, A. Zhao, M. Sabuncu, J. Guttag, A. Dalca: VoxelMorph: A Learning Framework for Deformable Medical
Image Registration. IEEE Transactions on Medical Imaging 38(8), 2019.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import LevelField, NetworkOutput, RegistrationNetwork
from .blocks import ConvBlock, Convolution, ReceptiveField, start_as_identity


class PlainSkip(nn.Module):
    """Skip connection that passes the encoder's map on unchanged."""

    def forward(self, encoded: Tensor, decoded: Tensor) -> Tensor:
        return encoded


class VoxelMorph(RegistrationNetwork):
    """U-Net of four 3x3x3 convolutions of stride 2 (to 1/16), each with leaky ReLU, and a decoder with skips.

    The decoder convolves at 1/16, 1/8, 1/4 and 1/2, after each nearest-neighbor upsampling and concatenation with the
    encoder's map of the same resolution; once more at 1/2; and twice at full resolution, after concatenation with the
    images. A 3x3x3 convolution makes the displacement, in voxels. No normalization layers.

    The defaults are VoxelMorph-2 of the authors' published code, which the papers here build on.

    Args:
        channels: channels of each image.
        encoder: filters at 1/2, 1/4, 1/8 and 1/16.
        decoder: filters of the seven convolutions on the way up.
        slope: of the leaky ReLU.
        initial_scale: standard deviation of the last layer's initial weights.
    """

    def __init__(
        self,
        channels: int = 1,
        encoder: Sequence[int] = (16, 32, 32, 32),
        decoder: Sequence[int] = (32, 32, 32, 32, 32, 16, 16),
        slope: float = 0.2,
        initial_scale: float = 1e-5,
    ) -> None:
        if len(encoder) != 4 or len(decoder) != 7:
            raise ValueError("encoder needs 4 and decoder 7 numbers of filters")
        super().__init__(channels, 16)
        widths = [2 * channels, *encoder]
        self.encoder = nn.ModuleList(
            ConvBlock(before, after, "none", slope, stride=2) for before, after in itertools.pairwise(widths)
        )
        self.bottleneck: nn.Module = nn.Identity()
        self.skips = nn.ModuleList(PlainSkip() for _ in range(4))
        inputs = [
            encoder[3],
            decoder[0] + encoder[2],
            decoder[1] + encoder[1],
            decoder[2] + encoder[0],
            decoder[3],
            decoder[4] + 2 * channels,
            decoder[5],
        ]
        self.decoder = nn.ModuleList(
            ConvBlock(before, after, "none", slope) for before, after in zip(inputs, decoder, strict=True)
        )
        self.head = Convolution(decoder[-1], 3, 3, padding=1)
        start_as_identity(self.head, initial_scale)

    def receptive_field(self) -> int:
        return self._count_decoder(ReceptiveField().convolve(3, stride=2, times=4))

    def _count_decoder(self, field: ReceptiveField) -> int:
        for convolutions in (1, 1, 1, 2):
            field.convolve(3, times=convolutions).upsample(2)
        return field.convolve(3, times=3).size

    def _run(self, fixed: Tensor, moving: Tensor) -> NetworkOutput:
        maps = [torch.cat((fixed, moving), dim=1)]
        for block in self.encoder:
            maps.append(block(maps[-1]))
        features = self.decoder[0](self.bottleneck(maps.pop()))
        features = self.decoder[1](self._join(features, maps.pop(), self.skips[0]))
        features = self.decoder[2](self._join(features, maps.pop(), self.skips[1]))
        features = self.decoder[3](self._join(features, maps.pop(), self.skips[2]))
        features = self.decoder[4](features)
        features = self.decoder[5](self._join(features, maps.pop(), self.skips[3]))
        displacement = self.head(self.decoder[6](features)).float()
        return NetworkOutput(displacement, (LevelField(displacement, 1),))

    @staticmethod
    def _join(features: Tensor, encoded: Tensor, skip: nn.Module) -> Tensor:
        """Upsample the decoder's map and concatenate it with what the skip connection lets through."""
        features = F.interpolate(features, scale_factor=2, mode="nearest")
        return torch.cat((features, skip(encoded, features)), dim=1)
