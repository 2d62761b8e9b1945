"""LapIRN: Laplacian pyramid registration networks.

T. Mok, A. Chung: Large Deformation Diffeomorphic Image Registration with Laplacian Pyramid Networks. MICCAI 2020.
T. Mok, A. Chung: Large Deformation Image Registration with Anatomy-Aware Laplacian Pyramid Networks. Learn2Reg 2020.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..device import constant
from .base import LevelField, NetworkOutput, RegistrationNetwork, exponentiate_float, resize_displacement, warp_float
from .blocks import Convolution, ReceptiveField, pool_average, start_as_identity

_SLOPE = 0.2


class ResidualBlock(nn.Module):
    """Two 3x3x3 convolutions, each after a leaky ReLU (pre-activation), added to the block's input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = Convolution(width, width, 3, padding=1, bias=False)
        self.second = Convolution(width, width, 3, padding=1, bias=False)
        self.activation = nn.LeakyReLU(_SLOPE)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.second(self.activation(self.first(self.activation(features))))


class LevelNetwork(nn.Module):
    """The registration network of one level (CRN): encoder, residual blocks, decoder, one skip connection.

    Args:
        inputs: input channels.
        width: channels of all inner layers.
        residual_blocks: blocks at the bottleneck.
        bottleneck_stride: voxels of the level per voxel of the bottleneck, a power of two, at least 2.
        initial_scale: standard deviation of the last layer's initial weights.
    """

    def __init__(
        self, inputs: int, width: int, residual_blocks: int, bottleneck_stride: int, initial_scale: float
    ) -> None:
        super().__init__()
        halvings = bottleneck_stride.bit_length() - 1
        self.encoder = nn.Sequential(
            Convolution(inputs, width, 3, padding=1, bias=False),
            nn.LeakyReLU(_SLOPE),
            Convolution(width, width, 3, padding=1, bias=False),
        )
        downs: list[nn.Module] = []
        for i in range(halvings):
            downs += [nn.LeakyReLU(_SLOPE)] if i else []
            downs.append(Convolution(width, width, 3, stride=2, padding=1, bias=False))
        self.down = nn.Sequential(*downs)
        residual: list[nn.Module] = []
        for _ in range(residual_blocks):
            residual += [ResidualBlock(width), nn.LeakyReLU(_SLOPE)]
        self.residual = nn.Sequential(*residual)
        self.up = nn.ModuleList(nn.ConvTranspose3d(width, width, 2, stride=2, bias=False) for _ in range(halvings))
        self.decoder = nn.Sequential(Convolution(2 * width, width, 3, padding=1, bias=False), nn.LeakyReLU(_SLOPE))
        self.head = Convolution(width, 3, 3, padding=1, bias=False)
        start_as_identity(self.head, initial_scale)

    def forward(self, images: Tensor, embedding: Tensor | None) -> tuple[Tensor, Tensor]:
        """Field in (-1, 1) at the level's resolution, and the embedding for the next finer level.

        Args:
            images: ``(N, inputs, d, h, w)``.
            embedding: of the next coarser level, at this level's bottleneck resolution.
        """
        skip = self.encoder(images)
        features = self.down(skip)
        if embedding is not None:
            features = features + embedding
        features = self.residual(features)
        embeddings: list[Tensor] = []
        for up in self.up:
            features = up(features)
            embeddings.append(features)
        features = self.decoder(torch.cat((features, skip), dim=1))
        # One step up from this bottleneck is the resolution of the next level's bottleneck.
        return nn.functional.softsign(self.head(features)), embeddings[0]


class LapIRN(RegistrationNetwork):
    """Laplacian pyramid of registration networks; each level adds to the upsampled field of the level before.

    Level i sees F_i, M_i warped with the upsampled coarser field, and that field itself; the embedding of the coarser
    level's decoder is added to its features before the residual blocks. With ``diffeomorphic=True`` the levels
    predict and add stationary velocities, which scaling and squaring turns into displacements.

    What the papers leave open or differ in:

    - Bottleneck: at 1/2 of the level's resolution, by one convolution of stride 2, as in the authors' published code
      (923 748 parameters for three levels). The text says 1/4, which is ``bottleneck_stride=4``. The embedding that
      is passed on is the decoder's at twice the bottleneck's resolution, which is the bottleneck's resolution of the
      next level in either case.
    - Width, five residual blocks with leaky ReLU 0.2 after each, convolutions without bias and the range of the field
      are those of the authors' code (``start_channel=7``, four times that wide; ``field_range=0.4``).
    - Image pyramid: averages of 2x2x2 voxels, which is trilinear interpolation at the coarse voxels' centers.
    - The level's input holds the coarser velocity in the diffeomorphic variant, as in the authors' code, and the
      coarser displacement in the other; both as a share of half the image's extent.

    Args:
        channels: channels of each image.
        levels: levels of the pyramid.
        start_channel: a quarter of the networks' width.
        residual_blocks: residual blocks per level.
        bottleneck_stride: voxels of a level per voxel of its bottleneck.
        diffeomorphic: predict stationary velocities.
        integration_steps: squarings of the exponentiation.
        field_range: largest field that a level can add, as a share of half the image's extent along each axis.
        initial_scale: standard deviation of the last layers' initial weights.
    """

    def __init__(
        self,
        channels: int = 1,
        levels: int = 3,
        start_channel: int = 7,
        residual_blocks: int = 5,
        bottleneck_stride: int = 2,
        diffeomorphic: bool = False,
        integration_steps: int = 7,
        field_range: float = 0.4,
        initial_scale: float = 1e-5,
    ) -> None:
        if levels < 1:
            raise ValueError(f"levels must be at least 1, not {levels}")
        if bottleneck_stride < 2 or bottleneck_stride & (bottleneck_stride - 1):
            raise ValueError(f"bottleneck_stride must be a power of two above 1, not {bottleneck_stride}")
        super().__init__(channels, 2 ** (levels - 1) * bottleneck_stride)
        width = 4 * start_channel
        self.nets = nn.ModuleList(
            LevelNetwork(2 * channels + (3 if level else 0), width, residual_blocks, bottleneck_stride, initial_scale)
            for level in range(levels)
        )
        self.strides = tuple(2**i for i in reversed(range(levels)))
        self.diffeomorphic = diffeomorphic
        self.integration_steps = integration_steps
        self.field_range = field_range
        self._bottleneck_stride = bottleneck_stride
        self._residual_blocks = residual_blocks

    @property
    def levels(self) -> int:
        return len(self.nets)

    def receptive_field(self) -> int:
        stride, halvings = self.strides[0], self._bottleneck_stride.bit_length() - 1
        field = ReceptiveField().convolve(stride, stride=stride)
        field.convolve(3, times=2).convolve(3, stride=2, times=halvings).convolve(3, times=2 * self._residual_blocks)
        field.upsample(self._bottleneck_stride).convolve(3, times=2)
        return field.upsample(stride, linear=stride > 1).size

    def level_module(self, level: int) -> nn.Module:
        """See the base class."""
        if not 0 <= level < self.levels:
            raise IndexError(f"there are {self.levels} levels, coarsest first; there is no level {level}")
        return self.nets[level]

    def _run(self, fixed: Tensor, moving: Tensor) -> NetworkOutput:
        levels: list[LevelField] = []
        velocities: list[LevelField] = []
        embedding: Tensor | None = None
        for net, stride in zip(self.nets[: self.active_levels], self.strides, strict=False):
            fixed_level, moving_level = pool_average(fixed, stride), pool_average(moving, stride)
            half_extent = _half_extent(fixed_level)
            inputs = [fixed_level, moving_level]
            coarser: Tensor | None = None
            if levels:
                shape = fixed_level.shape[2:]
                coarser = resize_displacement(velocities[-1].displacement, shape)
                inputs[1] = warp_float(moving_level, resize_displacement(levels[-1].displacement, shape))
                inputs.append(coarser / half_extent)
            update, embedding = net(torch.cat(inputs, dim=1), embedding)
            velocity = update.float() * (self.field_range * half_extent)
            velocity = velocity if coarser is None else velocity + coarser
            displacement = exponentiate_float(velocity, self.integration_steps) if self.diffeomorphic else velocity
            velocities.append(LevelField(velocity, stride))
            levels.append(LevelField(displacement, stride))
        return NetworkOutput(
            resize_displacement(levels[-1].displacement, fixed.shape[2:]),
            tuple(levels),
            velocities=tuple(velocities) if self.diffeomorphic else (),
        )


def _half_extent(image: Tensor) -> Tensor:
    """Half the size of an image in voxels along (x, y, z), shaped for a displacement."""
    return constant([length / 2 for length in image.shape[:1:-1]], image.float()).reshape(1, 3, 1, 1, 1)
