"""Processes: the command of the worker, the end of a whole process tree, and the subprocess transport of the client.

Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

PIECE_BYTES = 1 << 16
TASKKILL_SECONDS = 2.0


def server_command(python: str | None = None, *arguments: str) -> list[str]:
    """Command that runs the worker.

    Args:
        python: the interpreter; in Slicer ``shutil.which("PythonSlicer")``, as ``sys.executable`` is Slicer itself.
        arguments: further arguments of the server (see ``python -m DeepLargeDeformRegLib.worker.server --help``).
    """
    parent = ["--parent", str(os.getpid())]
    return [python or sys.executable, "-m", "DeepLargeDeformRegLib.worker.server", *parent, *arguments]


def server_environment() -> dict[str, str]:
    """Variables for the worker, beside those of the parent: where the library lies, UTF-8 throughout."""
    library = str(Path(__file__).resolve().parents[2])
    inherited = os.environ.get("PYTHONPATH", "")
    return {
        "PYTHONPATH": os.pathsep.join([library, inherited]) if inherited else library,
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
    }


def kill_process_tree(*process_ids: int | None) -> None:
    """Kill processes with all that they started; those that are gone already are fine.

    On POSIX the worker leads a process group of its own, which dies as a whole; a process that leads none dies alone.
    """
    for process_id in {identifier for identifier in process_ids if identifier}:
        if sys.platform == "win32":
            _kill_windows_tree(process_id)
            continue
        for kill in (os.killpg, os.kill):
            try:
                kill(process_id, signal.SIGKILL)
                break
            except (ProcessLookupError, PermissionError):
                continue


def kill_left_behind(process_id: int | None) -> None:
    """Kill what a process that is gone has started; on Windows the worker's job object has done so already.

    Its identifier may mean nothing any more, and is used as that of a group alone.
    """
    if process_id and sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process_id, signal.SIGKILL)


def _kill_windows_tree(process_id: int) -> None:
    # By its full path: Windows would look for it in the current folder first.
    program = Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32" / "taskkill.exe"
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            [str(program), "/F", "/T", "/PID", str(process_id)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            creationflags=subprocess.CREATE_NO_WINDOW,  # type: ignore[attr-defined, unused-ignore]
            timeout=TASKKILL_SECONDS,
            check=False,
        )


def describe_exit(code: int, crashed: bool) -> tuple[str, str]:
    """Kind (as in :class:`~.client.WorkerError`) and sentence for the end of a process.

    Args:
        code: that of subprocess (negative signal number), of QProcess (signal number where ``crashed``) or of Windows
            (NTSTATUS, signed or unsigned).
        crashed: what QProcess says; with the codes of subprocess it makes no difference.
    """
    number = -code if -64 < code < 0 else (code if crashed and 0 < code < 64 else 0)
    if number == 9:
        return (
            "worker_killed",
            "The registration process was ended by the system, most often because the memory ran out; close other "
            "programs or choose a coarser setting.",
        )
    if number in (4, 6, 7, 8, 10, 11) or (not number and code & 0xFFFFFFFF >= 0xC0000000):
        return "worker_crashed", "The registration process crashed; the log says where."
    if number:
        return "worker_killed", f"The registration process was ended by signal {number}."
    return "worker_exited", f"The registration process ended by itself with code {code}; the log says why."


class SubprocessTransport:
    """The :class:`~.client.Transport` over :mod:`subprocess`, for programs without Qt and for the tests.

    Callbacks come on threads of this object, that of the exit after the last one of the output. Writing is queued, so
    that no caller ever waits for a worker that does not read.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._gone = threading.Event()
        self._finished = threading.Event()

    @property
    def process_id(self) -> int | None:
        """Identifier of the started process."""
        return self._process.pid if self._process is not None else None

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        on_output: Callable[[bytes], None],
        on_log: Callable[[bytes], None],
        on_exit: Callable[[int, bool], None],
    ) -> None:
        """Start the command; raises OSError if it cannot be started."""
        flags = 0
        if sys.platform == "win32":
            flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=os.environ | dict(environment),
            start_new_session=sys.platform != "win32",
            creationflags=flags,
        )
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        readers = [
            threading.Thread(target=_pump, args=(process.stdout, on_output), daemon=True),
            threading.Thread(target=_pump, args=(process.stderr, on_log), daemon=True),
        ]
        for thread in (
            *readers,
            threading.Thread(target=self._write_all, args=(process.stdin,), daemon=True),
            threading.Thread(target=self._watch, args=(process, readers, on_exit), daemon=True),
        ):
            thread.start()

    def write(self, data: bytes) -> None:
        """Queue bytes for stdin."""
        if not self._gone.is_set():
            self._outbox.put(data)

    def close_input(self) -> None:
        """Close stdin after what is queued."""
        self._outbox.put(None)

    def kill_tree(self, process_id: int | None = None) -> None:
        """Kill the process and all that it started."""
        if self._process is not None and not self._gone.is_set():
            kill_process_tree(self._process.pid, process_id)
            if sys.platform == "win32":
                self._process.kill()  # should taskkill be missing or late; the handle cannot mean another process

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the process is gone and its last output was delivered; False if it is still there."""
        return self._finished.wait(timeout)

    def _write_all(self, stdin: IO[bytes]) -> None:
        try:
            while (data := self._outbox.get()) is not None:
                view = memoryview(data)
                while view:
                    view = view[stdin.write(view) :]
        except (OSError, ValueError):
            pass  # the process is gone; its exit is told by the watching thread
        finally:
            with contextlib.suppress(OSError):
                stdin.close()

    def _watch(
        self,
        process: subprocess.Popen[bytes],
        readers: list[threading.Thread],
        on_exit: Callable[[int, bool], None],
    ) -> None:
        if sys.platform != "win32" and hasattr(os, "waitid"):
            # Before its identifier is free again, end what the worker may have left behind.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            kill_process_tree(process.pid)
            self._gone.set()
        code = process.wait()
        if not self._gone.is_set():
            kill_left_behind(process.pid)
        self._gone.set()
        self._outbox.put(None)
        for reader in readers:
            reader.join(timeout=1.0)  # a process that left the group may hold the pipe open
        self._finished.set()
        on_exit(code, code < 0)


def _pump(stream: IO[bytes], deliver: Callable[[bytes], None]) -> None:
    with stream:
        try:
            while data := stream.read(PIECE_BYTES):
                deliver(data)
        except (OSError, ValueError):
            pass  # closed on the other side
