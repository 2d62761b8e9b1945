"""All that is measured on one registration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ...core.images import LabelMap, LandmarkPairs, Volume
from ...core.labels import match_labels
from ...core.progress import Monitor
from .. import fields
from ..fields import DisplacementField, as_tensor, warp_labels, warp_volume
from .deformation import consistency_map, fold_regions, jacobian_statistics, summarize_consistency
from .landmarks import landmark_table
from .overlap import label_overlap
from .similarity import similarity_table
from .verdict import judge


@dataclass(frozen=True, eq=False)
class MeasureInput:
    """What is measured, and on what.

    Args:
        field: fixed to moving, mm, linear part included; from whatever registration.
        fixed: fixed scan.
        moving: moving scan; None if it is not at hand.
        fixed_labels: fixed segmentation.
        moving_labels: moving segmentation.
        landmarks: corresponding points.
        backward: moving to fixed, if a registration of its own was run in that direction.
        uncertainty: expected error of the displacement, mm, on any grid, if it was estimated.
        guided_by_labels: the segmentations guided the registration, so their overlap is no independent evidence.
        guided_by_landmarks: likewise the landmarks.
    """

    field: DisplacementField
    fixed: Volume
    moving: Volume | None = None
    fixed_labels: LabelMap | None = None
    moving_labels: LabelMap | None = None
    landmarks: LandmarkPairs | None = None
    backward: DisplacementField | None = None
    uncertainty: Volume | None = None
    guided_by_labels: bool = False
    guided_by_landmarks: bool = False


@dataclass(frozen=True, eq=False)
class Measured:
    """The numbers (JSON-safe, as in docs/metrics.md), and what was computed on the way.

    Args:
        numbers: the metrics.
        jacobian: det J on the field's grid.
        warped: moving scan on the fixed grid; None without one.
        warped_labels: moving segmentation on the fixed grid; None without one.
        maps: ``inverse_consistency_mm``, ``local_similarity`` and ``uncertainty_mm``, those that there are, on coarse
            grids of their own, NaN where they are not defined; :mod:`..maps` puts them on the fixed grid.
    """

    numbers: dict[str, Any]
    jacobian: Volume
    warped: Volume | None
    warped_labels: LabelMap | None
    maps: dict[str, Volume]


def measure(given: MeasureInput, monitor: Monitor | None = None) -> Measured:
    """Measure a registration on its field, its scans, and the segmentations and landmarks that there are."""
    monitor = monitor or Monitor()
    field, grid = given.field, given.fixed.grid
    jacobian = Volume(fields.jacobian_determinant(field)[0, 0].numpy(), field.grid)
    monitor.check()
    folds, count = fold_regions(jacobian, given.fixed_labels)
    numbers: dict[str, Any] = {
        "jacobian": jacobian_statistics(jacobian.array),
        "folds": folds,
        "fold_count": count,
    }
    monitor.check()
    numbers["jacobian_in_mask"] = _jacobian_in_mask(jacobian, given.fixed_labels)
    monitor.report("measure", 0.2, "Measuring the result")
    error = consistency_map(field, given.backward, monitor)
    numbers["inverse_consistency_mm"] = summarize_consistency(error, given.backward is not None)
    maps = {"inverse_consistency_mm": error}
    monitor.report("measure", 0.4, "Measuring the structures")
    warped_labels = None
    if given.moving_labels is not None:
        warped_labels = warp_labels(given.moving_labels, field, grid)
        shared = match_labels(given.fixed_labels, given.moving_labels) if given.fixed_labels is not None else ()
        if given.fixed_labels is not None and shared:
            monitor.check()
            as_loaded = warp_labels(given.moving_labels, fields.identity(grid), grid)
            monitor.check()
            numbers |= label_overlap(given.fixed_labels, as_loaded, warped_labels, given.moving_labels, shared)
    if given.landmarks is not None and len(given.landmarks):
        numbers["tre_mm"] = landmark_table(field, given.landmarks)
    monitor.report("measure", 0.7, "Resampling the moving scan")
    warped = None
    if given.moving is not None:
        warped = warp_volume(given.moving, field, grid)
        monitor.check()
        table, similarity = similarity_table(given.fixed, given.moving, field)
        numbers |= table
        maps["local_similarity"] = similarity.local
    if given.uncertainty is not None:
        numbers["uncertainty_mm"] = summarize_uncertainty(given.uncertainty, _where_it_matters(given))
        maps["uncertainty_mm"] = given.uncertainty
    numbers["verdict"] = judge(numbers, given.guided_by_labels, given.guided_by_landmarks)
    return Measured(numbers, jacobian, warped, warped_labels, maps)


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


def _where_it_matters(given: MeasureInput) -> npt.NDArray[np.bool_]:
    """Voxels of the map of uncertainty within the fixed structures, or else where the moving scan has data."""
    assert given.uncertainty is not None
    grid = given.uncertainty.grid
    if given.fixed_labels is not None and given.fixed_labels.mask().any():
        return warp_labels(given.fixed_labels, fields.identity(grid), grid).mask()
    if given.moving is None:
        return np.ones(grid.shape, dtype=bool)
    seen = torch.ones_like(as_tensor(given.moving))
    covered = fields.warp(seen, given.moving.grid, fields.resample(given.field, grid))
    return (covered > 0.5)[0, 0].numpy()


def _jacobian_in_mask(jacobian: Volume, labels: LabelMap | None) -> dict[str, float | None] | None:
    """Statistics of det J in the fixed structures; None without a segmentation."""
    if labels is None:
        return None
    if labels.grid != jacobian.grid:
        labels = warp_labels(labels, fields.identity(jacobian.grid), jacobian.grid)
    return jacobian_statistics(jacobian.array, labels.mask())
