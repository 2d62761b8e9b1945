"""Pairs for training: scans on the training grid, drawn by number so that every run sees the same ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import LabelMap, Volume
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.fields import as_tensor
from DeepLargeDeformRegLib.engine.models import Channel
from torch import Tensor

from ..config import GridConfig


@dataclass(frozen=True, eq=False)
class Scan:
    """One scan on the training grid.

    Args:
        image: the network's input channels, ``(C, D, H, W)`` float32.
        labels: share of each structure in each voxel, ``(K, D, H, W)`` within 0..1, or None.
        mask: likewise the region to be registered, ``(1, D, H, W)``, or None.
        shape: displacement ``(3, D, H, W)`` in mm that augmentation moves it by, or None; see :mod:`.shapes`.
    """

    image: Tensor
    labels: Tensor | None = None
    mask: Tensor | None = None
    shape: Tensor | None = None

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
Vary = Callable[[Scan, Sequence[PackedScan], int, torch.Generator], Scan]


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
        vary: gives a drawn scan a shape; :meth:`.shapes.OtherShapes.vary`, say.
    """

    def __init__(
        self,
        scans: Iterable[Scan],
        device: torch.device | str = "cpu",
        store: Store | None = None,
        vary: Vary | None = None,
    ) -> None:
        self.scans, self.device, self.vary = [_kept(scan, store) for scan in scans], device, vary
        if len(self.scans) < 2:
            raise ValueError("pairs of subjects need at least two scans")

    def draw(self, generator: torch.Generator) -> Sample:
        first, step = (int(torch.randint(n, (), generator=generator)) for n in (len(self.scans), len(self.scans) - 1))
        fixed, moving = (self._drawn(index, generator) for index in (first, (first + 1 + step) % len(self.scans)))
        return Sample(fixed=fixed, moving=moving)

    def _drawn(self, index: int, generator: torch.Generator) -> Scan:
        scan = self.scans[index].on(self.device)
        return scan if self.vary is None else self.vary(scan, self.scans, index, generator)


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
