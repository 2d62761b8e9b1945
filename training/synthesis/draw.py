"""Seeded random numbers and random fields on a grid: smooth noise, cells, tubes. Pure torch, on any device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
import torch.nn.functional as F
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine.fields import index_gradient
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Draw:
    """All that is random in a sample, from one seed: the same on every run on the same kind of device.

    Args:
        seed: of everything that is drawn.
        device: where fields are made. Single numbers come from a generator of their own on the CPU, so that drawing
            one never waits for a GPU.
    """

    seed: int
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    numbers: torch.Generator = field(init=False)
    fields: torch.Generator = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", torch.Generator().manual_seed(self.seed))
        object.__setattr__(self, "fields", torch.Generator(self.device).manual_seed(self.seed))

    def uniform(self, low: float, high: float) -> float:
        """A number within low ... high."""
        return low + (high - low) * float(torch.rand((), generator=self.numbers))

    def chance(self, probability: float) -> bool:
        """True with a probability."""
        return self.uniform(0, 1) < probability

    def integer(self, count: int) -> int:
        """One of 0 ... count - 1."""
        return int(torch.randint(count, (), generator=self.numbers))

    def choice(self, options: Sequence[T]) -> T:
        """One of several."""
        return options[self.integer(len(options))]

    def split(self) -> Draw:
        """An independent source of numbers; what is drawn from it changes nothing drawn from this one."""
        return Draw(int(torch.randint(2**62, (), generator=self.numbers)), self.device)

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Independent standard normal numbers."""
        return torch.randn(tuple(shape), generator=self.fields, device=self.device)


def smooth_noise(draw: Draw, grid: ImageGrid, scale_mm: float, channels: int = 1) -> Tensor:
    """Noise ``(channels, D, H, W)`` of mean 0 and deviation 1 whose features are about ``scale_mm`` wide.

    White noise on a lattice of half that spacing (or the grid's own), smoothed by a binomial kernel, interpolated
    linearly.
    """
    step = max(scale_mm / 2, 1e-3)
    cells = [max(2, math.ceil(extent / step) + 2) for extent in reversed(grid.extent)]
    cells = [min(n, length) for n, length in zip(cells, grid.shape, strict=True)]
    noise = draw.normal((1, channels, *(n + 2 for n in cells)))
    for _ in range(2):  # makes the kernel 1 2 1 along each axis
        for dim in (2, 3, 4):
            length = noise.shape[dim] - 1
            noise = noise.narrow(dim, 0, length) + noise.narrow(dim, 1, length)
    noise = F.interpolate(noise, size=grid.shape, mode="trilinear", align_corners=True)[0]
    flat = noise.flatten(1)
    shape = (channels, 1, 1, 1)
    return (noise - flat.mean(1).reshape(shape)) / flat.std(1).clamp_min(1e-6).reshape(shape)


def grain(draw: Draw, grid: ImageGrid, scales_mm: Sequence[float], weights: Sequence[float]) -> Tensor:
    """Texture ``(D, H, W)`` of deviation about 1: noise of several scales added."""
    total = torch.zeros(grid.shape, device=draw.device)
    for scale, weight in zip(scales_mm, weights, strict=True):
        total += weight * smooth_noise(draw, grid, scale)[0]
    return total / math.sqrt(sum(weight**2 for weight in weights))


def cells(draw: Draw, grid: ImageGrid, scale_mm: float, kinds: int) -> tuple[Tensor, Tensor]:
    """Divide space like bowel loops and fat lobules.

    Returns:
        The cell's kind, ``(D, H, W)`` int64 within 0 ... kinds - 1, and how far a voxel is from the next cell,
        0 at borders and about 1 in the middles.
    """
    best = torch.full(grid.shape, -math.inf, device=draw.device)
    second = best.clone()
    kind = torch.zeros(grid.shape, dtype=torch.int64, device=draw.device)
    for index in range(kinds):
        noise = smooth_noise(draw, grid, scale_mm)[0]
        is_better = noise > best
        second = torch.where(is_better, best, torch.maximum(second, noise))
        kind.masked_fill_(is_better, index)
        best = torch.maximum(best, noise)
    return kind, (best - second).clamp_max(1.0)


def shell_distance(noise: Tensor, grid: ImageGrid) -> Tensor:
    """Distance in mm of each voxel from the zero surface of a smooth noise ``(D, H, W)``, to first order."""
    along_x, along_y, along_z = index_gradient(noise[None, None])
    squares = [(d / s) ** 2 for d, s in zip((along_x, along_y, along_z), grid.spacing, strict=True)]
    slope = (squares[0] + squares[1] + squares[2]).sqrt()[0, 0]
    return noise.abs() / slope.clamp_min(1e-2 / max(grid.extent))


def tube_distance(draw: Draw, grid: ImageGrid, scale_mm: float) -> Tensor:
    """Distance in mm ``(D, H, W)`` from random branching lines: where two noise shells of a scale meet."""
    first, second = smooth_noise(draw, grid, scale_mm, 2)
    return (shell_distance(first, grid) ** 2 + shell_distance(second, grid) ** 2).sqrt()


def tube_share(distance: Tensor, radius_mm: Tensor | float, grid: ImageGrid) -> Tensor:
    """Share of each voxel ``(D, H, W)`` within tubes of a radius, one number or ``(D, H, W)``, around lines."""
    voxel = grid.voxel_volume ** (1 / 3)
    radius = radius_mm if isinstance(radius_mm, Tensor) else torch.full_like(distance[:1, :1, :1], radius_mm)
    # A tube thinner than a voxel fills a part of it: its share falls with the square of its radius.
    thin = (2 * radius / voxel).clamp_max(1.0) ** 2
    return torch.sigmoid((radius.clamp_min(voxel / 2) - distance) / (0.2 * voxel)) * thin


def tubes(draw: Draw, grid: ImageGrid, scale_mm: float, radius_mm: Tensor | float) -> Tensor:
    """Share of each voxel ``(D, H, W)`` within random branching tubes about ``scale_mm`` apart."""
    return tube_share(tube_distance(draw, grid, scale_mm), radius_mm, grid)


def ends(mask: Tensor) -> list[tuple[int, int]]:
    """First and last index of a mask ``(D, H, W)`` along x, y and z; the whole axes if it is empty.

    All six numbers are fetched at once: each fetch waits until the GPU has done what it was given.
    """
    found = []
    for others in ((0, 1), (0, 2), (1, 2)):
        along = mask.any(dim=others[1]).any(dim=others[0]).int()
        found += [along.argmax(), len(along) - 1 - along.flip(0).argmax()]
    numbers = torch.stack(found).tolist()
    return [(first, last) for first, last in zip(numbers[::2], numbers[1::2], strict=True)]


def random_voxels(draw: Draw, mask: Tensor, number: int) -> Tensor:
    """Random voxels of a mask ``(D, H, W)``, or of all where it is empty: ``(number, 3)``, order (x, y, z)."""
    count = mask.flatten().cumsum(0)
    place = torch.rand(number, generator=draw.fields, device=draw.device, dtype=torch.float64)
    # The voxel at which as many of the mask's have passed as the drawn number says; no list of them is made.
    index = torch.searchsorted(count, (place * count[-1]).long(), right=True)
    index = torch.where(count[-1] > 0, index, (place * len(count)).long())
    _, height, width = mask.shape
    return torch.stack((index % width, index // width % height, index // (width * height)), dim=1)


def blur(image: Tensor, sigma_mm: float, grid: ImageGrid) -> Tensor:
    """Gaussian blur of ``(D, H, W)``; the image continues beyond its border with the nearest voxel's value."""
    result = image[None, None]
    for axis, spacing in zip((4, 3, 2), grid.spacing, strict=True):
        sigma = sigma_mm / spacing
        if sigma < 0.15:
            continue
        reach = max(1, math.ceil(2.5 * sigma))
        offsets = torch.arange(-reach, reach + 1, device=image.device, dtype=image.dtype)
        kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
        shape = [1, 1, 1, 1, 1]
        shape[axis] = -1
        padding = [0] * 6
        padding[2 * (4 - axis)] = padding[2 * (4 - axis) + 1] = reach
        padded = F.pad(result, padding, mode="replicate")
        result = F.conv3d(padded, (kernel / kernel.sum()).reshape(shape))
    return result[0, 0]
