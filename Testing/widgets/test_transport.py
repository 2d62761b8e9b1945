"""The worker's process under Qt, in the stand-in application, with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from DeepLargeDeformRegLib.worker import process

from Testing.patience import allowed

REPOSITORY = Path(__file__).resolve().parents[2]

# As the worker starts: a process group of its own, then something that takes long; here a child of it says who it is.
SILENT = """
import os, subprocess, sys, time
os.setsid()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


def is_running(process_id: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(process_id)], capture_output=True, text=True).stdout
    return bool(state.strip()) and not state.startswith("Z")


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    import slicer

    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        slicer.app.processEvents()
        time.sleep(0.01)
    return condition()


@pytest.mark.skipif(sys.platform == "win32", reason="process groups are those of POSIX")
def test_a_worker_that_has_not_said_hello_dies_with_what_it_started(application: Any) -> None:
    from DeepLargeDeformRegLib.widgets.transport import QProcessTransport

    output: list[bytes] = []
    exits: list[tuple[int, bool]] = []
    transport = QProcessTransport()
    transport.start([sys.executable, "-c", SILENT], {}, output.append, output.append, lambda *how: exits.append(how))
    assert wait_for(lambda: b"".join(output).strip().isdigit())
    child = int(b"".join(output))
    assert is_running(child)
    transport.kill_tree(None)
    assert wait_for(lambda: not is_running(child))
    assert not exits, "nothing is told of a process that was given up"


@pytest.mark.skipif(sys.platform == "win32", reason="process groups are those of POSIX")
def test_what_a_dead_worker_started_dies_too(application: Any) -> None:
    """The worker is killed from outside; a process that it started would live on."""
    from DeepLargeDeformRegLib.widgets.transport import QProcessTransport
    from DeepLargeDeformRegLib.worker.client import Callbacks, JobRequest, WorkerClient, WorkerError

    child: list[int] = []
    errors: list[WorkerError] = []
    environment = process.server_environment()
    environment["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), environment["PYTHONPATH"]])
    client = WorkerClient(
        process.server_command(sys.executable, "--jobs", "Testing.worker.faulty_jobs"),
        QProcessTransport,
        Callbacks(
            on_progress=lambda _, event: child.append(int(event.message)),
            on_error=lambda _, error: errors.append(error),
        ),
        environment,
    )
    client.submit(JobRequest("with_child", {}))
    assert wait_for(lambda: bool(child))
    assert is_running(child[0])
    assert client.hello is not None
    os.kill(client.hello.process, signal.SIGKILL)
    started = time.monotonic()
    assert wait_for(lambda: bool(errors))
    assert time.monotonic() - started < allowed(2.0)
    assert errors[0].kind == "worker_killed"
    assert wait_for(lambda: not is_running(child[0]))


def test_a_program_that_is_not_there_is_told(application: Any) -> None:
    from DeepLargeDeformRegLib.widgets.transport import QProcessTransport

    exits: list[tuple[int, bool]] = []
    transport = QProcessTransport()
    missing = "/nowhere/python"
    transport.start([missing], {}, lambda _: None, lambda _: None, lambda *how: exits.append(how))
    assert wait_for(lambda: bool(exits))
    assert exits == [(-1, False)]


@pytest.mark.parametrize(("stored", "expected"), [(None, 600.0), ("30", 30.0), (0, 0.0), (-5, 0.0), ("soon", 600.0)])
def test_the_idle_time_is_a_setting(application: Any, stored: object, expected: float) -> None:
    import qt
    from DeepLargeDeformRegLib.widgets.registration import IDLE_SETTING, idle_seconds

    settings = qt.QSettings()
    settings.remove(IDLE_SETTING)
    if stored is not None:
        settings.setValue(IDLE_SETTING, stored)
    try:
        assert idle_seconds() == expected
    finally:
        settings.remove(IDLE_SETTING)
