"""Drawn pairs kept in memory, for where drawing one takes longer than a step of the network."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from .samples import PackedScan, Sample, Scan


@dataclass(frozen=True, eq=False)
class KeptSample:
    """A pair in memory: shares in bytes, images in half precision."""

    original: Sample
    fixed: PackedScan
    moving: PackedScan

    @classmethod
    def of(cls, sample: Sample) -> KeptSample:
        """A pair, packed."""
        packed = [scan.packed() for scan in (sample.fixed, sample.moving)]
        both = [replace(scan, image=scan.image.half()) for scan in packed]
        nothing = Scan(torch.empty(0))
        return cls(replace(sample, fixed=nothing, moving=nothing), *both)

    def sample(self, turned: bool) -> Sample:
        """The pair itself, or with fixed and moving exchanged."""
        fixed, moving = (replace(s, image=s.image.float()).on(s.image.device) for s in (self.fixed, self.moving))
        whole = replace(self.original, fixed=fixed, moving=moving)
        if not turned:
            return whole
        first, second = whole.fixed_points, whole.moving_points
        return replace(whole, fixed=moving, moving=fixed, fixed_points=second, moving_points=first)
