"""What a registration is measured by: see docs/metrics.md for the entries of the metrics, their units and sources."""

from __future__ import annotations

from .deformation import fold_regions, inverse_consistency, jacobian_statistics
from .landmarks import landmark_errors, landmark_table, summarize_errors
from .measure import Measured, MeasureInput, measure
from .overlap import SurfaceDistances, dice, dice30, label_overlap, match_labels, surface_distances

__all__ = [
    "MeasureInput",
    "Measured",
    "SurfaceDistances",
    "dice",
    "dice30",
    "fold_regions",
    "inverse_consistency",
    "jacobian_statistics",
    "label_overlap",
    "landmark_errors",
    "landmark_table",
    "match_labels",
    "measure",
    "summarize_errors",
    "surface_distances",
]
