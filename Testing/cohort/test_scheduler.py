"""A cohort on a real Dask scheduler with two worker processes on loopback; quick jobs."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from DeepLargeDeformRegLib.cohort.pairs import read_pairs
from DeepLargeDeformRegLib.cohort.run import CohortRequest, run_cohort
from DeepLargeDeformRegLib.core.errors import BadInputError

from .quick_jobs import write_pairs

distributed = pytest.importorskip("distributed", reason="needs Dask, which the extra 'cluster' installs")
JOBS = "Testing.cohort.quick_jobs"


def test_the_same_as_on_this_machine_although_a_worker_is_killed(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(repository / "DeepLargeDeformReg"), str(repository)]))
    pairs = read_pairs(write_pairs(tmp_path / "data", "ok", "ok", "bad", *["ok"] * 9))
    run_cohort(CohortRequest(pairs=pairs, output=tmp_path / "local", workers=2, jobs=JOBS))
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, memory_limit=None, dashboard_address=None, silence_logs=50
    ) as cluster:
        address = cluster.scheduler_address
        victim = next(iter(cluster.workers.values())).pid

        def kill() -> None:
            deadline = time.monotonic() + 60
            while not list((tmp_path / "dask").glob("pairs/p*/record.json")) and time.monotonic() < deadline:
                time.sleep(0.02)
            os.kill(victim, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        rows = run_cohort(CohortRequest(pairs=pairs, output=tmp_path / "dask", scheduler=address, jobs=JOBS))
        killer.join()
    assert [row.name for row in rows if row.error] == ["p02"]
    for name in ("cohort.csv", "summary.csv", "cohort.html"):
        assert (tmp_path / "dask" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()


def test_an_address_without_a_scheduler_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("DeepLargeDeformRegLib.cohort.scheduler.CONNECT_SECONDS", 1)
    pairs = read_pairs(write_pairs(tmp_path / "data", "ok"))
    with pytest.raises(BadInputError, match="no Dask scheduler at"):
        run_cohort(CohortRequest(pairs=pairs, output=tmp_path / "out", scheduler="tcp://127.0.0.1:9", jobs=JOBS))
