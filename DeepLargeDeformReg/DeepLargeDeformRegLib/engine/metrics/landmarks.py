"""Target registration error of landmark pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ...core.images import LandmarkPairs
from .. import fields
from ..fields import DisplacementField


def landmark_errors(field: DisplacementField, landmarks: LandmarkPairs) -> npt.NDArray[np.float64]:
    """Target registration error ``|y(p_fixed) - p_moving|`` of each landmark pair, mm (Fitzpatrick, TMI 2001)."""
    moved = fields.transform_points(field, torch.from_numpy(landmarks.fixed)).numpy()
    return np.linalg.norm(moved - landmarks.moving, axis=1)


def summarize_errors(errors: npt.NDArray[np.float64]) -> dict[str, float]:
    """Mean, standard deviation (of the population), 25th to 95th percentile and maximum, in the errors' unit."""
    percentiles = {f"p{q}": float(np.percentile(errors, q)) for q in (25, 50, 75, 95)}
    return {"mean": float(errors.mean()), "std": float(errors.std()), **percentiles, "max": float(errors.max())}


def landmark_table(field: DisplacementField, landmarks: LandmarkPairs) -> dict[str, Any]:
    """Target registration error as loaded (``before``) and with the transform (``after``), mm.

    Returns:
        ``before`` and ``after`` as :func:`summarize_errors`, and ``landmarks``: a list of name, before, after and
        ``point_lps``, the place in the fixed scan.
    """
    before = np.linalg.norm(landmarks.fixed - landmarks.moving, axis=1)
    after = landmark_errors(field, landmarks)
    rows = [
        {"name": name, "before": float(start), "after": float(end), "point_lps": [float(value) for value in point]}
        for name, start, end, point in zip(landmarks.names, before, after, landmarks.fixed, strict=True)
    ]
    return {"before": summarize_errors(before), "after": summarize_errors(after), "landmarks": rows}
