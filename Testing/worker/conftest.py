"""A client that a test can wait on, over real child processes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from DeepLargeDeformRegLib.worker import process, protocol
from DeepLargeDeformRegLib.worker.client import Callbacks, JobRequest, Limits, WorkerClient, WorkerError, WorkerState

from Testing.subprocess_transport import SubprocessTransport

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
"""Seconds for what must come: a test that waits in vain fails; one that waits long on a busy machine does not."""


class ListeningTransport(SubprocessTransport):
    """Notes when the worker acknowledged a cancellation, which the client has no use for."""

    def __init__(self, acknowledged: list[tuple[str, float]]) -> None:
        super().__init__()
        self._acknowledged = acknowledged
        self._decoder = protocol.Decoder()

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        on_output: Callable[[bytes], None],
        on_log: Callable[[bytes], None],
        on_exit: Callable[[int, bool], None],
    ) -> None:
        def listen(data: bytes) -> None:
            for item in self._decoder.feed(data):
                if isinstance(item, protocol.Cancelling):
                    self._acknowledged.append((item.job, time.monotonic()))
            on_output(data)

        super().start(command, environment, listen, on_log, on_exit)


class Desk:
    """Keeps what the callbacks say, ticks the client, and waits."""

    def __init__(self, jobs: str, arguments: tuple[str, ...], environment: dict[str, str], limits: Limits) -> None:
        self.progress: list[protocol.Progress] = []
        self.results: dict[str, protocol.Result] = {}
        self.errors: dict[str, WorkerError] = {}
        self.states: list[tuple[WorkerState, str, float]] = []
        self.log: list[str] = []
        self.acknowledged: list[tuple[str, float]] = []
        self.transports: list[SubprocessTransport] = []
        self._changed = threading.Condition()
        library = process.server_environment()
        library["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), library["PYTHONPATH"]])
        self.client = WorkerClient(
            process.server_command(None, "--jobs", jobs, *arguments),
            self._transport,
            Callbacks(
                on_progress=self._on_progress,
                on_result=self._on_result,
                on_error=self._on_error,
                on_state=self._on_state,
                on_log=self.log.append,
            ),
            library | environment,
            limits,
        )
        self._closing = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        self._ticker.start()

    def submit(self, kind: str, folder: str = "", **payload: Any) -> str:
        return self.client.submit(JobRequest(kind, payload, folder))

    def do(self, kind: str, timeout: float = PATIENCE, **payload: Any) -> dict[str, Any]:
        """Metrics of a job that succeeds."""
        job = self.submit(kind, **payload)
        self.wait(lambda: job in self.results or job in self.errors, timeout)
        assert job not in self.errors, self.errors[job]
        return self.results.pop(job).metrics

    def error(self, job: str, timeout: float = PATIENCE) -> WorkerError:
        """Why a job failed."""
        self.wait(lambda: job in self.results or job in self.errors, timeout)
        assert job not in self.results, "the job succeeded"
        return self.errors.pop(job)

    def wait(self, condition: Callable[[], object], timeout: float = PATIENCE) -> None:
        end = time.monotonic() + timeout
        with self._changed:
            while not condition():
                assert time.monotonic() < end, (self.client.state, self.states, self.log[-20:])
                self._changed.wait(0.02)

    def wait_state(self, state: WorkerState, timeout: float = PATIENCE) -> None:
        self.wait(lambda: self.client.state is state, timeout)

    def wait_progress(self, job: str, stage: str, timeout: float = PATIENCE) -> protocol.Progress:
        def found() -> list[protocol.Progress]:
            return [event for event in self.progress if event.job == job and event.stage == stage]

        self.wait(found, timeout)
        return found()[0]

    def close(self) -> None:
        self.client.shutdown()
        for transport in self.transports:
            if not transport.wait(4.0):
                self.client.kill()
                transport.wait(4.0)
        self._closing.set()
        self._ticker.join()

    def _transport(self) -> SubprocessTransport:
        self.transports.append(ListeningTransport(self.acknowledged))
        return self.transports[-1]

    def _tick(self) -> None:
        while not self._closing.wait(0.1):
            self.client.tick()

    def _on_progress(self, job: str, event: protocol.Progress) -> None:
        with self._changed:
            self.progress.append(event)
            self._changed.notify_all()

    def _on_result(self, job: str, result: protocol.Result) -> None:
        with self._changed:
            assert job not in self.results
            self.results[job] = result
            self._changed.notify_all()

    def _on_error(self, job: str, error: WorkerError) -> None:
        with self._changed:
            assert job not in self.errors
            self.errors[job] = error
            self._changed.notify_all()

    def _on_state(self, state: WorkerState, message: str) -> None:
        with self._changed:
            self.states.append((state, message, time.monotonic()))
            self._changed.notify_all()


@pytest.fixture
def desk() -> Iterator[Callable[..., Desk]]:
    """Makes desks; their workers are gone when the test ends."""
    desks: list[Desk] = []

    def make(
        *arguments: str,
        jobs: str = "Testing.worker.faulty_jobs",
        limits: Limits | None = None,
        **environment: str,
    ) -> Desk:
        desks.append(Desk(jobs, arguments, environment, limits or Limits()))
        return desks[-1]

    yield make
    for one in desks:
        one.close()


def process_lives(identifier: int) -> bool:
    """True if there is such a process and it has not ended (a zombie has)."""
    try:
        status = Path(f"/proc/{identifier}/stat").read_text()
    except OSError:
        return False
    return status.rsplit(")", 1)[1].split()[0] not in "ZX"
