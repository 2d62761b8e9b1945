"""The transport of the worker's client over :mod:`subprocess`: as Slicer's over QProcess, for programs without Qt."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from DeepLargeDeformRegLib.worker.process import kill_left_behind, kill_process_tree

PIECE_BYTES = 1 << 16


class SubprocessTransport:
    """The :class:`~DeepLargeDeformRegLib.worker.contract.Transport` over :mod:`subprocess`.

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
