"""A real registration of the sample case through a real worker process."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from DeepLargeDeformRegLib.worker import process
from DeepLargeDeformRegLib.worker.client import WorkerClient
from DeepLargeDeformRegLib.worker.contract import Callbacks, JobRequest

from Testing.subprocess_transport import SubprocessTransport


def test_worker_registers_the_sample_case(sample_case: Path, tmp_path: Path) -> None:
    ended = threading.Event()
    outcome: list[Any] = []
    fractions: list[float] = []

    def end(_: int, what: Any) -> None:
        outcome.append(what)
        ended.set()

    client = WorkerClient(
        process.server_command(),
        SubprocessTransport,
        Callbacks(on_progress=lambda _, progress: fractions.append(progress.fraction), on_result=end, on_error=end),
        process.server_environment(),
    )
    payload = {
        "fixed": str(sample_case / "fixed.nii.gz"),
        "moving": str(sample_case / "moving.nii.gz"),
        "landmarks": str(sample_case / "landmarks_lps.csv"),
        "settings": {"preset": "lung-ct", "iterations": 15, "memory_limit_mb": 40},
        "output_transform": str(tmp_path / "transform.nrrd"),
    }
    try:
        client.submit(JobRequest("register", payload))
        for _ in range(1200):
            if ended.wait(0.25):
                break
            client.tick()
        assert outcome, "no answer within five minutes"
        assert outcome[0].metrics["tre_mm"]["after"]["mean"] < 3.0
        assert (tmp_path / "transform.nrrd").is_file()
        assert fractions == sorted(fractions)
    finally:
        client.shutdown()
