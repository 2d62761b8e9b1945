"""Maps of a registration on the fixed scan's grid."""

from __future__ import annotations

import numpy as np
import pytest
from DeepLargeDeformRegLib.engine import fields, metrics
from DeepLargeDeformRegLib.engine.metrics.maps import NOT_DEFINED, all_maps

from .conftest import Pair, input_of


def test_maps_lie_on_the_fixed_grid_and_hold_no_nan(lungs: Pair) -> None:
    grid = lungs.fixed.grid
    matrix = np.eye(4)
    matrix[:3, 3] = (3.0, 4.0, 12.0)
    field = fields.from_affine(matrix, grid)
    measured = metrics.measure(input_of(field, lungs.bare()))
    maps = dict(all_maps(field, measured.maps, grid))
    assert list(maps) == ["displacement_mm", "inverse_consistency_mm", "local_similarity"]
    for volume in maps.values():
        assert volume.grid == grid
        assert np.isfinite(volume.array).all()
    assert maps["displacement_mm"].array == pytest.approx(13.0, abs=1e-4)
    similarity = maps["local_similarity"].array
    defined = similarity[similarity != NOT_DEFINED]
    assert 0 < defined.size < similarity.size
    assert defined.min() >= 0
    assert defined.max() <= 1
