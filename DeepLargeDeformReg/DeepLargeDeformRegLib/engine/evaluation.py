"""A transform on its pair of scans: applied, measured and judged, whoever made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..core.images import Pair, Scan, Volume
from ..core.metrics import Metrics
from ..core.progress import Monitor
from . import metrics
from .fields import DisplacementField, warp_scan


@dataclass(frozen=True, eq=False, kw_only=True)
class Evaluation:
    """What a transform does to its pair.

    Args:
        pair: the scans as loaded.
        field: fixed to moving, mm, linear part included.
        warped: moving scan and its segmentation on the fixed grid.
        jacobian: det J on the field's grid.
        maps: what was measured at each place, on grids of their own, for :func:`.metrics.maps.all_maps`.
        metrics: the numbers; see docs/metrics.md.
    """

    pair: Pair
    field: DisplacementField
    warped: Scan
    jacobian: Volume
    maps: Mapping[str, Volume]
    metrics: Metrics


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
    warped = warp_scan(pair.moving, field, pair.fixed.grid)
    measurable = metrics.MeasureInput(field=field, pair=pair, warped=warped, backward=backward)
    measured = metrics.measure(measurable, monitor)
    return Evaluation(
        pair=pair,
        field=field,
        warped=warped,
        jacobian=measured.jacobian,
        maps=measured.maps,
        metrics=measured.metrics,
    )
