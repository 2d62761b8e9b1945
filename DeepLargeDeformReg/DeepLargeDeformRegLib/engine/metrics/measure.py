"""All that is measured on one registration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ...core.geometry import ImageGrid
from ...core.images import LabelMap, Pair, Scan, Volume
from ...core.labels import shared_structures
from ...core.progress import Monitor
from .. import fields
from ..fields import DisplacementField, as_tensor, warp_labels
from .deformation import consistency_map, fold_regions, jacobian_statistics, summarize_consistency
from .landmarks import landmark_table
from .overlap import label_overlap
from .similarity import similarity_table
from .verdict import judge


@dataclass(frozen=True, eq=False, kw_only=True)
class MeasureInput:
    """What is measured, and on what.

    Args:
        field: fixed to moving, mm, linear part included; from whatever registration.
        pair: the scans, with the segmentations and landmarks that there are.
        warped: moving scan and its segmentation on the fixed grid, through the field.
        backward: moving to fixed, if a registration of its own was run in that direction.
        uncertainty: expected error of the displacement, mm, on any grid, if it was estimated.
        guided_by_labels: the segmentations guided the registration, so their overlap is no independent evidence.
        guided_by_landmarks: likewise the landmarks.
    """

    field: DisplacementField
    pair: Pair
    warped: Scan
    backward: DisplacementField | None = None
    uncertainty: Volume | None = None
    guided_by_labels: bool = False
    guided_by_landmarks: bool = False


@dataclass(frozen=True, eq=False)
class Measured:
    """The numbers, and what was measured at each place.

    Args:
        numbers: the metrics, JSON-safe, as in docs/metrics.md.
        jacobian: det J on the field's grid.
        maps: ``inverse_consistency_mm``, ``local_similarity`` and ``uncertainty_mm``, those that there are, on coarse
            grids of their own, NaN where they are not defined; :mod:`..maps` puts them on the fixed grid.
    """

    numbers: dict[str, Any]
    jacobian: Volume
    maps: dict[str, Volume]


def measure(given: MeasureInput, monitor: Monitor | None = None) -> Measured:
    """Measure a registration on its field, its scans, and the segmentations and landmarks that there are."""
    monitor = monitor or Monitor()
    field, fixed = given.field, given.pair.fixed
    jacobian = Volume(fields.jacobian_determinant(field)[0, 0].numpy(), field.grid)
    monitor.check()
    folds, count = fold_regions(jacobian, fixed.labels)
    numbers: dict[str, Any] = {
        "jacobian": jacobian_statistics(jacobian.array),
        "folds": folds,
        "fold_count": count,
    }
    monitor.check()
    numbers["jacobian_in_mask"] = _jacobian_in_mask(jacobian, fixed.labels)
    monitor.report("measure", 0.2, "Measuring the result")
    error = consistency_map(field, given.backward, monitor)
    numbers["inverse_consistency_mm"] = summarize_consistency(error, given.backward is not None)
    maps = {"inverse_consistency_mm": error}
    monitor.report("measure", 0.4, "Measuring the structures")
    numbers |= _overlap(given, monitor)
    landmarks = given.pair.landmarks
    if landmarks is not None and len(landmarks):
        numbers["tre_mm"] = landmark_table(field, landmarks)
    monitor.report("measure", 0.7, "Comparing the scans")
    table, similarity = similarity_table(fixed.volume, given.pair.moving.volume, field)
    numbers |= table
    maps["local_similarity"] = similarity.local
    if given.uncertainty is not None:
        where = _where_it_matters(given, given.uncertainty.grid)
        numbers["uncertainty_mm"] = summarize_uncertainty(given.uncertainty, where)
        maps["uncertainty_mm"] = given.uncertainty
    numbers["verdict"] = judge(numbers, given.guided_by_labels, given.guided_by_landmarks)
    return Measured(numbers, jacobian, maps)


def _overlap(given: MeasureInput, monitor: Monitor) -> dict[str, Any]:
    """Measures of the structures that both segmentations have, before and after; none without any."""
    fixed, moving, warped = given.pair.fixed.labels, given.pair.moving.labels, given.warped.labels
    shared = shared_structures(given.pair)
    if fixed is None or moving is None or warped is None or not shared:
        return {}
    grid = given.pair.fixed.grid
    monitor.check()
    as_loaded = warp_labels(moving, fields.identity(grid), grid)
    monitor.check()
    return label_overlap(fixed, as_loaded, warped, moving, shared)


def summarize_uncertainty(uncertainty: Volume, where: npt.NDArray[np.bool_]) -> dict[str, float | None]:
    """Mean, 95th percentile and maximum of the displacement's expected error, mm, over some of its voxels.

    Args:
        uncertainty: the expected error.
        where: voxels that count, ``(D, H, W)``; NaN voxels never do.
    """
    values = uncertainty.array[where & np.isfinite(uncertainty.array)]
    if not values.size:
        return {"mean": None, "p95": None, "max": None}
    return {"mean": float(values.mean()), "p95": float(np.percentile(values, 95)), "max": float(values.max())}


def _where_it_matters(given: MeasureInput, grid: ImageGrid) -> npt.NDArray[np.bool_]:
    """Voxels of a grid within the fixed structures, or else where the moving scan has data."""
    labels, moving = given.pair.fixed.labels, given.pair.moving.volume
    if labels is not None and labels.mask().any():
        return warp_labels(labels, fields.identity(grid), grid).mask()
    everywhere = torch.ones_like(as_tensor(moving))
    covered = fields.warp(everywhere, moving.grid, fields.resample(given.field, grid))
    return (covered > 0.5)[0, 0].numpy()


def _jacobian_in_mask(jacobian: Volume, labels: LabelMap | None) -> dict[str, float | None] | None:
    """Statistics of det J in the fixed structures; None without a segmentation."""
    if labels is None:
        return None
    if labels.grid != jacobian.grid:
        labels = warp_labels(labels, fields.identity(jacobian.grid), jacobian.grid)
    return jacobian_statistics(jacobian.array, labels.mask())
