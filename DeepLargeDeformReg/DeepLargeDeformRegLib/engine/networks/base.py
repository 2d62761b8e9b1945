"""What all registration networks share: any size in, displacement in voxels out, levels to train, repeated passes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from ..device import constant
from ..fields import compose_voxels, exponentiate_voxels, warp_voxels


class LevelField(NamedTuple):
    """The field after one level, on that level's own lattice.

    Attributes:
        displacement: ``(N, 3, d, h, w)`` in voxels **of this lattice**, order (x, y, z), fixed to moving.
        stride: input voxels per lattice voxel; the lattice is ``grid.coarser(stride)`` of the input's grid.
    """

    displacement: Tensor
    stride: int


class NetworkOutput(NamedTuple):
    """All that a network knows after one pass; training needs more than the final field.

    Attributes:
        displacement: ``(N, 3, D, H, W)`` in voxels of the input, order (x, y, z), fixed to moving.
        levels: fields of the levels that ran, coarsest first.
        fixed_logits: class logits of the fixed image at half resolution ``(N, K, D/2, H/2, W/2)``, if it has any.
        moving_logits: likewise of the moving image.
        velocities: stationary velocities of the levels in voxels of their lattices, if the network has any.
    """

    displacement: Tensor
    levels: tuple[LevelField, ...] = ()
    fixed_logits: Tensor | None = None
    moving_logits: Tensor | None = None
    velocities: tuple[LevelField, ...] = ()


class RegistrationNetwork(nn.Module, ABC):
    """A network that maps a pair of images to a displacement field.

    Images of any size are accepted: they are padded at their far ends with their border values to the next multiple
    of ``size_multiple`` and to at least ``minimum_size``, and the field is cropped back. The minimum is twice the
    multiple by default, since normalization needs more than one voxel at the lowest resolution.

    With :attr:`passes` above one the network registers again what it has registered: each further pass sees the fixed
    image, and the moving one as the passes before it warped it; their fields are composed. All passes have the same
    weights ("shared-weight cascading" of Zhao, Dong, Chang, Xu: Recursive cascaded networks for unsupervised medical
    image registration, ICCV 2019). None of the five papers does so.

    Subclasses implement :meth:`_run` for images whose size is such a multiple, and :meth:`receptive_field`.
    """

    channels: int
    size_multiple: int
    minimum_size: int

    def __init__(self, channels: int, size_multiple: int, minimum_size: int | None = None) -> None:
        super().__init__()
        if channels < 1:
            raise ValueError(f"channels must be at least 1, not {channels}")
        self.channels = channels
        self.size_multiple = size_multiple
        self.minimum_size = 2 * size_multiple if minimum_size is None else minimum_size
        self._active_levels: int | None = None
        self._passes = 1

    @abstractmethod
    def _run(self, fixed: Tensor, moving: Tensor) -> NetworkOutput:
        """Register images whose size is a multiple of ``size_multiple``."""

    @abstractmethod
    def receptive_field(self) -> int:
        """Edge length, in voxels of the input, of the box of input voxels that a voxel of a pass's field depends on.

        Counted along the convolutions of the level that sees farthest; normalization statistics, global pooling and
        warping between levels reach farther still and are left out.
        """

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """Displacement ``(N, 3, D, H, W)`` in voxels, order (x, y, z), from fixed to moving points.

        Args:
            fixed: ``(N, C, D, H, W)``.
            moving: the same shape.
        """
        return self.forward_levels(fixed, moving).displacement

    def forward_levels(self, fixed: Tensor, moving: Tensor) -> NetworkOutput:
        """As :meth:`forward`, with the fields of all levels and what else the network's training needs."""
        self._check(fixed, moving)
        shape = tuple(fixed.shape[2:])
        fixed, moving = self._pad(fixed), self._pad(moving)
        output = self._run(fixed, moving)
        for _ in range(self.passes - 1):
            output = _composed(output, self._run(fixed, warp_float(moving, output.displacement)))
        return output._replace(
            displacement=crop_to(output.displacement, shape),
            levels=tuple(_crop_level(level, shape) for level in output.levels),
            fixed_logits=None if output.fixed_logits is None else crop_to(output.fixed_logits, _halved(shape)),
            moving_logits=None if output.moving_logits is None else crop_to(output.moving_logits, _halved(shape)),
            velocities=tuple(_crop_level(level, shape) for level in output.velocities),
        )

    @property
    def levels(self) -> int:
        """Number of levels that can be trained one after the other."""
        return 1

    @property
    def active_levels(self) -> int:
        """How many levels, from the coarsest, a pass runs; all of them by default."""
        return self.levels if self._active_levels is None else self._active_levels

    @active_levels.setter
    def active_levels(self, count: int) -> None:
        if not 1 <= count <= self.levels:
            raise ValueError(f"active_levels must be between 1 and {self.levels}, not {count}")
        self._active_levels = count

    @property
    def passes(self) -> int:
        """How often the network runs on a pair, each time on what the passes before it left; 1 by default."""
        return self._passes

    @passes.setter
    def passes(self, count: int) -> None:
        if count < 1:
            raise ValueError(f"passes must be at least 1, not {count}")
        self._passes = count

    def parameters_of_level(self, level: int) -> Iterator[nn.Parameter]:
        """Parameters of one level, 0 being the coarsest."""
        return self.level_module(level).parameters()

    def inherit_level(self, level: int) -> None:
        """Start a level from the weights and statistics of the next coarser one, as progressive training does.

        Tensors whose shapes differ (the first layer, where a finer level has additional inputs) keep their values.
        """
        if level < 1:
            raise ValueError("the coarsest level has no coarser one to inherit from")
        source = self.level_module(level - 1).state_dict()
        target = self.level_module(level).state_dict()
        fitting = {key: value for key, value in source.items() if key in target and target[key].shape == value.shape}
        self.level_module(level).load_state_dict(target | fitting)

    def level_module(self, level: int) -> nn.Module:
        """The module that holds the weights and statistics of one level, 0 being the coarsest."""
        if level != 0:
            raise IndexError(f"this network has one level; there is no level {level}")
        return self

    def _check(self, fixed: Tensor, moving: Tensor) -> None:
        if fixed.dim() != 5 or fixed.shape != moving.shape:
            raise ValueError(
                f"fixed {tuple(fixed.shape)} and moving {tuple(moving.shape)} must have one shape (N, C, D, H, W)"
            )
        if fixed.shape[1] != self.channels:
            raise ValueError(f"the network was built for {self.channels} channel(s), not {fixed.shape[1]}")

    def _pad(self, image: Tensor) -> Tensor:
        multiple = self.size_multiple
        padding: list[int] = []
        for length in reversed(image.shape[2:]):
            target = max(-(-length // multiple) * multiple, self.minimum_size)
            padding += [0, target - length]
        # Border values rather than zeros: zero is water, not air, in Hounsfield units.
        return F.pad(image, padding, mode="replicate") if any(padding) else image


def _composed(before: NetworkOutput, after: NetworkOutput) -> NetworkOutput:
    """The output of the passes so far, given that of the last one, which registered what those before it warped.

    Velocities of several passes make no one velocity, and the class logits of the moving image are those of the image
    itself, from the first pass.
    """

    def onto(before: Tensor, after: Tensor) -> Tensor:
        return compose_float(resize_displacement(before, after.shape[2:]), after)

    return after._replace(
        displacement=onto(before.displacement, after.displacement),
        levels=tuple(
            LevelField(onto(before.displacement, level.displacement), level.stride) for level in after.levels
        ),
        moving_logits=before.moving_logits,
        velocities=(),
    )


def crop_to(values: Tensor, shape: Iterable[int]) -> Tensor:
    """The first voxels of ``(N, C, D, H, W)`` along each axis."""
    depth, height, width = shape
    return values[:, :, :depth, :height, :width]


def _halved(shape: Iterable[int]) -> list[int]:
    return [max(n // 2, 1) for n in shape]


def _crop_level(level: LevelField, shape: tuple[int, ...]) -> LevelField:
    return LevelField(crop_to(level.displacement, (max(n // level.stride, 1) for n in shape)), level.stride)


def resize_displacement(displacement: Tensor, shape: Iterable[int]) -> Tensor:
    """Displacement in voxels, resampled to another lattice over the same box, in voxels of that lattice.

    Both lattices are cell-centered, as those of average pooling are.
    """
    target = tuple(shape)
    source = tuple(displacement.shape[2:])
    if target == source:
        return displacement
    resized = F.interpolate(displacement, size=target, mode="trilinear", align_corners=False)
    ratio = [new / old for new, old in zip(reversed(target), reversed(source), strict=True)]
    return resized.mul_(constant(ratio, resized).reshape(1, 3, 1, 1, 1))


def warp_float(image: Tensor, displacement: Tensor, padding: str = "border") -> Tensor:
    """:func:`field.warp_voxels` in float32 even under autocast: half precision cannot hold voxel coordinates."""
    return warp_voxels(image.float(), displacement.float(), padding=padding)


def compose_float(outer: Tensor, inner: Tensor) -> Tensor:
    """:func:`field.compose_voxels` in float32 even under autocast."""
    return compose_voxels(outer.float(), inner.float())


def exponentiate_float(velocity: Tensor, steps: int) -> Tensor:
    """Time-one flow, in voxels, of a stationary velocity in voxels by scaling and squaring; float32."""
    return exponentiate_voxels(velocity.float(), steps)
