"""Semantically guided registration: two shared feature U-Nets, two registration networks in series.

M. Schumacher, D. Frey, I. Ha, R. Bade, A. Genz, M. Heinrich: Semantically Guided 3D Abdominal Image Registration with
Deep Pyramid Feature Learning. Bildverarbeitung für die Medizin 2021 (``Ours``, ``Ours+Skip``).
I. Ha, M. Wilms, M. Heinrich: Semantically Guided Large Deformation Estimation with Deep Networks. Sensors 20(5), 2020
(``Ha et al.``, here in 3D).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import LevelField, NetworkOutput, RegistrationNetwork, resize_displacement, warp_float
from .blocks import ConvBlock, Convolution, ReceptiveField, start_as_identity

_SLOPE = 0.1


class Features(NamedTuple):
    """What the feature network finds in one image.

    Attributes:
        logits: class logits at half resolution.
        maps: decoder maps at 1/2, 1/4 and 1/8 (the lowest is where the decoder starts).
    """

    logits: Tensor
    maps: tuple[Tensor, Tensor, Tensor]


class FeatureNetwork(nn.Module):
    """U-Net with three convolutions of stride 2 down and two upsamplings, so that it ends at half resolution."""

    def __init__(self, channels: int, classes: int, filters: Sequence[int]) -> None:
        super().__init__()
        half, quarter, eighth = filters
        self.down = nn.ModuleList(
            ConvBlock(before, after, "instance", _SLOPE, stride=2)
            for before, after in itertools.pairwise((channels, half, quarter, eighth))
        )
        self.up = nn.ModuleList(
            (
                ConvBlock(eighth + quarter, quarter, "instance", _SLOPE),
                ConvBlock(quarter + half, half, "instance", _SLOPE),
            )
        )
        self.classify = Convolution(half, classes, 1)

    def forward(self, image: Tensor) -> Features:
        half = self.down[0](image)
        quarter = self.down[1](half)
        eighth = self.down[2](quarter)
        quarter = self.up[0](torch.cat((_upsample(eighth), quarter), dim=1))
        half = self.up[1](torch.cat((_upsample(quarter), half), dim=1))
        return Features(self.classify(half), (half, quarter, eighth))


class FieldNetwork(nn.Module):
    """Registration network on class probabilities at half resolution.

    Args:
        inputs: channels of the concatenated class probabilities.
        filters: of the convolutions of stride 2, one each.
        transferred: channels of the feature maps that are concatenated at 1/2, 1/4, ... of the image; none if empty.
        decoder: end at the input's resolution, else at the lowest.
        drop_odd: leave out the last slice along an axis of odd size before a convolution of stride 2.
        initial_scale: standard deviation of the last layer's initial weights.
    """

    def __init__(
        self,
        inputs: int,
        filters: Sequence[int],
        transferred: Sequence[int],
        decoder: bool,
        drop_odd: bool,
        initial_scale: float,
    ) -> None:
        super().__init__()
        extra = [*transferred] + [0] * (len(filters) - len(transferred))
        widths = [inputs, *filters]
        self.down = nn.ModuleList(
            ConvBlock(before + more, after, "batch", _SLOPE, stride=2)
            for (before, after), more in zip(itertools.pairwise(widths), extra, strict=True)
        )
        ups = [ConvBlock(low + high, high, "batch", _SLOPE) for low, high in itertools.pairwise(reversed(filters))]
        ups.append(ConvBlock(filters[0] + inputs, filters[0], "batch", _SLOPE))
        self.up = nn.ModuleList(ups if decoder else [])
        self.head = Convolution(filters[0] if decoder else filters[-1], 3, 3, padding=1)
        start_as_identity(self.head, initial_scale)
        self._drop_odd = drop_odd

    def forward(self, probabilities: Tensor, transferred: Sequence[Tensor] = ()) -> Tensor:
        """Displacement in voxels of the lattice that it has: the input's with a decoder, else the lowest one."""
        features = probabilities
        skips: list[Tensor] = []
        for i, down in enumerate(self.down):
            skips.append(features)
            if i < len(transferred):
                features = torch.cat((features, transferred[i]), dim=1)
            features = down(_even(features) if self._drop_odd else features)
        for up in self.up:
            skip = skips.pop()
            features = F.interpolate(features, size=skip.shape[2:], mode="trilinear", align_corners=False)
            features = up(torch.cat((features, skip), dim=1))
        return self.head(features).float()

    def extend(self, field: ReceptiveField) -> ReceptiveField:
        """Count this network into a receptive field."""
        field.convolve(3, stride=2, times=len(self.down))
        for _ in self.up:
            field.upsample(2, linear=True).convolve(3)
        return field.convolve(3)


class SemanticNetwork(RegistrationNetwork):
    """Feature extraction with shared weights, then two registration networks whose fields are added.

    The first registration network sees the class probabilities of both images at half resolution; the second sees
    them with those of the moving image warped by the first field. With ``skip`` the decoder maps of the feature
    network join the encoders of the registration networks at the same resolutions, for the second network after
    those of the moving image were warped with the first field.

    What the paper leaves open:

    - Filters: 16, 32, 64 for the features and 32, 64, 128 for the registration. Upsampling: trilinear.
    - "The feature maps ... at the corresponding resolution" (``skip``): the decoder of the feature network has maps
      at 1/2 and 1/4, and starts from 1/8; all three are passed on, so that every encoder level receives one.
    - The registration networks are called U-Nets: their decoders have skip connections from their own encoders.
    - ``ha2020`` has a field of 9x7x4 for 304x240x144, where a convolution of stride 2 and padding 1 makes 10 of 19.
      ``drop_odd`` leaves out the last slice of an axis of odd size, which gives 9x7x4 and 6x5x8; without it the
      field has 10x8x5 voxels.
    - Unit of the last layer: voxels of the lattice of the field. Scans are not normalized per image by the network.

    Args:
        channels: channels of each image.
        classes: classes of the feature network, background included.
        skip: pass decoder maps of the feature network on (``Ours+Skip``).
        decoder: registration networks have a decoder (``Ours``); without one the field has the lowest resolution.
        feature_filters: filters of the feature network at 1/2, 1/4 and 1/8.
        filters: filters of the registration networks, one number for each convolution of stride 2.
        drop_odd: see above.
        initial_scale: standard deviation of the last layers' initial weights.
    """

    def __init__(
        self,
        channels: int = 1,
        classes: int = 2,
        skip: bool = True,
        decoder: bool = True,
        feature_filters: Sequence[int] = (16, 32, 64),
        filters: Sequence[int] = (32, 64, 128),
        drop_odd: bool = True,
        initial_scale: float = 1e-5,
    ) -> None:
        if len(feature_filters) != 3 or len(filters) < 3:
            raise ValueError("feature_filters needs 3 numbers, filters at least 3")
        super().__init__(channels, size_multiple=16, minimum_size=2 ** (len(filters) + 2))
        self.features = FeatureNetwork(channels, classes, feature_filters)
        transferred = [2 * width for width in feature_filters] if skip else []
        self.nets = nn.ModuleList(
            FieldNetwork(2 * classes, filters, transferred, decoder, drop_odd, initial_scale) for _ in range(2)
        )
        self._skip = skip

    def receptive_field(self) -> int:
        # Through the feature network to 1/8 and back to 1/2, then through the first registration network.
        field = ReceptiveField().convolve(3, stride=2, times=3)
        field.upsample(2, linear=True).convolve(3).upsample(2, linear=True).convolve(3)
        net = self.nets[0]
        assert isinstance(net, FieldNetwork)
        net.extend(field)
        return field.upsample(field.jump, linear=True).size

    def _run(self, fixed: Tensor, moving: Tensor) -> NetworkOutput:
        fixed_features, moving_features = self.features(fixed), self.features(moving)
        fixed_classes = fixed_features.logits.softmax(dim=1)
        moving_classes = moving_features.logits.softmax(dim=1)
        half = fixed_classes.shape[2:]
        initial = self.nets[0](
            torch.cat((fixed_classes, moving_classes), dim=1),
            self._transferred(fixed_features.maps, moving_features.maps),
        )
        initial = resize_displacement(initial, half)
        warped_maps = [warp_float(m, resize_displacement(initial, m.shape[2:])) for m in moving_features.maps]
        correction = self.nets[1](
            torch.cat((fixed_classes, warp_float(moving_classes, initial)), dim=1),
            self._transferred(fixed_features.maps, warped_maps),
        )
        final = initial + resize_displacement(correction, half)
        return NetworkOutput(
            resize_displacement(final, fixed.shape[2:]),
            (LevelField(initial, 2), LevelField(final, 2)),
            fixed_features.logits,
            moving_features.logits,
        )

    def _transferred(self, fixed: Sequence[Tensor], moving: Sequence[Tensor]) -> list[Tensor]:
        if not self._skip:
            return []
        return [torch.cat(pair, dim=1) for pair in zip(fixed, moving, strict=True)]


def _upsample(features: Tensor) -> Tensor:
    return F.interpolate(features, scale_factor=2, mode="trilinear", align_corners=False)


def _even(features: Tensor) -> Tensor:
    depth, height, width = (n - n % 2 if n > 1 else n for n in features.shape[2:])
    return features[:, :, :depth, :height, :width]
