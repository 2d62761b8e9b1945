"""All that is measured on one registration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from ...core.geometry import ImageGrid
from ...core.images import LabelMap, Pair, Scan, Volume
from ...core.labels import shared_structures
from ...core.measures import DeformationMetrics, Spread, StructureMetrics
from ...core.metrics import Metrics, WorstPlace
from ...core.progress import Monitor
from ...core.sentences import marked as _
from .. import fields
from ..fields import DisplacementField, as_tensor, warp_labels
from .deformation import consistency_map, fold_regions, jacobian_statistics, summarize_consistency
from .landmarks import landmark_metrics
from .overlap import label_overlap
from .similarity import similarity_metrics
from .verdict import judge
from .worst import largest_error, smallest_determinant


@dataclass(frozen=True, eq=False, kw_only=True)
class MeasureInput:
    """What is measured, and on what.

    Args:
        field: fixed to moving, mm, linear part included; from whatever registration.
        pair: the scans, with the segmentations and landmarks that there are.
        warped: moving scan and its segmentation on the fixed grid, through the field.
        backward: moving to fixed, if a registration of its own was run in that direction.
        uncertainty: expected error of the displacement, mm, on any grid, if it was estimated.
        found_organs: Dice after registration of structures that were found automatically, by name.
        guided_by_labels: the segmentations guided the registration, so their overlap is no independent evidence.
        guided_by_landmarks: likewise the landmarks.
    """

    field: DisplacementField
    pair: Pair
    warped: Scan
    backward: DisplacementField | None = None
    uncertainty: Volume | None = None
    found_organs: Mapping[str, float] | None = None
    guided_by_labels: bool = False
    guided_by_landmarks: bool = False


@dataclass(frozen=True, eq=False)
class Measured:
    """The metrics, judged, and what was measured at each place.

    Args:
        metrics: the numbers and the verdict.
        jacobian: det J on the field's grid.
        maps: ``inverse_consistency_mm``, ``local_similarity`` and ``uncertainty_mm``, those that there are, on coarse
            grids of their own, NaN where they are not defined; :mod:`..maps` puts them on the fixed grid.
    """

    metrics: Metrics
    jacobian: Volume
    maps: dict[str, Volume]


def measure(inputs: MeasureInput, monitor: Monitor | None = None) -> Measured:
    """Measure a registration on its field, its scans, and the segmentations and landmarks that there are."""
    monitor = monitor or Monitor()
    map_, fixed = inputs.field, inputs.pair.fixed
    jacobian = Volume(fields.jacobian_determinant(map_)[0, 0].numpy(), map_.grid)
    monitor.report("measure", 0.2, _("Measuring the result"))
    error = consistency_map(map_, inputs.backward, monitor)
    maps = {"inverse_consistency_mm": error}
    inside = _in_structures(fixed.labels, jacobian.grid)
    deformation = _deformation(inputs, jacobian, inside, error)
    worst: list[WorstPlace | None] = [smallest_determinant(jacobian, inside, fixed.labels)]
    monitor.report("measure", 0.4, _("Measuring the structures"))
    structures, farthest = _overlap(inputs, monitor)
    worst.append(farthest)
    landmarks = inputs.pair.landmarks
    monitor.report("measure", 0.7, _("Comparing the scans"))
    similarity, compared = similarity_metrics(fixed.volume, inputs.pair.moving.volume, map_)
    maps["local_similarity"] = compared.local
    uncertainty = None
    if inputs.uncertainty is not None:
        where = _where_it_matters(inputs, inputs.uncertainty.grid)
        uncertainty = summarize_spread(inputs.uncertainty.array, where)
        worst.append(largest_error(inputs.uncertainty, where, fixed.labels))
        maps["uncertainty_mm"] = inputs.uncertainty
    metrics = Metrics(
        deformation=deformation,
        structures=structures,
        landmarks=landmark_metrics(map_, landmarks) if landmarks is not None and len(landmarks) else None,
        similarity=similarity,
        uncertainty_mm=uncertainty,
        worst_places=tuple(place for place in worst if place is not None),
        found_organs=inputs.found_organs or {},
        left_out_percent=_left_out(inputs.pair),
    )
    verdict = judge(metrics, inputs.guided_by_labels, inputs.guided_by_landmarks)
    return Measured(replace(metrics, verdict=verdict), jacobian, maps)


def _deformation(
    inputs: MeasureInput, jacobian: Volume, inside: npt.NDArray[np.bool_] | None, error: Volume
) -> DeformationMetrics:
    """Plausibility of the map."""
    folds, count = fold_regions(jacobian, inputs.pair.fixed.labels)
    lengths = fields.lengths(inputs.field.displacement)[0, 0].numpy()
    return DeformationMetrics(
        jacobian=jacobian_statistics(jacobian.array),
        jacobian_in_mask=None if inside is None else jacobian_statistics(jacobian.array, inside),
        folds=folds,
        fold_count=count,
        displacement_mm=summarize_spread(lengths),
        inverse_consistency_mm=summarize_consistency(error, inputs.backward is not None),
    )


def _overlap(inputs: MeasureInput, monitor: Monitor) -> tuple[dict[str, StructureMetrics], WorstPlace | None]:
    """Measures of the structures that both segmentations have, before and after; none without any."""
    fixed, moving, warped = inputs.pair.fixed.labels, inputs.pair.moving.labels, inputs.warped.labels
    shared = shared_structures(inputs.pair)
    if fixed is None or moving is None or warped is None or not shared:
        return {}, None
    monitor.check()
    as_loaded = warp_labels(moving, fields.identity(inputs.pair.fixed.grid), inputs.pair.fixed.grid)
    monitor.check()
    return label_overlap(fixed, as_loaded, warped, moving, shared)


def _left_out(pair: Pair) -> dict[str, float]:
    """Share of each scan that a mask leaves out, %; nothing of those without one."""
    sides = {"fixed": pair.fixed.volume.counted, "moving": pair.moving.volume.counted}
    return {name: 100.0 * float(1 - counted.mean()) for name, counted in sides.items() if counted is not None}


def summarize_spread(values: npt.NDArray[np.floating], where: npt.NDArray[np.bool_] | None = None) -> Spread:
    """Mean, 95th percentile and maximum of values, in their unit, over those that count.

    Args:
        values: the values.
        where: which of them count, of the same shape; None counts all. NaN never counts.
    """
    counts = np.isfinite(values) if where is None else where & np.isfinite(values)
    counted = values[counts]
    if not counted.size:
        return Spread()
    return Spread(mean=float(counted.mean()), p95=float(np.percentile(counted, 95)), max=float(counted.max()))


def _where_it_matters(inputs: MeasureInput, grid: ImageGrid) -> npt.NDArray[np.bool_]:
    """Voxels of a grid within the fixed structures, or else where the moving scan has data."""
    labels, moving = inputs.pair.fixed.labels, inputs.pair.moving.volume
    if labels is not None and labels.mask().any():
        return warp_labels(labels, fields.identity(grid), grid).mask()
    everywhere = torch.ones_like(as_tensor(moving))
    covered = fields.warp(everywhere, moving.grid, fields.resample(inputs.field, grid))
    return (covered > 0.5)[0, 0].numpy()


def _in_structures(labels: LabelMap | None, grid: ImageGrid) -> npt.NDArray[np.bool_] | None:
    """Voxels of a grid within the fixed structures; None without a segmentation."""
    if labels is None:
        return None
    return (labels if labels.grid == grid else warp_labels(labels, fields.identity(grid), grid)).mask()
