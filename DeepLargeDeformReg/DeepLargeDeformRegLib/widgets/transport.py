"""The worker's process as a QProcess, fed by Qt's event loop."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from ..worker.process import kill_left_behind, kill_process_tree


def python_executable() -> str:
    """The interpreter that Slicer brings; ``sys.executable`` is the application itself.

    Raises:
        OSError: if it is not there.
    """
    found = shutil.which("PythonSlicer")
    if found is None and "slicer" not in sys.executable.lower():
        found = sys.executable
    if found is None:
        raise OSError(_("PythonSlicer was not found. Start Slicer through its launcher."))
    return found


def _bytes(raw: Any) -> bytes:
    return raw if isinstance(raw, bytes) else bytes(raw.data())


class QProcessTransport:
    """One process of the worker; see :class:`~..worker.client.Transport`."""

    def __init__(self) -> None:
        self._process: Any = None
        self._callbacks: tuple[Callable[[bytes], None], Callable[[bytes], None], Callable[[int, bool], None]] | None
        self._callbacks = None
        self._closing = False

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        on_output: Callable[[bytes], None],
        on_log: Callable[[bytes], None],
        on_exit: Callable[[int, bool], None],
    ) -> None:
        """Start the command; its end is told even where the start failed."""
        self._callbacks = (on_output, on_log, on_exit)
        process = qt.QProcess()
        variables = qt.QProcessEnvironment.systemEnvironment()
        for name, value in environment.items():
            variables.insert(name, value)
        process.setProcessEnvironment(variables)
        process.connect("readyReadStandardOutput()", self._read_output)
        process.connect("readyReadStandardError()", self._read_log)
        process.connect("finished(int,QProcess::ExitStatus)", self._finished)
        process.connect("errorOccurred(QProcess::ProcessError)", self._failed)
        self._process = process
        process.start(command[0], list(command[1:]))

    def write(self, data: bytes) -> None:
        """Queue bytes for stdin."""
        if self._process is not None and self._process.state() != qt.QProcess.NotRunning:
            self._process.write(data)

    def close_input(self) -> None:
        """Close stdin when all is written."""
        if self._process is not None:
            self._process.closeWriteChannel()

    def kill_tree(self, process_id: int | None) -> None:
        """Kill the process and all that it started; nothing is told afterwards."""
        self._callbacks = None
        process = self._process
        if process is None:
            return
        if process.state() != qt.QProcess.NotRunning:
            # Before the worker has said who it is, its process is known to Qt alone.
            kill_process_tree(process_id, process.processId())
            process.kill()
            process.waitForFinished(1000)
        else:
            kill_left_behind(process_id)

    def _read_output(self) -> None:
        if self._callbacks is not None:
            self._callbacks[0](_bytes(self._process.readAllStandardOutput()))

    def _read_log(self) -> None:
        if self._callbacks is not None:
            self._callbacks[1](_bytes(self._process.readAllStandardError()))

    def _finished(self, code: int, status: Any) -> None:
        self._read_output()
        self._read_log()
        self._end(code, status == qt.QProcess.CrashExit)

    def _failed(self, error: Any) -> None:
        if error == qt.QProcess.FailedToStart:
            self._end(-1, False)

    def _end(self, code: int, crashed: bool) -> None:
        callbacks, self._callbacks = self._callbacks, None
        if callbacks is not None:
            callbacks[2](code, crashed)
