"""Landmarks are held against the scans that they belong to."""

from __future__ import annotations

import numpy as np
import pytest
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import LandmarkPairs, Pair, Scan, Volume, notices_of_landmarks

GRID = ImageGrid.axis_aligned((10, 10, 10), (4.0, 4.0, 4.0), (100.0, 100.0, 100.0))
SCAN = Scan(Volume(np.zeros(GRID.shape, np.float32), GRID))
INSIDE = np.array([[110.0, 120.0, 130.0], [130.0, 110.0, 120.0], [150.0, 120.0, 120.0]])  # the last 12 mm beyond


def test_landmarks_outside_of_their_scan_are_told_or_refused() -> None:
    pair = Pair(SCAN, SCAN)
    assert notices_of_landmarks(pair) == []
    assert notices_of_landmarks(pair.with_landmarks(LandmarkPairs(INSIDE, INSIDE))) == []
    some = np.concatenate([INSIDE[:2], [[500.0, 0.0, 0.0]]])
    notices = notices_of_landmarks(pair.with_landmarks(LandmarkPairs(INSIDE, some)))
    assert notices == ["The moving landmarks: 1 of 3 lie outside of the moving scan; check them."]
    with pytest.raises(BadInputError, match=r"The fixed landmarks lie outside of the fixed scan.*RAS"):
        notices_of_landmarks(pair.with_landmarks(LandmarkPairs(INSIDE * (-1, -1, 1), INSIDE)))
