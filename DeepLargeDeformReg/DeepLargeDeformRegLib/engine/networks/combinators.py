"""Registrations built from registrations.

A registration is a callable ``(fixed, moving) -> displacement`` on images ``(N, C, D, H, W)`` that returns
``(N, 3, D, H, W)`` in voxels of that lattice, order (x, y, z), from fixed to moving points: every network here, and
everything that this module makes. What it makes are modules, so that the parameters of networks inside are trained,
moved and saved together.

>>> registration = pyramid([build("voxelmorph"), build("voxelmorph")], strides=[4, 1])
>>> registration = ThenRefine(SymmetricAverage(registration), refine)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ...core.geometry import ImageGrid
from ..fields import DisplacementField, invert
from .base import compose_float, crop_to, resize_displacement, warp_float
from .blocks import pool_average

Registration = Callable[[Tensor, Tensor], Tensor]
Refinement = Callable[[Tensor, Tensor, Tensor], Tensor]


class _Function(nn.Module):
    """A plain function as a module without parameters."""

    def __init__(self, function: Registration) -> None:
        super().__init__()
        self.function = function

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        return self.function(fixed, moving)


def as_module(registration: Registration) -> nn.Module:
    """The registration itself if it is a module, else a module that calls it."""
    return registration if isinstance(registration, nn.Module) else _Function(registration)


class AtResolution(nn.Module):
    """Run a registration on images averaged over cells of ``stride``^3 voxels; its field is interpolated back."""

    def __init__(self, registration: Registration, stride: int) -> None:
        super().__init__()
        if stride < 1:
            raise ValueError(f"stride must be at least 1, not {stride}")
        self.registration = as_module(registration)
        self.stride = stride

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        if self.stride == 1:
            return self.registration(fixed, moving)
        shape = fixed.shape[2:]
        pair = [pool_average(_pad_to_multiple(image, self.stride), self.stride) for image in (fixed, moving)]
        coarse = self.registration(*pair)
        return crop_to(resize_displacement(coarse, [n * self.stride for n in coarse.shape[2:]]), shape)


class Cascade(nn.Module):
    """Registrations one after the other, each on the moving image as warped so far; their maps are composed.

    Args:
        stages: registrations in the order in which they run; the first sees the moving image as it is.
    """

    def __init__(self, *stages: Registration) -> None:
        super().__init__()
        if not stages:
            raise ValueError("a cascade needs at least one registration")
        self.stages = nn.ModuleList(as_module(stage) for stage in stages)

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        total: Tensor | None = None
        for stage in self.stages:
            if total is None:
                total = stage(fixed, moving)
            else:
                total = compose_float(total, stage(fixed, warp_float(moving, total)))
        assert total is not None
        return total


def pyramid(registrations: Sequence[Registration], strides: Sequence[int]) -> Cascade:
    """A cascade from coarse to fine: registration i runs at ``strides[i]`` input voxels per voxel."""
    if any(a < b for a, b in itertools.pairwise(strides)):
        raise ValueError(f"strides {list(strides)} must go from coarse to fine")
    return Cascade(*(AtResolution(r, stride) for r, stride in zip(registrations, strides, strict=True)))


class ThenRefine(nn.Module):
    """Improve the field of a registration for the pair at hand.

    Args:
        registration: gives the start.
        refine: called with (fixed, moving, displacement); returns the better displacement.
    """

    def __init__(self, registration: Registration, refine: Refinement) -> None:
        super().__init__()
        self.registration = as_module(registration)
        self.refine = refine

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        return self.refine(fixed, moving, self.registration(fixed, moving))


class SymmetricAverage(nn.Module):
    """Mean of the registration's map and the inverse of its map in the other direction.

    Swapping the images then gives (nearly) the inverse map, which a network alone does not promise.
    """

    def __init__(self, registration: Registration, iterations: int = 30) -> None:
        super().__init__()
        self.registration = as_module(registration)
        self.iterations = iterations

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        forward = self.registration(fixed, moving).float()
        backward = self.registration(moving, fixed).float()
        # On a grid of 1 mm millimeters are voxels.
        grid = ImageGrid.axis_aligned(tuple(reversed(fixed.shape[2:])), (1.0, 1.0, 1.0))
        inverse = invert(DisplacementField(backward, grid), iterations=self.iterations).field.displacement
        return (forward + inverse) / 2


def _pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    padding: list[int] = []
    for length in reversed(image.shape[2:]):
        padding += [0, -length % multiple]
    return F.pad(image, padding, mode="replicate") if any(padding) else image
