"""Target registration error of landmark pairs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from ...core.images import LandmarkPairs
from ...core.measures import ErrorSummary, LandmarkError, LandmarkMetrics
from .. import fields
from ..fields import DisplacementField


def landmark_errors(field: DisplacementField, landmarks: LandmarkPairs) -> npt.NDArray[np.float64]:
    """Target registration error ``|y(p_fixed) - p_moving|`` of each landmark pair, mm (Fitzpatrick, TMI 2001)."""
    moved = fields.transform_points(field, torch.from_numpy(landmarks.fixed)).numpy()
    return np.linalg.norm(moved - landmarks.moving, axis=1)


def summarize_errors(errors: npt.NDArray[np.float64]) -> ErrorSummary:
    """Mean, standard deviation (of the population), 25th to 95th percentile and maximum, in the errors' unit."""
    percentiles = {f"p{q}": float(np.percentile(errors, q)) for q in (25, 50, 75, 95)}
    return ErrorSummary(mean=float(errors.mean()), std=float(errors.std()), **percentiles, max=float(errors.max()))


def landmark_metrics(field: DisplacementField, landmarks: LandmarkPairs) -> LandmarkMetrics:
    """Target registration error as loaded (``before``) and with the transform (``after``), mm."""
    before = np.linalg.norm(landmarks.fixed - landmarks.moving, axis=1)
    after = landmark_errors(field, landmarks)
    return LandmarkMetrics(
        before=summarize_errors(before),
        after=summarize_errors(after),
        landmarks=tuple(
            LandmarkError(name=name, before=float(start), after=float(end), point_lps=(float(x), float(y), float(z)))
            for name, start, end, (x, y, z) in zip(landmarks.names, before, after, landmarks.fixed, strict=True)
        ),
    )
