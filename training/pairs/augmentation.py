"""Pairs varied at random: moved, deformed, their contrast bent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.fields import DisplacementField
from torch import Tensor

from ..config import AugmentationConfig
from .samples import PairSource, Sample, Scan

_NODES = 5  # an axis of smooth random numbers


class Augmented:
    """Pairs whose scans are each moved by a random affine and a smooth map, and their contrast bent.

    A scan that has a ``shape`` takes it on, in the same interpolation; such scans have no points.
    """

    def __init__(self, source: PairSource, config: AugmentationConfig, grid: ImageGrid) -> None:
        self.source, self.config, self.grid = source, config, grid

    def weaker(self, share: float) -> Augmented:
        """The same pairs with a share of the augmentation."""
        return Augmented(self.source, self.config.weaker(share), self.grid)

    def draw(self, generator: torch.Generator) -> Sample:
        sample = self.source.draw(generator)
        fixed, fixed_points = self._vary(sample.fixed, sample.fixed_points, generator)
        moving, moving_points = self._vary(sample.moving, sample.moving_points, generator)
        return Sample(
            fixed=fixed,
            moving=moving,
            fixed_points=fixed_points,
            moving_points=moving_points,
            same_patient=sample.same_patient,
        )

    def _vary(self, scan: Scan, points: Tensor | None, generator: torch.Generator) -> tuple[Scan, Tensor | None]:
        config = self.config
        # The numbers are drawn whether they are used or not: what is drawn later must not depend on it.
        chance, bend, *rest = torch.rand(11, generator=generator).tolist()
        image, labels, mask = scan.image, scan.labels, scan.mask
        elastic = None
        if config.elastic_mm > 0:
            nodes = _smooth_noise(3, self.grid, generator, image.device)
            elastic = DisplacementField(config.elastic_mm * nodes, self.grid)
        if config.gamma > 0:
            image = image.clamp_min(0) ** math.exp((2 * bend - 1) * math.log1p(config.gamma))
        if config.bias > 0:
            image = image * (config.bias * _smooth_noise(1, self.grid, generator, image.device)[0]).exp()
        noise = None
        if config.noise > 0:  # after the move, which would smooth it
            level = config.noise * torch.rand((), generator=generator)
            noise = (level * torch.randn(image.shape, generator=generator)).to(image.device, non_blocking=True)
        field: DisplacementField | None = None
        matrix = _random_affine([2 * value - 1 for value in rest], config, self.grid)
        if chance < config.probability:
            field = (
                fields.from_affine(matrix.numpy(), self.grid, image.device)
                if elastic is None
                else fields.compose_affine(matrix.numpy(), elastic)
            )
        if scan.shape is not None:
            shape = DisplacementField(scan.shape[None], self.grid)
            field = shape if field is None else fields.compose(shape, field)
        if field is None:
            return Scan(image if noise is None else image + noise, labels, mask), points
        image = moved(image, self.grid, field, padding="border")
        if noise is not None:
            image = image + noise
        if labels is not None:
            labels = moved(labels, self.grid, field).clamp(0, 1)
        if mask is not None:
            mask = moved(mask, self.grid, field).clamp(0, 1)
        if points is not None:
            inverse = torch.linalg.inv(matrix).to(points)
            points = points @ inverse[:3, :3].T + inverse[:3, 3]
            if elastic is not None:
                points = fields.transform_points(fields.invert(elastic).field.to(points.device), points)
        return Scan(image, labels, mask), points


def moved(channels: Tensor, grid: ImageGrid, field: DisplacementField, padding: str = "zeros") -> Tensor:
    """Channels ``(C, D, H, W)`` warped as sharply as they are.

    Linear interpolation between the voxels themselves would blur what is moved, and a network is used on what is not.
    """
    halves = ImageGrid.axis_aligned([2 * n - 1 for n in grid.size], [s / 2 for s in grid.spacing], grid.origin)
    # One by one: eightfold memory for a single channel.
    warped = [fields.warp(_doubled(channel[None, None]), halves, field, padding=padding)[0] for channel in channels]
    return torch.cat(warped)


def _doubled(volume: Tensor) -> Tensor:
    """Cubic interpolation to half the spacing: ``(1, 1, D, H, W)`` to ``(1, 1, 2 D - 1, 2 H - 1, 2 W - 1)``."""
    return _along_axes(volume, [_doubling(length, volume.device) for length in volume.shape[2:]])


def _smooth_noise(channels: int, grid: ImageGrid, generator: torch.Generator, device: torch.device) -> Tensor:
    """Normal numbers at 5 nodes an axis, between which they change smoothly: ``(1, channels, D, H, W)``."""
    nodes = torch.randn((1, channels, _NODES, _NODES, _NODES), generator=generator).to(device, non_blocking=True)
    return _along_axes(nodes, [_smoothing(length, device) for length in grid.shape])


def _along_axes(volume: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """The last three axes of ``(1, C, D, H, W)``, each multiplied by its matrix: no copy, no transposition."""
    along_d, along_h, along_w = matrices
    volume = along_h @ (volume @ along_w.T)
    return (along_d @ volume.flatten(3)).unflatten(3, volume.shape[3:])


@cache
def _doubling(length: int, device: torch.device) -> Tensor:
    """Values between the points of a line by the cubic through the nearest four: ``(2 length - 1, length)``."""
    rows = F.pad(torch.eye(length)[:, None], (1, 1), mode="replicate")[:, 0]
    between = (9 * (rows[:, 1:length] + rows[:, 2 : length + 1]) - rows[:, : length - 1] - rows[:, 3:]) / 16
    points = torch.stack([rows[:, 1:length], between], dim=2).flatten(1)
    return torch.cat([points, rows[:, length : length + 1]], dim=1).T.contiguous().to(device)


@cache
def _smoothing(length: int, device: torch.device) -> Tensor:
    """Linear interpolation between the nodes, the kinks at the nodes rounded off: ``(length, nodes)``."""
    dense = F.interpolate(torch.eye(_NODES)[:, None], size=length, mode="linear", align_corners=True)
    reach = max(length // 16, 1)
    dense = F.avg_pool1d(F.pad(dense, (reach, reach), mode="replicate"), 2 * reach + 1, 1)
    return dense[:, 0].T.contiguous().to(device)


def _random_affine(unit: Sequence[float], config: AugmentationConfig, grid: ImageGrid) -> Tensor:
    """Homogeneous matrix (4, 4), float64, LPS mm, from nine numbers within -1..1; about the middle of the grid."""
    linear = torch.eye(3, dtype=torch.float64)
    for axis in range(3):
        angle = math.radians(config.rotation_deg) * unit[axis]
        rotation = torch.eye(3, dtype=torch.float64)
        i, j = [other for other in range(3) if other != axis]
        rotation[i, i] = rotation[j, j] = math.cos(angle)
        rotation[i, j], rotation[j, i] = -math.sin(angle), math.sin(angle)
        linear = linear @ rotation
    linear = linear @ torch.diag(torch.tensor([1 + config.scale * value for value in unit[3:6]], dtype=torch.float64))
    center = torch.tensor(grid.center, dtype=torch.float64)
    shift = torch.tensor(unit[6:9], dtype=torch.float64) * config.translation * torch.tensor(grid.extent) / 2
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = linear
    matrix[:3, 3] = center + shift - linear @ center
    return matrix
