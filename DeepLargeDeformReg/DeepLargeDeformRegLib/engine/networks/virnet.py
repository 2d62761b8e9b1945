"""mlVIRNET: multilevel variational image registration networks for large lung motion.

A. Hering, B. van Ginneken, S. Heldmann: mlVIRNET: Multilevel Variational Image Registration Network. MICCAI 2019.
A. Hering, S. Häger, J. Moltz, N. Lessmann, S. Heldmann, B. van Ginneken: CNN-based lung CT registration with multiple
anatomical constraints. Medical Image Analysis 72, 2021.
"""

from __future__ import annotations

from .blocks import UNet, start_as_identity, xavier_uniform
from .multilevel import MultilevelNetwork


class VirNet(MultilevelNetwork):
    """U-Nets on an image pyramid, their maps composed coarse to fine.

    Each level's U-Net takes the concatenated (moving, fixed) pair: ``resolutions`` resolution levels, ``filters``
    filters doubled per resolution, 3x3x3 convolutions with normalization and ReLU, 2x2x2 average pooling, transposed
    2x2x2 convolutions that halve the channels, and a final 1x1x1 convolution to three channels.

    The defaults are those of 2021. The network of 2019 has ``norm="batch"``, ``pyramid="average"``,
    ``finest_stride=2`` (its pyramid has strides 2, 4 and 8) and ``warp_resolution="level"``.

    What the papers leave open:

    - Convolutions per resolution: two, as in the U-Net that they cite (``blocks``).
    - "Three levels" of the U-Net: three resolutions, hence two poolings. The remark of 2021 that features are
      "downsampled three-times" is ``resolutions=4``.
    - Low-pass filter: average pooling for 2019 and the binomial kernel (1 3 3 1) / 8 for 2021, both cell-centered.
    - Unit of the last layer: voxels of the level, so that the weights that a level inherits keep their meaning.
    - Order of composition: the papers write ``y_1 o ... o y_L`` and warp M with it before predicting the next level.
      The next level's map is found for the image warped so far, so it is applied first to a fixed point and the
      coarsest map last.
    - Initialization: the first level is Xavier uniform and so are the others here, until
      :meth:`inherit_level` gives them the weights of the level before, as progressive training does. The last layer
      starts at ``initial_scale``, so that an untrained network is the identity.

    Args:
        channels: channels of each image.
        levels: levels of the pyramid; 1 is the single-level VIRNET.
        filters: filters at the finest resolution of each U-Net.
        resolutions: resolutions of each U-Net.
        blocks: convolutions per resolution.
        norm: ``"instance"`` (2021), ``"batch"`` (2019) or ``"none"``.
        pyramid: ``"gaussian"`` or ``"average"``.
        finest_stride: input voxels per voxel of the finest level, a power of two.
        warp_resolution: ``"full"`` (2021: the warped full-resolution image is downsampled) or ``"level"`` (2019).
        initial_scale: standard deviation of the last layer's initial weights.
    """

    def __init__(
        self,
        channels: int = 1,
        levels: int = 3,
        filters: int = 16,
        resolutions: int = 3,
        blocks: int = 2,
        norm: str = "instance",
        pyramid: str = "gaussian",
        finest_stride: int = 1,
        warp_resolution: str = "full",
        initial_scale: float = 1e-5,
    ) -> None:
        if levels < 1 or resolutions < 1:
            raise ValueError("levels and resolutions must be at least 1")
        if finest_stride < 1 or finest_stride & (finest_stride - 1):
            raise ValueError(f"finest_stride must be a power of two, not {finest_stride}")
        widths = [filters * 2**i for i in range(resolutions)]
        nets = [UNet(2 * channels, 3, widths, blocks, blocks, norm, slope=0.0) for _ in range(levels)]
        for net in nets:
            xavier_uniform(net)
            start_as_identity(net.head, initial_scale)
        strides = [finest_stride * 2**i for i in reversed(range(levels))]
        super().__init__(channels, nets, strides, pyramid, warp_resolution, moving_first=True, padding="border")
