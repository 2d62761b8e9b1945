"""Cancel of a real registration at every stage, with the real engine in a real worker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from DeepLargeDeformRegLib.worker.client import Limits
from DeepLargeDeformRegLib.worker.job_folder import JobFolder

from Testing.patience import allowed

from .conftest import Desk
from .faulty_jobs import STAGES
from .pairs import write_pair

ACKNOWLEDGED_SECONDS = 1.0
GONE_SECONDS = 3.0
JOBS = "DeepLargeDeformRegLib.worker.jobs"


@pytest.fixture(scope="module")
def warm() -> Iterator[Desk]:
    """One worker for all stages, so that each cancel is followed by a job in what it left behind."""
    one = Desk(JOBS, (), {}, Limits())
    one.client.start()
    one.wait(lambda: one.client.engine is not None, 120)
    yield one
    one.close()


@pytest.mark.parametrize("stage", STAGES)
def test_cancel_a_registration_at(stage: str, warm: Desk, tmp_path: Path) -> None:
    """Acknowledged in 1 s, all of it gone in 3 s, whether the engine stops by itself or has to be killed."""
    entries = write_pair(tmp_path, size=32)
    preset = "any" if stage == "search" else "liver-ct"  # with a network it is short
    root = tmp_path / "temporary"
    root.mkdir()
    with JobFolder(root) as folder:
        job = warm.submit(
            "register",
            str(folder.path),
            **entries,
            settings={"preset": preset, "iterations": 8, "fold_free": True},
            output_transform=str(folder / "transform.nrrd"),
            output_inverse=str(folder / "inverse.nrrd"),
            output_volume=str(folder / "warped.nrrd"),
            report=str(folder / "report.html"),
        )
        warm.wait_progress(job, stage, 120)
        cancelled = time.monotonic()
        warm.client.cancel(job)
        error = warm.error(job)
    gone = time.monotonic() - cancelled
    assert error.kind == "cancelled"
    assert gone < allowed(GONE_SECONDS)
    answers = [at - cancelled for identifier, at in warm.acknowledged if identifier == job]
    assert len(answers) == 1
    assert answers[0] < allowed(ACKNOWLEDGED_SECONDS)
    assert list(root.iterdir()) == []


def test_the_next_job_succeeds(warm: Desk, tmp_path: Path) -> None:
    output = tmp_path / "warped.nrrd"
    settings = {"preset": "any", "prealign": "none", "iterations": 2}
    warm.do("register", 120, **write_pair(tmp_path), settings=settings, output_volume=str(output))
    assert output.is_file()
