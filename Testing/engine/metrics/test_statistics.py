"""Statistics that are taken part by part are those of numpy on all values at once."""

from __future__ import annotations

import numpy as np
import pytest
from DeepLargeDeformRegLib.engine.fields import slabs
from DeepLargeDeformRegLib.engine.metrics.deformation import jacobian_statistics
from DeepLargeDeformRegLib.engine.metrics.statistics import Moments, parts_of, percentiles, summarize_spread

SHAPE = (13, 20, 30)


@pytest.fixture(autouse=True)
def several_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slabs, "CPU_VOXELS", 5 * SHAPE[1] * SHAPE[2])


@pytest.fixture
def values() -> np.ndarray:
    """Of both signs and all sizes, with ties and infinities of neither."""
    random = np.random.default_rng(0)
    spread = random.normal(size=SHAPE) * 10.0 ** random.integers(-8, 8, SHAPE)
    spread[::3] = spread[::3].round()
    return spread.astype(np.float32)


@pytest.mark.parametrize("masked", [False, True])
def test_percentiles_are_those_of_numpy(values: np.ndarray, masked: bool) -> None:
    where = np.random.default_rng(1).random(SHAPE) < 0.3 if masked else None
    counted = (values if where is None else values[where]).astype(np.float64)
    shares = (0, 0.5, 1, 50, 95, 99, 100)
    found = percentiles(parts_of(values, where), shares)
    np.testing.assert_allclose(found, np.percentile(counted, shares), rtol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_percentiles_of_few_values(count: int) -> None:
    values = np.arange(count, dtype=np.float32).reshape(1, 1, count)
    np.testing.assert_allclose(percentiles(parts_of(values), (0, 30, 95)), np.percentile(values, (0, 30, 95)))


def test_moments_of_values_far_from_zero() -> None:
    values = (1e6 + np.random.default_rng(0).normal(size=5000)).astype(np.float32)
    moments = Moments(1e6)
    for part in np.array_split(values, 7):
        moments.add(part)
    assert moments.mean == pytest.approx(values.astype(np.float64).mean(), rel=1e-12)
    assert moments.std == pytest.approx(values.astype(np.float64).std(), rel=1e-6)


def test_a_spread_does_not_count_what_is_no_number(values: np.ndarray) -> None:
    values[2:4, 5] = np.nan
    known = values[np.isfinite(values)].astype(np.float64)
    found = summarize_spread(values)
    assert (found.mean, found.p95, found.max) == pytest.approx((known.mean(), np.percentile(known, 95), known.max()))
    assert summarize_spread(np.full(SHAPE, np.nan, np.float32)).mean is None


@pytest.mark.parametrize("masked", [False, True])
def test_jacobian_statistics_are_those_of_plain_formulas(masked: bool) -> None:
    random = np.random.default_rng(0)
    determinant = random.normal(1, 0.5, SHAPE).astype(np.float32)
    mask = random.random(SHAPE) < 0.5 if masked else np.ones(SHAPE, bool)
    found = jacobian_statistics(determinant, mask if masked else None)
    counted = determinant[mask].astype(np.float64)
    inner = determinant[2:-2, 2:-2, 2:-2][mask[2:-2, 2:-2, 2:-2]].astype(np.float64)
    expected = {
        "min": counted.min(),
        "max": counted.max(),
        "std": counted.std(),
        "p1": np.percentile(counted, 1),
        "p99": np.percentile(counted, 99),
        "fold_percent": 100 * (counted <= 0).mean(),
        "sdlogj": np.log(counted[counted > 0]).std(),
        "sdlogj_learn2reg": np.log(np.clip(inner + 3, 1e-9, 1e9)).std(),
    }
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-9), name
