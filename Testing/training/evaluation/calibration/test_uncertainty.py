"""The law of the expected error is found again from errors that follow it, and what was measured is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import Volume

from training.evaluation.calibration import uncertainty
from training.evaluation.calibration.uncertainty import Errors, expected_by, fit
from training.evaluation.cases import Case

LAW = (20.0, 0.7, 0.4)


def _errors(seed: int) -> Errors:
    random = np.random.default_rng(seed)
    mismatch, strain = random.uniform(0.01, 0.1, 30), random.uniform(0.05, 0.5, 30)
    nothing = np.zeros(30)
    one = Errors(name=f"{seed}", early=0, true=nothing, mismatch=mismatch, strain=strain, spread=nothing)
    return Errors(
        name=one.name, early=0, true=expected_by(LAW, one), mismatch=mismatch, strain=strain, spread=nothing
    )


def test_a_law_is_found_from_errors_that_follow_it() -> None:
    assert fit([_errors(0), _errors(1)]) == pytest.approx(LAW, rel=1e-6)


def test_the_distance_of_other_solutions_comes_in_square() -> None:
    alone = _errors(0)
    several = replace(alone, spread=np.full(30, 3.0))
    np.testing.assert_allclose(expected_by(LAW, several), np.hypot(alone.true, 3.0))


def test_what_was_measured_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = ImageGrid.axis_aligned((4, 4, 4), (1.0, 1.0, 1.0))
    scan = Volume(np.zeros(grid.shape, dtype=np.float32), grid)
    case = Case(name="Pair 1, early", preset="any", spacing_mm=1.0, fixed=scan, moving=scan)
    measured: list[str] = []

    def errors_of(case: Case, symmetric: bool, early: int) -> Errors:
        measured.append(case.name)
        return _errors(early)

    monkeypatch.setattr(uncertainty, "errors_of", errors_of)
    first, second, other = (uncertainty._kept_or_measured(case, False, early, tmp_path) for early in (6, 6, 15))
    assert len(measured) == 2, "the second one is read"
    np.testing.assert_array_equal(first.true, second.true)
    np.testing.assert_array_equal(first.expected, second.expected)
    assert not np.array_equal(first.true, other.true)
