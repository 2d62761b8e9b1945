"""Single steps of the client against a process that the test plays, without waiting for clocks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from DeepLargeDeformRegLib.worker import process, protocol
from DeepLargeDeformRegLib.worker.client import Callbacks, JobRequest, WorkerClient, WorkerError, WorkerState

from .conftest import Desk

MakeDesk = Callable[..., Desk]


class ScriptedTransport:
    """A process that the test plays, to look at single steps of the client without waiting for clocks."""

    def __init__(self) -> None:
        self.sent: list[protocol.Message | protocol.Garbage] = []
        self.killed: list[int | None] = []

    def start(self, command, environment, on_output, on_log, on_exit) -> None:  # type: ignore[no-untyped-def]
        self.say = lambda message: on_output(message.encode())
        self.output, self.log, self.exit = on_output, on_log, on_exit

    def write(self, data: bytes) -> None:
        self.sent += protocol.Decoder().feed(data)

    def close_input(self) -> None:
        pass

    def kill_tree(self, process_id: int | None) -> None:
        self.killed.append(process_id)


class Stage:
    """A client over scripted processes, with a clock of its own."""

    def __init__(self) -> None:
        self.now = 100.0
        self.events: list[tuple[str, object]] = []
        self.transports: list[ScriptedTransport] = []
        note = self.events.append
        self.client = WorkerClient(
            ["worker"],
            self._make,
            Callbacks(
                on_progress=lambda _, event: note(("progress", event.fraction)),
                on_result=lambda _, result: note(("result", result.metrics)),
                on_error=lambda _, error: note(("error", error.kind)),
                on_state=lambda state, _: note(("state", state.value)),
            ),
            clock=lambda: self.now,
        )

    def _make(self) -> ScriptedTransport:
        self.transports.append(ScriptedTransport())
        return self.transports[-1]

    @property
    def worker(self) -> ScriptedTransport:
        return self.transports[-1]

    def hello(self, version: int = protocol.PROTOCOL_VERSION) -> None:
        self.worker.say(protocol.Hello(protocol=version, library="0.1.0", python="3.12.0", process=4711))

    def warm(self) -> None:
        self.hello()
        self.worker.say(protocol.EngineReady("2.13.0", [], []))

    def pass_time(self, seconds: float, beating: bool = False) -> None:
        for _ in range(round(seconds / 0.25)):
            self.now += 0.25
            if beating:
                self.worker.say(protocol.Heartbeat(1))
            self.client.tick()


def test_a_worker_of_another_version_is_refused() -> None:
    stage = Stage()
    stage.client.submit(JobRequest("echo", {}))
    stage.hello(version=protocol.PROTOCOL_VERSION + 1)
    assert ("error", "version_mismatch") in stage.events
    assert stage.worker.killed == [4711]
    assert len(stage.transports) == 1


def test_output_of_a_worker_that_was_given_up_is_ignored() -> None:
    stage = Stage()
    job = stage.client.submit(JobRequest("echo", {}))
    stage.warm()
    old = stage.worker
    old.say(protocol.Accepted(job))
    stage.client.cancel(job)
    stage.pass_time(3.0, beating=True)
    assert old.killed == [4711]
    old.say(protocol.Result(job, {}))
    old.exit(-9, True)
    ends = [event for event in stage.events if event[0] in ("error", "result")]
    assert ends == [("error", "cancelled")]
    assert stage.client.state is WorkerState.STOPPED


def test_a_job_that_died_before_it_was_accepted_is_done_again_once() -> None:
    stage = Stage()
    job = stage.client.submit(JobRequest("echo", {}))
    stage.warm()
    stage.worker.exit(-9, True)
    assert ("error", "worker_killed") not in stage.events
    stage.warm()
    assert [message.job for message in stage.worker.sent if isinstance(message, protocol.Request)] == [job]
    stage.worker.exit(-9, True)
    assert ("error", "worker_killed") in stage.events
    assert len(stage.transports) == 2


def test_a_program_that_slept_does_not_blame_the_worker() -> None:
    """Slicer's own main thread may be busy for a minute; the heartbeats then wait unread in the pipe."""
    stage = Stage()
    job = stage.client.submit(JobRequest("echo", {}))
    stage.warm()
    stage.worker.say(protocol.Accepted(job))
    stage.now += 60.0
    stage.client.tick()
    assert stage.client.state is WorkerState.BUSY
    stage.pass_time(30.0, beating=True)
    assert stage.client.state is WorkerState.BUSY
    stage.pass_time(2.0)
    assert stage.client.state is WorkerState.UNRESPONSIVE
    stage.worker.say(protocol.Heartbeat(9, job))
    assert stage.client.state is WorkerState.BUSY


def test_fraction_never_decreases_and_garbage_is_kept_for_the_log() -> None:
    stage = Stage()
    job = stage.client.submit(JobRequest("echo", {}))
    stage.warm()
    for fraction in (0.2, 0.5, 0.4, 0.6):
        stage.worker.output(b"some library: 50%\n\xff\xfe\n")
        stage.worker.say(protocol.Progress(job=job, stage="refine", fraction=fraction))
    assert [value for name, value in stage.events if name == "progress"] == [0.2, 0.5, 0.6]
    stage.worker.log(b"terminate called\n")
    errors: list[WorkerError] = []
    stage.client.callbacks.on_error = lambda _, error: errors.append(error)
    stage.worker.say(protocol.Accepted(job))
    stage.worker.exit(-6, True)
    assert errors[0].kind == "worker_crashed"
    assert "terminate called" in errors[0].detail


def test_shutdown_ends_jobs_as_cancelled_and_kills_who_stays() -> None:
    stage = Stage()
    for _ in range(2):
        stage.client.submit(JobRequest("echo", {}))
    stage.warm()
    stage.client.shutdown()
    assert [event for event in stage.events if event[0] == "error"] == [("error", "cancelled")] * 2
    assert isinstance(stage.worker.sent[-1], protocol.Shutdown)
    stage.pass_time(3.5, beating=True)
    assert stage.worker.killed == [4711]


def test_kill_ends_everything_and_a_later_job_starts_afresh() -> None:
    stage = Stage()
    for _ in range(2):
        stage.client.submit(JobRequest("echo", {}))
    stage.warm()
    stage.client.kill()
    assert stage.worker.killed == [4711]
    assert [event for event in stage.events if event[0] == "error"] == [("error", "cancelled")] * 2
    assert len(stage.transports) == 1
    stage.client.submit(JobRequest("echo", {}))
    assert len(stage.transports) == 2


def test_a_worker_that_says_nothing_is_ended() -> None:
    stage = Stage()
    stage.client.submit(JobRequest("echo", {}))
    stage.pass_time(31.0)
    assert ("error", "worker_not_started") in stage.events
    assert stage.worker.killed == [None]


@pytest.mark.parametrize(
    ("code", "crashed", "kind"),
    [
        (-9, True, "worker_killed"),
        (9, True, "worker_killed"),  # QProcess
        (-11, True, "worker_crashed"),
        (11, True, "worker_crashed"),
        (-15, True, "worker_killed"),
        (15, True, "worker_killed"),
        (3, False, "worker_exited"),
        (0, False, "worker_exited"),
        (0xC0000005, False, "worker_crashed"),  # Windows: access violation
        (-1073741819, True, "worker_crashed"),
    ],
)
def test_exit_codes_of_all_systems(code: int, crashed: bool, kind: str) -> None:
    assert process.describe_exit(code, crashed)[0] == kind


def test_windows_kills_the_tree_of_both_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command alone: it has never run on Windows."""
    commands: list[list[str]] = []
    options: list[dict[str, object]] = []

    def run(command: list[str], **given: object) -> None:
        commands.append(command)
        options.append(given)

    monkeypatch.setattr(process.sys, "platform", "win32")
    monkeypatch.setattr(process.subprocess, "CREATE_NO_WINDOW", 0x08000000, raising=False)
    monkeypatch.setattr(process.subprocess, "run", run)
    monkeypatch.setenv("SYSTEMROOT", "C:\\Windows")
    process.kill_process_tree(4711, None, 4712, 4711)
    assert len(commands) == 2
    for command, number in zip(sorted(commands, key=str), ("4711", "4712"), strict=True):
        assert command[0].endswith("taskkill.exe")
        assert command[0].startswith("C:\\Windows")  # not what lies in the current folder
        assert command[1:] == ["/F", "/T", "/PID", number]
    assert all(given["creationflags"] == 0x08000000 for given in options)
    assert all(given["timeout"] for given in options)  # a kill that hangs must not hang the application


def test_a_kill_that_cannot_be_started_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(process.sys, "platform", "win32")
    monkeypatch.setattr(process.subprocess, "CREATE_NO_WINDOW", 0, raising=False)
    monkeypatch.setattr(process.subprocess, "run", run)
    process.kill_process_tree(4711)
