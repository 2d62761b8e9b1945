"""GPU memory runs out: a smaller plan, then the CPU, told in progress and result. The GPU alone is played."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Desk
from .gpu_jobs import NAME
from .pairs import write_pair

MakeDesk = Callable[..., Desk]
JOBS = "Testing.worker.gpu_jobs"
SETTINGS = {"preset": "any", "prealign": "none", "iterations": 2}


@pytest.mark.parametrize(("failures", "on_gpu"), [(1, True), (99, False)])
def test_a_smaller_plan_and_then_the_cpu(failures: int, on_gpu: bool, desk: MakeDesk, tmp_path: Path) -> None:
    one = desk(jobs=JOBS, DLDR_TEST_GPU_FAILURES=str(failures))
    output = tmp_path / "warped.nrrd"
    metrics = one.do("register", 120, **write_pair(tmp_path, 24), settings=SETTINGS, output_volume=str(output))
    assert output.is_file()
    assert any("smaller plan" in event.message for event in one.progress)
    fractions = [event.fraction for event in one.progress]
    assert fractions == sorted(fractions)
    coarser = "Computed at 2.0 mm instead of 1.5 mm to save memory."
    if on_gpu:
        assert metrics["device"] == NAME
        assert metrics["warnings"] == [coarser]
    else:
        assert metrics["device"].startswith("CPU")
        assert f"The memory of {NAME} was not enough." in metrics["warnings"]
        assert coarser not in metrics["warnings"]  # the CPU has memory for the whole
    assert len(one.transports) == 1


def test_a_network_that_does_not_fit_runs_on_the_cpu(desk: MakeDesk, tmp_path: Path) -> None:
    one = desk(jobs=JOBS, DLDR_TEST_GPU_MODEL="1")
    settings = SETTINGS | {"preset": "liver-ct"}
    metrics = one.do("register", 120, **write_pair(tmp_path, 24), settings=settings)
    assert metrics["device"].startswith("CPU")
    assert f"The memory of {NAME} was not enough." in metrics["warnings"]
    assert any(event.stage == "network" for event in one.progress)
