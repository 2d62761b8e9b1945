"""The client against workers that die, hang, do not obey, do not start: noticed, reported as what it is, survived."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from DeepLargeDeformRegLib.worker.client import Callbacks, JobRequest, Limits, WorkerClient, WorkerError, WorkerState

from Testing.patience import allowed
from Testing.subprocess_transport import SubprocessTransport

from .conftest import Desk, process_lives
from .faulty_jobs import STAGES

MakeDesk = Callable[..., Desk]


def worker_of(one: Desk) -> int:
    assert one.client.hello is not None
    return one.client.hello.process


def test_killed_at_a_random_moment_50_times_and_the_next_job_succeeds(desk: MakeDesk) -> None:
    one = desk()
    moments = random.Random(5)
    for number in range(50):
        # Every tenth kill meets a job that does not end by itself, every tenth an idle worker, however fast it is.
        job = one.submit("stages", seconds=0.02, long="refine" if number % 10 == 0 else None)
        one.wait(lambda: one.client.hello is not None and one.client.state is not WorkerState.STARTING)
        if number % 10 == 0:
            one.wait_progress(job, "refine")
        elif number % 10 == 1:
            one.wait(lambda job=job: job in one.results)
        victim = worker_of(one)
        time.sleep(moments.uniform(0.0, 0.22))  # sometimes before the job, sometimes after it
        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        one.wait(lambda job=job: job in one.results or job in one.errors)
        if job in one.errors:
            assert one.errors[job].kind == "worker_killed"
            assert time.monotonic() - killed < allowed(2.0)
        assert one.do("stages", seconds=0.0) == {"stages": len(STAGES)}
        assert not process_lives(victim)
    assert 5 <= sum(error.worker_died for error in one.errors.values()) <= 45


@pytest.mark.parametrize(
    ("kind", "expected", "word"),
    [("kill_self", "worker_killed", "memory"), ("segfault", "worker_crashed", "crashed")],
)
def test_death_is_noticed_and_told_as_what_it_is(desk: MakeDesk, kind: str, expected: str, word: str) -> None:
    one = desk()
    job = one.submit(kind)
    one.wait_progress(job, "refine")
    started = time.monotonic()
    error = one.error(job)
    assert time.monotonic() - started < allowed(2.0)
    assert error.kind == expected
    assert word in error.message
    if kind == "segfault":
        assert "Segmentation fault" in error.detail  # where it crashed, for the log
    one.do("echo")


@pytest.fixture
def small_memory() -> Iterator[Path]:
    """A control group whose processes may take 64 MB more before the system kills them."""
    for root, limits in (
        (Path("/sys/fs/cgroup/memory"), ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")),
        (Path("/sys/fs/cgroup"), ("memory.max", "memory.swap.max")),
    ):
        group = root / f"DeepLargeDeformReg-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            for name, bytes_ in zip(limits, (2**26, 2**26 if "memsw" in limits[1] else 0), strict=True):
                if name == limits[0] or (group / name).exists():
                    (group / name).write_text(str(bytes_))
            yield group
            return
        except OSError:
            continue
        finally:
            group.rmdir()
    pytest.skip("needs the right to make a control group with a memory limit (root on Linux)")


def test_the_out_of_memory_killer_is_told_as_what_it_is(desk: MakeDesk, small_memory: Path, tmp_path: Path) -> None:
    """The system itself kills the worker."""
    one = desk()
    one.do("echo")
    victim = worker_of(one)
    (small_memory / "cgroup.procs").write_text(str(victim))
    started = time.monotonic()
    error = one.error(one.submit("fill", bytes=2**30, output_volume=str(tmp_path / "out.bin")))
    assert time.monotonic() - started < allowed(2.0)
    assert error.kind == "worker_killed"
    assert "memory" in error.message
    one.do("echo")
    assert worker_of(one) != victim
    one.wait(lambda: not (small_memory / "cgroup.procs").read_text().strip())


def test_a_hang_is_noticed_within_two_seconds_and_then_ended(desk: MakeDesk) -> None:
    one = desk(limits=Limits(hang=3.0))
    job = one.submit("stop_self")
    one.wait_progress(job, "refine")
    started = time.monotonic()
    one.wait_state(WorkerState.UNRESPONSIVE)
    assert time.monotonic() - started < allowed(2.0)
    error = one.error(job)
    assert error.kind == "worker_hung"
    assert time.monotonic() - started < 3.0 + allowed(1.0)
    one.do("echo")
    assert len(one.transports) == 2


def test_a_native_call_that_holds_the_lock_is_not_ended(desk: MakeDesk) -> None:
    one = desk()
    one.do("hold_lock", seconds=3.0)
    assert WorkerState.UNRESPONSIVE in [state for state, _, _ in one.states]
    assert len(one.transports) == 1


@pytest.mark.parametrize("stage", STAGES)
def test_cancel_at_every_stage(desk: MakeDesk, stage: str) -> None:
    one = desk(limits=Limits(cancel=60.0))  # long: the worker ends the job by itself and is not killed
    job = one.submit("stages", seconds=0.02, long=stage)
    one.wait_progress(job, stage)
    started = time.monotonic()
    one.client.cancel(job)
    assert one.error(job).kind == "cancelled"
    assert WorkerState.CANCELLING in [state for state, _, _ in one.states]
    assert time.monotonic() - started < allowed(1.0)
    one.do("echo")
    assert len(one.transports) == 1  # the worker stays warm


@pytest.mark.parametrize("stage", ["read", "write"])
def test_a_deaf_worker_is_killed_and_the_next_job_has_a_fresh_one(desk: MakeDesk, stage: str) -> None:
    one = desk()
    job = one.submit("stages", seconds=0.02, long="read" if stage == "read" else None, deaf=stage)
    if stage == "write":
        job = one.submit("with_child")
    one.wait(lambda: any(event.job == job for event in one.progress))
    victim = worker_of(one)
    started = time.monotonic()
    one.client.cancel(job)
    assert one.error(job).kind == "cancelled"
    assert time.monotonic() - started < allowed(3.0)
    one.do("echo")
    assert worker_of(one) != victim
    assert not process_lives(victim)


def test_the_whole_tree_is_killed(desk: MakeDesk) -> None:
    one = desk()
    job = one.submit("with_child")
    child = int(one.wait_progress(job, "refine").message)
    assert process_lives(child)
    one.client.cancel(job)
    one.error(job)
    one.wait(lambda: not process_lives(child), timeout=allowed(2.0))


def test_the_children_of_a_dead_worker_die_too(desk: MakeDesk) -> None:
    one = desk()
    job = one.submit("with_child")
    child = int(one.wait_progress(job, "refine").message)
    os.kill(worker_of(one), signal.SIGKILL)
    assert one.error(job).kind == "worker_killed"
    one.wait(lambda: not process_lives(child), timeout=allowed(2.0))


def test_a_waiting_job_can_be_cancelled_and_the_others_go_on(desk: MakeDesk) -> None:
    one = desk()
    jobs = [one.submit("stages", seconds=0.05) for _ in range(3)]
    one.client.cancel(jobs[1])
    assert one.error(jobs[1]).kind == "cancelled"
    one.wait(lambda: len(one.results) == 2)
    assert set(one.results) == {jobs[0], jobs[2]}


def test_waiting_jobs_survive_the_death_of_the_worker(desk: MakeDesk) -> None:
    one = desk()
    jobs = [one.submit("kill_self"), one.submit("echo"), one.submit("segfault"), one.submit("echo")]
    one.wait(lambda: len(one.results) + len(one.errors) == 4)
    assert [one.errors[job].kind if job in one.errors else "done" for job in jobs] == [
        "worker_killed",
        "done",
        "worker_crashed",
        "done",
    ]


@pytest.mark.parametrize(
    ("how", "kind", "word"),
    [
        ("broken", "engine_broken", "libtorch_cpu.so"),
        ("exit", "engine_broken", "SystemExit"),
        ("crash", "worker_crashed", "Segmentation fault"),
    ],
)
def test_a_broken_import_of_torch_is_told_as_what_it_is(desk: MakeDesk, how: str, kind: str, word: str) -> None:
    one = desk(DLDR_TEST_LOAD=how)
    started = time.monotonic()
    jobs = [one.submit("echo"), one.submit("echo")]
    errors = [one.error(job) for job in jobs]
    assert time.monotonic() - started < allowed(2.0)
    assert errors[0].kind == kind
    assert word in errors[0].detail
    assert len(one.transports) <= 2


def test_a_worker_that_cannot_start_is_told_at_once() -> None:
    for command in (["/no/such/python"], [sys.executable, "-c", "import no_such_module"], [sys.executable, "-c", ""]):
        errors: list[WorkerError] = []
        client = WorkerClient(
            command,
            SubprocessTransport,
            Callbacks(on_error=lambda _, error: errors.append(error)),  # noqa: B023
        )
        started = time.monotonic()
        client.submit(JobRequest("echo", {}))
        while not errors and time.monotonic() - started < allowed(2.0):
            time.sleep(0.01)
        assert [error.kind for error in errors] == ["worker_not_started"]
        assert client.state is WorkerState.STOPPED
    assert "no_such_module" not in errors[0].detail


def test_orderly_shutdown(desk: MakeDesk, tmp_path: Path) -> None:
    one = desk()
    one.do("echo")
    worker = worker_of(one)
    one.client.shutdown()
    assert one.transports[0].wait(allowed(2.0))
    one.wait_state(WorkerState.STOPPED)
    assert not process_lives(worker)
    assert one.states[-1][1] == ""
    one.do("echo")
