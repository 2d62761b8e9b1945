"""Statistics of values that are too many to copy: part by part, and exact."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from ...core.measures import Spread
from ..fields.slabs import slabs

Values = npt.NDArray[np.floating]
Parts = Callable[[], Iterable[Values]]
"""Gives all values, part after part, each time that it is called."""

_BINS = 1 << 16


class Moments:
    """Number, mean and standard deviation of values that are added part by part, in double precision."""

    def __init__(self, near: float = 0.0) -> None:
        """Of values that lie near a number: the nearer, the less is lost to rounding."""
        self._near = near
        self.count = 0
        self._sum = self._squares = 0.0

    def add(self, values: Values) -> None:
        """Take values into account."""
        away = values.astype(np.float64) - self._near
        self.count += away.size
        self._sum += float(away.sum())
        self._squares += float((away * away).sum())

    @property
    def mean(self) -> float:
        """Of one value at least."""
        return self._near + self._sum / self.count

    @property
    def std(self) -> float:
        """Of one value at least."""
        return float(np.sqrt(max(self._squares / self.count - (self._sum / self.count) ** 2, 0.0)))


def parts_of(values: Values, where: npt.NDArray[np.bool_] | None = None) -> Parts:
    """The planes of an array ``(D, H, W)``, some at a time; of each the values that count."""

    def parts() -> Iterator[Values]:
        for place in planes_of(values):
            yield values[place].ravel() if where is None else values[place][where[place]]

    return parts


def planes_of(values: npt.NDArray[np.generic]) -> list[slice]:
    """Which planes of an array ``(D, H, W)`` are looked at together."""
    return slabs(values.shape, torch.empty(0)) if values.size else []


def percentiles(parts: Parts, shares: Sequence[float]) -> list[float]:
    """Percentiles as ``numpy.percentile`` has them, of values in float32 that are numbers; nothing is copied whole.

    Values are counted by their upper 16 bits, in whose order they are; of those that have the wanted ones the values
    are sorted.

    Args:
        parts: the values, one at least.
        shares: which percentiles, 0..100.
    """
    counts = np.zeros(_BINS, np.int64)
    for part in parts():
        counts += np.bincount(_upper_bits(part), minlength=_BINS)
    ends = counts.cumsum()
    places = [share / 100 * (int(ends[-1]) - 1) for share in shares]
    ranks = sorted({rank for place in places for rank in (int(np.floor(place)), int(np.ceil(place)))})
    bins = np.unique(np.searchsorted(ends, ranks, side="right"))
    wanted = np.zeros(_BINS, bool)
    wanted[bins] = True
    kept = np.sort(np.concatenate([part[wanted[_upper_bits(part)]] for part in parts()]))
    before = np.concatenate(([0], counts[bins].cumsum()))
    at = {}
    for rank in ranks:
        number = int(np.searchsorted(ends[bins], rank, side="right"))
        at[rank] = float(kept[before[number] + rank - (ends - counts)[bins[number]]])
    found = []
    for place in places:
        low, high = at[int(np.floor(place))], at[int(np.ceil(place))]
        found.append(low + (high - low) * (place - np.floor(place)))
    return found


def summarize_spread(values: Values, where: npt.NDArray[np.bool_] | None = None) -> Spread:
    """Mean, 95th percentile and maximum of values, in their unit, over those that count.

    Args:
        values: the values ``(D, H, W)``.
        where: which of them count, of the same shape; None counts all. NaN never counts.
    """
    parts = parts_of(values, where)
    return spread_of(lambda: (part[np.isfinite(part)] for part in parts()))


def spread_of(parts: Parts) -> Spread:
    """As :func:`summarize_spread`, of values that are numbers; nothing known of none."""
    moments, largest = Moments(), -np.inf
    for part in parts():
        if part.size:
            moments.add(part)
            largest = max(largest, float(part.max()))
    if not moments.count:
        return Spread()
    return Spread(mean=moments.mean, p95=percentiles(parts, (95,))[0], max=largest)


def _upper_bits(values: Values) -> npt.NDArray[np.uint16]:
    """The upper half of the bits of float32 values, changed so that they have the order of the values."""
    bits = (np.ascontiguousarray(values, np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return np.where(bits >> 15, ~bits, bits | 0x8000)
