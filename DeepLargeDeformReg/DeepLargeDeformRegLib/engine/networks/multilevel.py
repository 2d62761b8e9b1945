"""Coarse-to-fine registration by functional composition, shared by the networks that do it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .base import LevelField, NetworkOutput, RegistrationNetwork, compose_float, resize_displacement, warp_float
from .blocks import ReceptiveField, UNet, pool_average, pool_gaussian


class MultilevelNetwork(RegistrationNetwork):
    """One U-Net per level; each registers the fixed image to the moving image warped by all coarser levels.

    With ``y`` the map so far and ``u`` the displacement that a level predicts, the level registers F to M(y) and
    the map becomes ``x -> y(x + u(x))``, that is ``u + Y(x + u)`` for displacements: what resampling the moving image
    once per level would give, with a single interpolation of it.

    Args:
        channels: channels of each image.
        nets: one network a level, coarsest first; input ``2 * channels``, output 3 channels.
        strides: input voxels per voxel of each level, coarsest first.
        pyramid: ``"average"`` or ``"gaussian"``.
        warp_resolution: ``"full"`` warps the moving image at input resolution and downsamples the result
            (Hering et al. 2021, section 3.4); ``"level"`` warps the downsampled moving image (Hering et al. 2019,
            algorithm 1).
        moving_first: order of the images in the networks' input.
        padding: what lies outside of the moving image, ``"border"`` or ``"zeros"``.
    """

    def __init__(
        self,
        channels: int,
        nets: Sequence[UNet],
        strides: Sequence[int],
        pyramid: str,
        warp_resolution: str,
        moving_first: bool,
        padding: str,
    ) -> None:
        if pyramid not in ("average", "gaussian"):
            raise ValueError(f"pyramid must be 'average' or 'gaussian', not {pyramid!r}")
        if warp_resolution not in ("full", "level"):
            raise ValueError(f"warp_resolution must be 'full' or 'level', not {warp_resolution!r}")
        super().__init__(channels, strides[0] * 2 ** (len(nets[0].enc) - 1))
        self.nets = nn.ModuleList(nets)
        self.strides = tuple(strides)
        self._pool = pool_average if pyramid == "average" else pool_gaussian
        self._warps_full = warp_resolution == "full"
        self._moving_first = moving_first
        self._padding = padding

    @property
    def levels(self) -> int:
        return len(self.nets)

    def receptive_field(self) -> int:
        field, stride = ReceptiveField(), self.strides[0]
        if self._pool is pool_average:
            field.convolve(stride, stride=stride)
        else:
            field.convolve(4, stride=2, times=stride.bit_length() - 1)
        coarsest = self.nets[0]
        assert isinstance(coarsest, UNet)
        return coarsest.extend(field).upsample(stride, linear=stride > 1).size

    def level_module(self, level: int) -> nn.Module:
        """See the base class."""
        if not 0 <= level < self.levels:
            raise IndexError(f"there are {self.levels} levels, coarsest first; there is no level {level}")
        return self.nets[level]

    def _to_voxels(self, prediction: Tensor) -> Tensor:
        """The displacement in voxels of the level that a U-Net's output stands for."""
        return prediction

    def _run(self, fixed: Tensor, moving: Tensor) -> NetworkOutput:
        levels: list[LevelField] = []
        for net, stride in zip(self.nets[: self.active_levels], self.strides, strict=False):
            fixed_level = self._pool(fixed, stride)
            coarser: Tensor | None = None
            if levels:
                coarser = resize_displacement(levels[-1].displacement, fixed_level.shape[2:])
            warped = self._warped_level(moving, levels, coarser, stride)
            pair = (warped, fixed_level) if self._moving_first else (fixed_level, warped)
            update = self._to_voxels(net(torch.cat(pair, dim=1)).float())
            if coarser is not None:
                update = compose_float(coarser, update)
            levels.append(LevelField(update, stride))
        return NetworkOutput(resize_displacement(levels[-1].displacement, fixed.shape[2:]), tuple(levels))

    def _warped_level(
        self, moving: Tensor, levels: Sequence[LevelField], coarser: Tensor | None, stride: int
    ) -> Tensor:
        """The moving image of a level, warped with the map so far.

        Args:
            moving: at input resolution.
            levels: fields of the levels before.
            coarser: the last of them on the lattice of this level; None for the first level.
            stride: of this level.
        """
        if coarser is None:
            return self._pool(moving, stride)
        if self._warps_full:
            field = coarser if stride == 1 else resize_displacement(levels[-1].displacement, moving.shape[2:])
            return self._pool(warp_float(moving, field, self._padding), stride)
        return warp_float(self._pool(moving, stride), coarser, self._padding)
