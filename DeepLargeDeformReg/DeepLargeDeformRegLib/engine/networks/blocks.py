"""Building blocks that several networks share."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import quick


def activation(slope: float) -> nn.Module:
    """ReLU for slope 0, else leaky ReLU; in place, so it may follow only what nothing else reads."""
    return nn.ReLU(inplace=True) if slope == 0 else nn.LeakyReLU(slope, inplace=True)


def normalization(kind: str, channels: int) -> nn.Module:
    """``"batch"``, ``"instance"`` (with learned scale and shift) or ``"none"``."""
    if kind == "batch":
        return nn.BatchNorm3d(channels)
    if kind == "instance":
        return nn.InstanceNorm3d(channels, affine=True)
    if kind == "none":
        return nn.Identity()
    raise ValueError(f"norm must be 'batch', 'instance' or 'none', not {kind!r}")


class Convolution(nn.Conv3d):
    """A convolution whose gradients are right on any device and in any precision.

    On processors, oneDNN's bfloat16 gradients of convolutions are wrong for few slices, by all of their size or
    infinitely, and some corrupt memory (torch 2.13.0). So while a network trains there, these compute in float32;
    they are small.
    """

    _FEWEST_SLICES = 4  # wrong for 2 of them, and with stride 2 for 1; one more than that of room

    def forward(self, features: Tensor) -> Tensor:
        few = features.shape[2] < self._FEWEST_SLICES and features.device.type == "cpu"
        if few and torch.is_grad_enabled() and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return super().forward(features.float()).to(torch.get_autocast_dtype("cpu"))
        return super().forward(features)


class ConvBlock(nn.Module):
    """Convolution 3x3x3 with padding 1, normalization, (leaky) ReLU.

    It takes features, or several that are concatenated.
    """

    def __init__(
        self, inputs: int, outputs: int, norm: str = "instance", slope: float = 0.1, stride: int = 1
    ) -> None:
        super().__init__()
        # Short names: they are part of the keys of published weights.
        self.c = Convolution(inputs, outputs, kernel_size=3, stride=stride, padding=1)
        self.n = normalization(norm, outputs)
        self.a = activation(slope)

    def forward(self, *features: Tensor) -> Tensor:
        if quick.applies(features, self.c):
            return quick.convolved(features, self.c, self.n, self.a)
        return self.a(self.n(self.c(features[0] if len(features) == 1 else torch.cat(features, dim=1))))


class UNet(nn.Module):
    """U-Net with average pooling and transposed convolutions, ending in a 1x1x1 convolution.

    Args:
        inputs: input channels.
        outputs: channels of the last layer.
        filters: channels at each resolution, finest first; between two of them 2x2x2 average pooling on the way
            down, a 2x2x2 transposed convolution and the concatenation with the skip connection on the way up.
        encoder_blocks: convolution blocks per resolution on the way down.
        decoder_blocks: likewise on the way up.
        norm: see :func:`normalization`.
        slope: of the leaky ReLU; 0 is ReLU.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        filters: Sequence[int],
        encoder_blocks: int = 2,
        decoder_blocks: int = 2,
        norm: str = "instance",
        slope: float = 0.0,
    ) -> None:
        super().__init__()
        widths = [inputs, *filters]
        self.enc = nn.ModuleList(
            _blocks(before, after, encoder_blocks, norm, slope) for before, after in itertools.pairwise(widths)
        )
        steps = list(itertools.pairwise(reversed(filters)))
        self.up = nn.ModuleList(nn.ConvTranspose3d(low, high, kernel_size=2, stride=2) for low, high in steps)
        self.dec = nn.ModuleList(_blocks(2 * high, high, decoder_blocks, norm, slope) for _, high in steps)
        self.head = Convolution(filters[0], outputs, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for i, blocks in enumerate(self.enc):
            features = blocks(features if i == 0 else quick.pooled(features))
            skips.append(features)
        skips.pop()
        for up, blocks in zip(self.up, self.dec, strict=True):
            assert isinstance(blocks, nn.Sequential)
            first, *others = blocks
            features = first(up(features), skips.pop())
            for block in others:
                features = block(features)
        return self.head(features)

    def extend(self, field: ReceptiveField) -> ReceptiveField:
        """Count this network into a receptive field."""
        for i, blocks in enumerate(self.enc):
            if i > 0:
                field.convolve(2, stride=2)
            field.convolve(3, times=len(blocks))  # type: ignore[arg-type]
        for blocks in self.dec:
            field.upsample(2)
            field.convolve(3, times=len(blocks))  # type: ignore[arg-type]
        return field


def _blocks(inputs: int, outputs: int, count: int, norm: str, slope: float) -> nn.Sequential:
    widths = [inputs] + [outputs] * count
    return nn.Sequential(*(ConvBlock(a, b, norm, slope) for a, b in itertools.pairwise(widths)))


class ReceptiveField:
    """Counts the receptive field along a path of layers, exactly: intervals of voxels are followed backwards.

    Closed formulas (Araujo et al., Distill 2019) hold for convolutions; after an upsampling it depends on where
    in its coarse voxel an output voxel lies, so the largest over all such places is taken.
    """

    def __init__(self) -> None:
        self.jump = 1  # input voxels per voxel here
        self._steps: list[Callable[[int, int], tuple[int, int]]] = []
        self._period = 1

    def convolve(self, kernel: int, stride: int = 1, dilation: int = 1, times: int = 1) -> ReceptiveField:
        """Pass ``times`` convolutions or poolings, padded as usual ("same"; none for pooling)."""
        before = (kernel - 1) * dilation // 2 if kernel % 2 else (kernel - stride) // 2
        after = (kernel - 1) * dilation - before

        def back(low: int, high: int) -> tuple[int, int]:
            return low * stride - before, high * stride + after

        self._steps += [back] * times
        self.jump *= stride**times
        return self

    def upsample(self, factor: int, linear: bool = False) -> ReceptiveField:
        """Pass an upsampling, nearest-neighbor (or transposed convolution of that size) or linear."""

        def back(low: int, high: int) -> tuple[int, int]:
            if not linear:
                return low // factor, high // factor
            # Coarse coordinate of a fine center x is (2 x + 1 - factor) / (2 factor); it lies between two voxels.
            return (2 * low + 1 - factor) // (2 * factor), -((factor - 1 - 2 * high) // (2 * factor))

        self._steps.append(back)
        self.jump //= factor
        self._period *= factor
        return self

    @property
    def size(self) -> int:
        """Edge length in input voxels."""
        largest = 0
        for place in range(self._period):
            low = high = place
            for back in reversed(self._steps):
                low, high = back(low, high)
            largest = max(largest, high - low + 1)
        return largest


def start_as_identity(head: nn.Conv3d, scale: float) -> None:
    """Normal weights of standard deviation ``scale`` and no bias, so that an untrained network moves nothing."""
    nn.init.normal_(head.weight, std=scale)
    if head.bias is not None:
        nn.init.zeros_(head.bias)


def xavier_uniform(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases for all convolutions of a module (Glorot & Bengio, AISTATS 2010)."""
    for part in module.modules():
        if isinstance(part, nn.Conv3d | nn.ConvTranspose3d):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def pool_average(image: Tensor, stride: int) -> Tensor:
    """Average over cells of ``stride``^3 voxels, float32."""
    return F.avg_pool3d(image.float(), stride) if stride > 1 else image


def pool_gaussian(image: Tensor, stride: int) -> Tensor:
    """Gaussian pyramid step(s) by a power of two, float32.

    The binomial kernel (1 3 3 1) / 8 per axis has even length, so that the coarse voxels lie at the centers of
    2x2x2 cells, as those of average pooling do; a kernel of odd length would shift each level by half a voxel.
    """
    while stride > 1:
        image = _binomial(image.float())
        stride //= 2
    return image


def _binomial(image: Tensor) -> Tensor:
    # Sums of slices instead of a convolution, which autocast would run in half precision.
    image = F.pad(image, [1] * 6, mode="replicate")
    for dim in (2, 3, 4):
        count = image.shape[dim] // 2 - 1
        a, b, c, d = (_every_second(image, dim, start, count) for start in range(4))
        image = (a + 3 * (b + c) + d) / 8
    return image


def _every_second(image: Tensor, dim: int, start: int, count: int) -> Tensor:
    index: list[slice] = [slice(None)] * image.dim()
    index[dim] = slice(start, start + 2 * count, 2)
    return image[tuple(index)]
