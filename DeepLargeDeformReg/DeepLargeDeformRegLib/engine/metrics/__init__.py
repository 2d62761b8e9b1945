"""What a registration is measured by: see docs/metrics.md for the entries of the metrics, their units and sources."""

from __future__ import annotations

from .deformation import fold_regions, inverse_consistency, jacobian_statistics
from .landmarks import landmark_errors, landmark_metrics, summarize_errors
from .limits import SITE_TABLE, Limits, load_limits
from .measure import Measured, MeasureInput, measure
from .overlap import SurfaceDistances, dice, dice30, label_overlap, surface_distances
from .similarity import Similarity, in_place_percent, scan_similarity
from .verdict import judge

__all__ = [
    "SITE_TABLE",
    "Limits",
    "MeasureInput",
    "Measured",
    "Similarity",
    "SurfaceDistances",
    "dice",
    "dice30",
    "fold_regions",
    "in_place_percent",
    "inverse_consistency",
    "jacobian_statistics",
    "judge",
    "label_overlap",
    "landmark_errors",
    "landmark_metrics",
    "load_limits",
    "measure",
    "scan_similarity",
    "summarize_errors",
    "surface_distances",
]
