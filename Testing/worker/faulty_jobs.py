"""Jobs for the tests of the worker: quick ones, slow ones, and every way to misbehave.

Chosen by ``--jobs Testing.worker.faulty_jobs``. ``DLDR_TEST_LOAD`` says how the engine's import goes: empty (at
once), a number of seconds, ``broken``, ``exit`` or ``crash``.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.progress import Monitor

Outcome = tuple[dict[str, Any], dict[str, str]]
STAGES = ("read", "prealign", "network", "search", "refine", "repair", "measure", "write")
released = 0
loaded = 0


def load() -> dict[str, Any]:
    global loaded
    loaded += 1
    how = os.environ.get("DLDR_TEST_LOAD", "")
    if how == "broken":
        raise ImportError("libtorch_cpu.so: cannot open shared object file")
    if how == "exit":
        sys.exit(3)
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(float(how or 0))
    return {"torch": "none", "devices": [{"name": "cpu", "description": "CPU", "free_bytes": 2**30}], "models": []}


def release() -> None:
    global released
    released += 1


def echo(payload: dict[str, Any], monitor: Monitor) -> Outcome:
    monitor.report("read", 0.5)
    return {"payload": payload, "process": os.getpid(), "released": released, "loaded": loaded}, {}


def stages(payload: dict[str, Any], monitor: Monitor) -> Outcome:
    """Every stage takes ``seconds`` in small steps; ``long`` names one that takes a minute, ``deaf`` one that never
    looks at the monitor."""
    for number, stage in enumerate(STAGES):
        monitor.report(stage, number / len(STAGES), f"Stage {stage}")
        end = time.monotonic() + (60.0 if payload.get("long") == stage else payload.get("seconds", 0.05))
        while time.monotonic() < end:
            time.sleep(0.01)
            if payload.get("deaf") != stage:
                monitor.check()
    return {"stages": len(STAGES)}, {}


def flood(payload: dict[str, Any], monitor: Monitor) -> Outcome:
    count = payload["count"]
    for number in range(count):
        monitor.report(f"stage {number % 2}" if payload.get("alternate") else "refine", number / count, "x" * 100)
    return {"count": count}, {}


def fill(payload: dict[str, Any], monitor: Monitor) -> Outcome:
    """Allocate and write, as a small registration does."""
    block = bytearray(payload["bytes"])
    path = Path(payload["output_volume"])
    path.write_bytes(block)
    return {"bytes": len(block)}, {"output_volume": str(path)}


def kill_self(payload: dict[str, Any], monitor: Monitor) -> Outcome:
    monitor.report("refine", 0.3)
    os.kill(os.getpid(), signal.SIGKILL)
    return {}, {}


def segfault(payload: dict[str, Any], monitor: Monitor) -> Outcome:
    monitor.report("refine", 0.3)
    ctypes.string_at(0)
    return {}, {}


def stop_self(payload: dict[str, Any], monitor: Monitor) -> Outcome:
    monitor.report("refine", 0.3)
    os.kill(os.getpid(), signal.SIGSTOP)
    return {}, {}


def hold_lock(payload: dict[str, Any], monitor: Monitor) -> Outcome:
    """A native call that keeps Python's lock."""
    monitor.report("refine", 0.3)
    ctypes.PyDLL(None).usleep(int(payload["seconds"] * 1e6))
    return {}, {}


def shout(payload: dict[str, Any], monitor: Monitor) -> Outcome:
    """What libraries do: print to Python's stdout, to C's stdout, to file descriptor 1, and read stdin."""
    print("a library prints")  # noqa: T201
    os.write(1, b'\xff\xfe{"type": "result", half a line')
    subprocess.run(["echo", "a child prints"], check=True)
    return {"stdin": sys.stdin.read()}, {}


def _protocol_descriptor() -> int:
    """The worker's end of the pipe to its client."""
    channels = [found for found in gc.get_objects() if type(found).__name__ == "Channel"]
    return int(channels[0]._descriptor)


def mumble(payload: dict[str, Any], monitor: Monitor) -> Outcome:
    """Write garbage between the messages."""
    lines = (b"100%|####| 3/3\n", b"\xff\xfe\x00\n", b'{"type": "warning"}\n')
    for line in lines:
        os.write(_protocol_descriptor(), line)
    return {"lines": len(lines)}, {}


def half_message(payload: dict[str, Any], monitor: Monitor) -> Outcome:
    """Die within a message."""
    monitor.report("refine", 0.3)
    os.write(_protocol_descriptor(), b'{"type":"result","job":"')
    os.kill(os.getpid(), signal.SIGKILL)
    return {}, {}


def raise_error(payload: dict[str, Any], monitor: Monitor) -> Outcome:
    if payload["error"] == "bad_input":
        raise BadInputError("The scans do not overlap.", f"read {payload['fixed']}")
    if payload["error"] == "disk":
        raise OSError(28, "No space left on device", payload["fixed"])
    if payload["error"] == "memory":
        raise MemoryError
    raise RuntimeError(f"cannot read {payload['fixed']}")


def not_a_number(payload: dict[str, Any], monitor: Monitor) -> Outcome:
    return {"dice": float("nan"), "tre_mm": [1.0, float("inf")]}, {}


def with_child(payload: dict[str, Any], monitor: Monitor) -> Outcome:
    """Start a grandchild that outlives its parent if nobody ends it, and never look at the monitor."""
    child = subprocess.Popen(["sleep", "60"])
    monitor.report("refine", 0.1, str(child.pid))
    time.sleep(60)
    return {}, {}


JOBS = {
    job.__name__: job
    for job in (
        echo,
        stages,
        flood,
        fill,
        kill_self,
        segfault,
        stop_self,
        hold_lock,
        shout,
        mumble,
        half_message,
        raise_error,
        not_a_number,
        with_child,
    )
}
