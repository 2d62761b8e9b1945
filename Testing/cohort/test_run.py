"""A cohort from its table to its tables: resumed, killed, with pairs that fail; real processes, quick jobs."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from DeepLargeDeformRegLib.cohort import folder as folders
from DeepLargeDeformRegLib.cohort.local import count_gpus, plan_workers, wanted_threads
from DeepLargeDeformRegLib.cohort.pairs import read_pairs
from DeepLargeDeformRegLib.cohort.run import CohortProgress, CohortRequest, run_cohort
from DeepLargeDeformRegLib.cohort.summary import Row
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.settings import RegistrationSettings

from .quick_jobs import computed, write_pairs

JOBS = "Testing.cohort.quick_jobs"
TABLES = ("cohort.csv", "summary.csv", "cohort.html")
RUN = (
    "import sys; from pathlib import Path; from DeepLargeDeformRegLib.cohort.pairs import read_pairs; "
    "from DeepLargeDeformRegLib.cohort.run import CohortRequest, run_cohort; "
    "pairs, output = read_pairs(Path(sys.argv[1])), Path(sys.argv[2]); "
    f"run_cohort(CohortRequest(pairs=pairs, output=output, workers=2, jobs='{JOBS}'))"
)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    """The workers find the jobs of this folder."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(repository / "DeepLargeDeformReg"), str(repository)]))


def run(pairs: Path, output: Path, **options: object) -> tuple[list[Row], list[CohortProgress], list[str]]:
    told: list[CohortProgress] = []
    said: list[str] = []
    options = {"workers": 2, "jobs": JOBS} | options
    request = CohortRequest(pairs=read_pairs(pairs), output=output, **options)  # type: ignore[arg-type]
    return run_cohort(request, told.append, said.append), told, said


def test_one_bad_pair_does_not_stop_the_rest(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "data", "ok", "bad", "ok", "die", "die once", "ok")
    rows, told, said = run(pairs, tmp_path / "out")
    errors = {row.name: row.error for row in rows if row.error}
    assert errors["p01"] == "The fixed scan is the same everywhere; it holds nothing to align."
    assert "ended by the system" in (errors["p03"] or "")
    assert set(errors) == {"p01", "p03"}
    assert [now.done for now in told] == list(range(1, 7))
    assert told[-1].failed == 2
    assert told[-1].seconds_left == 0
    assert "2 workers" in said[0]
    assert computed(pairs).count("03.nrrd:try") == 2  # a worker that dies costs its pair one more try
    text = (tmp_path / "out" / "cohort.csv").read_text(encoding="utf-8")
    assert "p01,,The fixed scan is the same everywhere; it holds nothing to align." in text
    page = (tmp_path / "out" / "cohort.html").read_text(encoding="utf-8")
    assert page.index(">p01<") < page.index(">p00<")  # the worst first
    assert 'href="pairs/p00/report.html"' in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_a_second_run_computes_what_changed_and_what_failed_if_asked(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "data", "ok", "bad", "ok")
    run(pairs, tmp_path / "out")
    before = {name: (tmp_path / "out" / name).read_bytes() for name in TABLES}
    _, told, said = run(pairs, tmp_path / "out")
    assert told == []
    assert said == ["2 pairs are finished, 1 failed before; 0 are to be registered."]
    assert {name: (tmp_path / "out" / name).read_bytes() for name in TABLES} == before
    (pairs.parent / "01.nrrd").write_text("ok now", encoding="utf-8")
    rows, told, _ = run(pairs, tmp_path / "out")
    assert [now.last for now in told] == ["p01"]
    assert all(row.error is None for row in rows)
    (pairs.parent / "02.nrrd").write_text("bad now", encoding="utf-8")
    run(pairs, tmp_path / "out")
    assert run(pairs, tmp_path / "out")[1] == []
    assert [now.last for now in run(pairs, tmp_path / "out", retry_failed=True)[1]] == ["p02"]
    settings = RegistrationSettings(iterations=3)
    assert len(run(pairs, tmp_path / "out", settings=settings)[1]) == 3


def test_a_run_that_is_killed_three_times_ends_as_one_that_is_not(tmp_path: Path) -> None:
    contents = ["ok"] * 16
    run(write_pairs(tmp_path / "calm", *contents), tmp_path / "calm-out")
    pairs, output = write_pairs(tmp_path / "data", *contents), tmp_path / "out"
    chance = random.Random(7)
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", RUN, str(pairs), str(output)])
        finished = len(list(output.glob("pairs/p*/record.json")))
        deadline = time.monotonic() + 60  # kill in the middle: when a pair has ended, and a random moment later
        while len(list(output.glob("pairs/p*/record.json"))) <= finished and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
        process.wait()
    run(pairs, output)
    for name in TABLES:
        assert (output / name).read_bytes() == (tmp_path / "calm-out" / name).read_bytes()
    # What ended was never computed again: at most the two pairs of each kill were begun anew.
    done = computed(pairs)
    assert set(done) == {f"{number:02d}.nrrd" for number in range(16)}
    assert len(done) <= 16 + 3 * 2
    assert not list(output.glob("pairs/.*"))


def test_a_worker_of_a_killed_run_cannot_write_into_the_next_one(tmp_path: Path) -> None:
    killed, following = folders.CohortFolder(tmp_path), folders.CohortFolder(tmp_path)
    old = killed.begin("one")
    following.sweep()
    new = following.begin("one")
    assert not old.exists()
    assert new.is_dir()


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "data", "ok")
    output = folders.CohortFolder(tmp_path / "out")
    with output.locked(), pytest.raises(BadInputError, match="Another run works in out"):
        run(pairs, tmp_path / "out")
    assert run(pairs, tmp_path / "out")[0][0].error is None


def test_workers_are_planned_by_cores_memory_and_pairs() -> None:
    gigabyte = 2**30
    assert plan_workers(100, 10**6, cores=8, memory=64 * gigabyte).workers == 8
    assert plan_workers(3, 10**6, cores=8, memory=64 * gigabyte).workers == 3
    tight = plan_workers(100, 512**3, cores=8, memory=64 * gigabyte)
    assert tight.workers == 1
    assert tight.threads == 8
    assert plan_workers(100, 512**3, cores=8, memory=64 * gigabyte, wanted=4).workers == 4
    assert plan_workers(100, 10**6, cores=1, memory=1).workers == 1
    assert plan_workers(100, 10**6, cores=8, memory=64 * gigabyte, wanted=1, threads=3).threads == 3


@pytest.mark.skipif(os.name == "nt", reason="needs a shell script in the place of nvidia-smi")
def test_a_worker_for_each_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plan = plan_workers(100, 10**6, cores=16, memory=2**37, gpus=2)
    assert (plan.workers, plan.threads) == (2, 8)
    assert "2 GPUs, a worker each" in plan.reason
    assert plan_workers(100, 10**6, cores=1, memory=2**37, gpus=2).workers == 1
    monkeypatch.setattr("DeepLargeDeformRegLib.cohort.local._torch_is_for_processors", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: A (UUID: x)'\necho 'GPU 1: B (UUID: y)'\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert count_gpus("auto") == 2
    assert (count_gpus("cpu"), count_gpus("cuda:1")) == (0, 1)
    for visible, count in (("0", 1), ("", 0), ("-1", 0), ("0,2", 2)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert count_gpus("auto") == count
    monkeypatch.setattr("DeepLargeDeformRegLib.cohort.local._torch_is_for_processors", lambda: True)
    assert count_gpus("auto") == 0


def test_the_threads_that_the_user_has_set_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, threads in (("3", 3), ("0", None), ("many", None), ("", None)):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert wanted_threads() == threads
