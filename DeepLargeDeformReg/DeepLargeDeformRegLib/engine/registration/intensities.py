"""The intensities in which scans are compared: clipped to a preset's windows, or scaled by their own percentiles."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...core.images import Pair, Volume
from ...core.presets import Preset, Window
from ..left_out import filled
from ..metrics.statistics import parts_of, percentiles

RANGE = (1, 99)  # percentiles that become 0 and 1


@dataclass(frozen=True)
class Scaling:
    """How one scan's intensities become those that are compared.

    Args:
        low: what is less becomes it.
        high: what is more becomes it.
        to_unit: True if the two become 0 and 1.
    """

    low: float
    high: float
    to_unit: bool = False

    @classmethod
    def by_percentiles(cls, volume: Volume) -> Scaling:
        """The scan's 1st to 99th percentile, or all of its range where they are the same, become 0 to 1."""
        low, high = percentiles(parts_of(filled(volume).array), RANGE)
        if high <= low:
            low, high = float(volume.array.min()), float(volume.array.max())
        return cls(low, high, to_unit=True)

    def of(self, volume: Volume) -> Volume:
        """The scan in the other intensities, and with what a mask leaves out filled; a copy, so hold it briefly."""
        volume = filled(volume)
        if not self.to_unit:
            return replace(volume, array=volume.array.clip(self.low, self.high))
        array = volume.array - np.float32(self.low)
        array /= np.float32(self.high - self.low)
        return replace(volume, array=array.clip(0, 1, out=array))


Scalings = tuple[Scaling, Scaling]
"""Of the fixed and of the moving scan."""


def scalings_of(pair: Pair, preset: Preset) -> tuple[Scalings, tuple[Window, ...]]:
    """How the scans of a pair are scaled, and the preset's windows in those intensities."""
    if not preset.windows:
        volumes = (pair.fixed.volume, pair.moving.volume)
        return (Scaling.by_percentiles(volumes[0]), Scaling.by_percentiles(volumes[1])), ((0.0, 1.0),)
    clipped = Scaling(min(low for low, _ in preset.windows), max(high for _, high in preset.windows))
    return (clipped, clipped), preset.windows


def scaled(pair: Pair, scalings: Scalings) -> Pair:
    """Both scans in those intensities."""
    fixed, moving = (
        replace(scan, volume=scaling.of(scan.volume))
        for scan, scaling in zip((pair.fixed, pair.moving), scalings, strict=True)
    )
    return Pair(fixed, moving)
