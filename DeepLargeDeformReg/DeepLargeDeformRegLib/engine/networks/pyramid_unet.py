"""A pyramid of wide U-Nets composed coarse to fine: the network of the first liver weights.

It follows the multilevel scheme of Hering et al. 2021 (see :mod:`.virnet`) with deeper U-Nets and a last layer whose
unit is a share of the image's extent rather than a voxel.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..device import constant
from .blocks import UNet, start_as_identity
from .multilevel import MultilevelNetwork


class PyramidUNet(MultilevelNetwork):
    """One U-Net a level on (fixed, warped moving); two blocks per resolution down, one up, instance norm.

    Args:
        channels: channels of each image.
        levels: levels of the pyramid of average pooling; the finest has input resolution.
        filters: filters per resolution of each U-Net, finest first.
        encoder_blocks: convolutions per resolution on the way down.
        decoder_blocks: convolutions per resolution on the way up.
        slope: of the leaky ReLU.
        output_scale: the last layer's output times this is the displacement as a share of half the extent of the
            image along its axis.
        padding: what lies outside of the moving image, ``"zeros"`` or ``"border"``.
        initial_scale: standard deviation of the last layer's initial weights.
    """

    def __init__(
        self,
        channels: int = 2,
        levels: int = 3,
        filters: Sequence[int] = (16, 32, 64, 128),
        encoder_blocks: int = 2,
        decoder_blocks: int = 1,
        slope: float = 0.1,
        output_scale: float = 0.1,
        padding: str = "zeros",
        initial_scale: float = 1e-3,
    ) -> None:
        nets = [
            UNet(2 * channels, 3, tuple(filters), encoder_blocks, decoder_blocks, "instance", slope)
            for _ in range(levels)
        ]
        for net in nets:
            start_as_identity(net.head, initial_scale)
        strides = [2**i for i in reversed(range(levels))]
        super().__init__(channels, nets, strides, "average", "full", moving_first=False, padding=padding)
        self.output_scale = output_scale

    def _to_voxels(self, prediction: Tensor) -> Tensor:
        half_extent = [length / 2 for length in prediction.shape[:1:-1]]
        return prediction * constant([self.output_scale * h for h in half_extent], prediction).reshape(1, 3, 1, 1, 1)
