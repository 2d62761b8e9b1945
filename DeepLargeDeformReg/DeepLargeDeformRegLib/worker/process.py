"""Processes: the command of the worker, and the end of a whole process tree.

Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from ..core.sentences import marked as _

TASKKILL_SECONDS = 2.0
LOWEST_PRIORITY = 19


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


def take_normal_priority() -> bool:
    """Leave the lowest priority of Linux, which Slicer gives itself and thereby all that it starts.

    Slicer means its background threads (``vtkSlicerApplicationLogic::SetCurrentThreadPriorityToBackground``). Another
    priority was chosen by somebody and stays.

    Returns:
        False where the system does not allow it: without a privilege a process may only get slower.
    """
    if sys.platform != "linux" or os.getpriority(os.PRIO_PROCESS, 0) < LOWEST_PRIORITY:
        return True
    try:
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    except PermissionError:
        return False
    return True


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


def describe_exit(code: int, crashed: bool, log: Iterable[str] = ()) -> tuple[str, str]:
    """Kind (as in :class:`~.client.WorkerError`) and sentence for the end of a process.

    Args:
        code: that of subprocess (negative signal number), of QProcess (signal number where ``crashed``) or of Windows
            (NTSTATUS, signed or unsigned).
        crashed: what QProcess says; with the codes of subprocess it makes no difference.
        log: last lines of stderr. Slicer's launcher stands between and ends normally with 1, whatever ended the
            worker; its last line alone says that the worker did not end by itself.
    """
    number = -code if -64 < code < 0 else (code if crashed and 0 < code < 64 else 0)
    if code == 1 and not crashed:
        lines = list(log)
        if any("exit abnormally" in line for line in lines):
            number = 11 if any("Fatal Python error" in line for line in lines) else 9
    if number == 9:
        return (
            "worker_killed",
            _(
                "The registration process was ended by the system, most often because the memory ran out; "
                "close other programs or choose a coarser setting."
            ),
        )
    if number in (4, 6, 7, 8, 10, 11) or (not number and code & 0xFFFFFFFF >= 0xC0000000):
        return "worker_crashed", _("The registration process crashed; the log says where.")
    if number:
        return "worker_killed", _("The registration process was ended by signal {number}.").format(number=number)
    return "worker_exited", _("The registration process ended by itself with code {code}; the log says why.").format(
        code=code
    )
