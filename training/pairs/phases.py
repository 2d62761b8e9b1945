"""Pairs as a phase of training wants them: their middle, and weaker augmentation.

Where the middle holds what matters, a step of training on it costs less.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..config import GridConfig, PhaseConfig
from .augmentation import Augmented
from .samples import PairSource, Sample, Scan, training_grid


class _Centered:
    """The middle of each pair of a source."""

    def __init__(self, source: PairSource, size: tuple[int, int, int], grid: GridConfig) -> None:
        self.source = source
        first = [(whole - part) // 2 for whole, part in zip(grid.size, size, strict=True)]
        self.part = tuple(slice(a, a + n) for a, n in zip(reversed(first), reversed(size), strict=True))
        self.shift = torch.tensor([a * s for a, s in zip(first, grid.spacing_mm, strict=True)])

    def draw(self, generator: torch.Generator) -> Sample:
        sample = self.source.draw(generator)
        first, second = (
            None if points is None else points - self.shift.to(points)
            for points in (sample.fixed_points, sample.moving_points)
        )
        return replace(
            sample,
            fixed=self._cut(sample.fixed),
            moving=self._cut(sample.moving),
            fixed_points=first,
            moving_points=second,
        )

    def _cut(self, scan: Scan) -> Scan:
        along_d, along_h, along_w = self.part

        def cut(values: Tensor) -> Tensor:
            return values[:, along_d, along_h, along_w]

        labels, mask, shape = (None if v is None else cut(v) for v in (scan.labels, scan.mask, scan.shape))
        return Scan(cut(scan.image), labels, mask, shape)


def centered(source: PairSource, size: tuple[int, int, int], grid: GridConfig) -> PairSource:
    """The middle of each pair of a source; cut before it is augmented, which costs the less then.

    Args:
        source: of pairs on the grid.
        size: voxels along (x, y, z) of the middle.
        grid: of the source's pairs.
    """
    if isinstance(source, Augmented):
        middle = training_grid(replace(grid, size=size))
        return Augmented(_Centered(source.source, size, grid), source.config, middle)
    return _Centered(source, size, grid)


def pairs_in_phase(source: PairSource, phase: PhaseConfig, grid: GridConfig) -> PairSource:
    """The pairs of a source that a phase trains on.

    Args:
        source: of pairs on the grid.
        phase: its size and its share of the augmentation.
        grid: of the source's pairs.
    """
    pairs = source if phase.size is None else centered(source, phase.size, grid)
    return pairs.weaker(phase.augmentation) if phase.augmentation != 1 and isinstance(pairs, Augmented) else pairs
