"""The seconds to go: right for a steady job, and without jumps for an uneven one."""

from __future__ import annotations

import itertools

import pytest
from DeepLargeDeformRegLib.worker.server import RemainingTime


def test_nothing_is_told_before_anything_is_known() -> None:
    remaining = RemainingTime(100.0)
    assert remaining.after(0.5, 100.1) is None
    assert remaining.after(0.01, 110.0) is None
    assert remaining.after(0.1, 110.0) == pytest.approx(90.0)


def test_a_steady_job_is_foretold_exactly() -> None:
    remaining = RemainingTime(0.0)
    for second in range(1, 41):
        told = remaining.after(second / 40, float(second))
        assert told == pytest.approx(40.0 - second, abs=1e-6)


def test_a_stage_that_ends_early_does_not_make_it_jump() -> None:
    """From 20 % the bar leaps to 60 %: the plain quotient would fall from 40 s to 7 s at once."""
    remaining = RemainingTime(0.0)
    before = remaining.after(0.2, 10.0)
    assert before == pytest.approx(40.0)
    times = [10.1 + 0.1 * step for step in range(60)]
    values = [remaining.after(0.06 * at, at) or 0.0 for at in times]  # as if it had run so all the time: 16.7 s
    assert values[0] > 38.0
    falls = [one - two for one, two in itertools.pairwise(values)]
    assert all(0.0 < fall < 1.0 for fall in falls)
    left = 1 / 0.06 - times[-1]
    assert left < values[-1] < left + 0.25 * (40.0 - 6.7)


def test_a_job_that_stalls_is_told_longer_little_by_little() -> None:
    remaining = RemainingTime(0.0)
    assert remaining.after(0.5, 10.0) == pytest.approx(10.0)
    values = [remaining.after(0.5, 10.0 + 0.25 * step) or 0.0 for step in range(1, 80)]
    assert values[0] == pytest.approx(9.8, abs=0.1)
    assert values[-1] > 15.0  # and not zero, which would be a lie
    assert remaining.after(1.0, 30.0) == 0.0
