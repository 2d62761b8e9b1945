"""Pairs for training: scans on the training grid, drawn by number so that every run sees the same ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import torch
import torch.nn.functional as F
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import LabelMap, Volume
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.fields import DisplacementField, as_tensor
from DeepLargeDeformRegLib.engine.models import Channel
from torch import Tensor

from ..config import AugmentationConfig, GridConfig

_NODES = 5  # an axis of smooth random numbers


@dataclass(frozen=True, eq=False)
class Scan:
    """One scan on the training grid.

    Args:
        image: the network's input channels, ``(C, D, H, W)`` float32.
        labels: share of each structure in each voxel, ``(K, D, H, W)`` within 0..1, or None.
        mask: likewise the region to be registered, ``(1, D, H, W)``, or None.
    """

    image: Tensor
    labels: Tensor | None = None
    mask: Tensor | None = None

    def packed(self) -> PackedScan:
        """The same scan with a byte a share, a quarter of the memory."""
        shares = (None if v is None else (255 * v).round().to(torch.uint8) for v in (self.labels, self.mask))
        return PackedScan(self.image, *shares)


@dataclass(frozen=True, eq=False)
class PackedScan:
    """A scan in memory: the shares of labels and mask in 255ths, uint8."""

    image: Tensor
    labels: Tensor | None = None
    mask: Tensor | None = None

    def on(self, device: torch.device | str) -> Scan:
        """The scan itself, on a device."""
        bytes_of = (None if v is None else v.to(device, non_blocking=True) for v in (self.labels, self.mask))
        shares = (None if v is None else v.float() / 255 for v in bytes_of)
        return Scan(self.image.to(device, non_blocking=True), *shares)


Store = Callable[[PackedScan], PackedScan]


@dataclass(frozen=True, eq=False, kw_only=True)
class Sample:
    """A pair on the training grid.

    Args:
        fixed: the fixed scan.
        moving: the moving one.
        fixed_points: corresponding points ``(n, 3)``, mm from the center of the grid's first voxel.
        moving_points: their partners.
        same_patient: whether both scans are of one patient, so that intensities correspond.
    """

    fixed: Scan
    moving: Scan
    fixed_points: Tensor | None = None
    moving_points: Tensor | None = None
    same_patient: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Batch:
    """Samples stacked: images ``(N, C, D, H, W)``, labels ``(N, K, D, H, W)``, points ``(N, n, 3)`` in mm.

    The mask is the fixed scan's, ``(N, 1, D, H, W)``. Samples without points have zeros.
    """

    fixed: Tensor
    moving: Tensor
    fixed_labels: Tensor | None = None
    moving_labels: Tensor | None = None
    fixed_points: Tensor | None = None
    moving_points: Tensor | None = None
    fixed_mask: Tensor | None = None
    same_patient: tuple[bool, ...] = ()


class PairSource(Protocol):
    """What trains a network: pairs without end."""

    def draw(self, generator: torch.Generator) -> Sample:
        """The pair that the generator's numbers lead to."""
        ...


def training_grid(config: GridConfig) -> ImageGrid:
    """The grid of every sample, its first voxel at the origin."""
    return ImageGrid.axis_aligned(config.size, config.spacing_mm)


def place(
    volume: Volume,
    labels: LabelMap | None,
    center: Sequence[float],
    config: GridConfig,
    channels: Sequence[Channel],
    values: Sequence[int] = (),
    mask: LabelMap | None = None,
) -> Scan:
    """Resample a scan onto the training grid.

    As the extension does at use (``engine/registration/deform.py``): linear interpolation, the grid's
    middle at ``center``, then the card's channels. Labels are interpolated one by one, so that their rims are soft.

    Args:
        volume: the scan, any orientation.
        labels: its structures.
        center: LPS point (mm) in the middle of the grid.
        config: the training grid.
        channels: the network's input channels.
        values: label values, one channel each.
        mask: its region to be registered.
    """
    grid = grid_around(center, config)
    identity = fields.identity(grid)
    image = fields.warp(as_tensor(volume), volume.grid, identity, fill=config.outside)
    inputs = torch.cat([channel.apply(image) for channel in channels], dim=1)[0]
    shares = region = None
    if labels is not None and values:
        masks = torch.stack([torch.from_numpy(labels.array == value) for value in values])[None].float()
        shares = fields.warp(masks, labels.grid, identity)[0]
    if mask is not None:
        region = fields.warp(torch.from_numpy(mask.mask())[None, None].float(), mask.grid, identity)[0]
    return Scan(inputs, shares, region)


def grid_around(center: Sequence[float], config: GridConfig) -> ImageGrid:
    """The training grid with its middle at an LPS point (mm)."""
    origin = [c - (n - 1) / 2 * s for c, n, s in zip(center, config.size, config.spacing_mm, strict=True)]
    return ImageGrid.axis_aligned(config.size, config.spacing_mm, origin)


class SubjectPairs:
    """Any two different scans of a collection, as (fixed, moving).

    They are kept in the processor's memory, and each goes to the device when it is drawn: a cohort rarely fits there.

    Args:
        scans: the collection, taken one by one.
        device: where they are drawn to.
        store: moves each scan to where it is kept; :meth:`.disk.DiskScans.moved`, say.
    """

    def __init__(self, scans: Iterable[Scan], device: torch.device | str = "cpu", store: Store | None = None) -> None:
        self.scans, self.device = [_kept(scan, store) for scan in scans], device
        if len(self.scans) < 2:
            raise ValueError("pairs of subjects need at least two scans")

    def draw(self, generator: torch.Generator) -> Sample:
        first, step = (int(torch.randint(n, (), generator=generator)) for n in (len(self.scans), len(self.scans) - 1))
        fixed, moving = self.scans[first], self.scans[(first + 1 + step) % len(self.scans)]
        return Sample(fixed=fixed.on(self.device), moving=moving.on(self.device))


class ListedPairs:
    """Given pairs, kept as the scans of :class:`SubjectPairs` are.

    Args:
        samples: the pairs.
        both_ways: draw each as often in one direction as in the other.
        points: how many of a pair's points to draw; a batch needs as many of each.
        device: where they are drawn to.
        store: as that of :class:`SubjectPairs`.
    """

    def __init__(
        self,
        samples: Iterable[Sample],
        both_ways: bool = False,
        points: int = 512,
        device: torch.device | str = "cpu",
        store: Store | None = None,
    ) -> None:
        self.pairs = [
            (_kept(s.fixed, store), _kept(s.moving, store), s.fixed_points, s.moving_points, s.same_patient)
            for s in samples
        ]
        if not self.pairs:
            raise ValueError("there is no pair to train on")
        self.both_ways, self.points, self.device = both_ways, points, device

    def draw(self, generator: torch.Generator) -> Sample:
        index = int(torch.randint(len(self.pairs), (), generator=generator))
        first, second, first_points, second_points, same_patient = self.pairs[index]
        if first_points is not None and second_points is not None:
            chosen = torch.randint(len(first_points), (self.points,), generator=generator)
            first_points, second_points = first_points[chosen], second_points[chosen]
        if self.both_ways and int(torch.randint(2, (), generator=generator)):
            first, second, first_points, second_points = second, first, second_points, first_points
        return Sample(
            fixed=first.on(self.device),
            moving=second.on(self.device),
            fixed_points=first_points,
            moving_points=second_points,
            same_patient=same_patient,
        )


def _kept(scan: Scan, store: Store | None) -> PackedScan:
    packed = scan.packed()
    return packed if store is None else store(packed)


class Augmented:
    """Pairs whose scans are each moved by a random affine and a smooth map, and their contrast bent."""

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
        if chance >= config.probability:
            return Scan(image if noise is None else image + noise, labels, mask), points
        matrix = _random_affine([2 * value - 1 for value in rest], config, self.grid)
        if elastic is None:
            field = fields.from_affine(matrix.numpy(), self.grid, image.device)
        else:
            field = fields.compose_affine(matrix.numpy(), elastic)
        image = _moved(image, self.grid, field, padding="border")
        if noise is not None:
            image = image + noise
        if labels is not None:
            labels = _moved(labels, self.grid, field).clamp(0, 1)
        if mask is not None:
            mask = _moved(mask, self.grid, field).clamp(0, 1)
        if points is not None:
            inverse = torch.linalg.inv(matrix).to(points)
            points = points @ inverse[:3, :3].T + inverse[:3, 3]
            if elastic is not None:
                points = fields.transform_points(fields.invert(elastic).field.to(points.device), points)
        return Scan(image, labels, mask), points


def _moved(channels: Tensor, grid: ImageGrid, field: DisplacementField, padding: str = "zeros") -> Tensor:
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


def draw_batch(source: PairSource, numbers: Sequence[int], seed: int, device: torch.device) -> Batch:
    """The samples of given numbers; the same wherever and whenever they are drawn.

    Neither an interruption nor the number of processes changes what a run sees, since each sample has random numbers
    of its own.
    """
    samples = [source.draw(torch.Generator().manual_seed(seed * 1_000_000_007 + number)) for number in numbers]

    def stack(values: Sequence[Tensor | None]) -> Tensor | None:
        present = [value for value in values if value is not None]
        if not present:
            return None
        filled = [torch.zeros_like(present[0]) if value is None else value for value in values]
        return torch.stack(filled).to(device, non_blocking=True)

    fixed, moving = (stack([getattr(s, side).image for s in samples]) for side in ("fixed", "moving"))
    if fixed is None or moving is None:
        raise ValueError("a sample has no image")
    return Batch(
        fixed=fixed,
        moving=moving,
        fixed_labels=stack([s.fixed.labels for s in samples]),
        moving_labels=stack([s.moving.labels for s in samples]),
        fixed_points=stack([s.fixed_points for s in samples]),
        moving_points=stack([s.moving_points for s in samples]),
        fixed_mask=stack([s.fixed.mask for s in samples]),
        same_patient=tuple(s.same_patient for s in samples),
    )
