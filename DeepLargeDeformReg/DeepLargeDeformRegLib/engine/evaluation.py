"""A transform on its pair of scans: applied, measured and judged, whoever made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ..core.images import LabelMap, Pair, Scan, Volume
from ..core.metrics import Metrics
from ..core.progress import Monitor
from . import metrics
from .fields import DisplacementField, jacobian_determinant, warp_labels, warp_volume


@dataclass(frozen=True, eq=False, kw_only=True)
class Evaluation:
    """What a transform does to its pair.

    Args:
        pair: the scans as loaded.
        field: fixed to moving, mm, linear part included.
        warped: moving scan and its segmentation on the fixed grid.
        maps: what was measured at each place, on grids of their own, for :func:`.metrics.maps.all_maps`.
        metrics: the numbers; see docs/metrics.md.
    """

    pair: Pair
    field: DisplacementField
    warped: Scan
    maps: Mapping[str, Volume]
    metrics: Metrics

    @cached_property
    def jacobian(self) -> Volume:
        """det J on the field's grid, made when it is asked for: of a large scan it is a gigabyte."""
        return Volume(jacobian_determinant(self.field)[0, 0].numpy(), self.field.grid)


def evaluate(
    field: DisplacementField, pair: Pair, backward: DisplacementField | None = None, monitor: Monitor | None = None
) -> Evaluation:
    """Apply a transform to the moving scan, and measure it.

    Args:
        field: fixed to moving, mm.
        pair: the scans, with the segmentations and landmarks that there are.
        backward: moving to fixed, of a registration of its own in that direction; or None.
        monitor: progress and cancellation.
    """
    labels = warped_labels(pair, field)
    measurable = metrics.MeasureInput(field=field, pair=pair, warped_labels=labels, backward=backward)
    measured = metrics.measure(measurable, monitor)
    return Evaluation(
        pair=pair,
        field=field,
        warped=Scan(warp_volume(pair.moving.volume, field, pair.fixed.grid), labels),
        maps=measured.maps,
        metrics=measured.metrics,
    )


def warped_labels(pair: Pair, field: DisplacementField) -> LabelMap | None:
    """The moving segmentation on the fixed grid; None without one."""
    labels = pair.moving.labels
    return None if labels is None else warp_labels(labels, field, pair.fixed.grid)
