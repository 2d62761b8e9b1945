"""What the client of the worker, its owner and its transport agree on.

Standard library only: Slicer loads this file.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from . import protocol


class WorkerState(str, Enum):
    """What the worker does now."""

    STOPPED = "stopped"
    """No process; the next job starts one."""
    STARTING = "starting"
    """The process was started and has not said hello."""
    WARMING = "warming"
    """It imports torch; jobs wait inside it."""
    READY = "ready"
    BUSY = "busy"
    CANCELLING = "cancelling"
    UNRESPONSIVE = "unresponsive"
    """Its heartbeat is lost; it is ended if that lasts."""
    BROKEN = "broken"
    """The engine cannot be imported; the message says why. The next job tries a fresh process."""


@dataclass(frozen=True)
class WorkerError:
    """Why a job ended without a result.

    Args:
        kind: ``"cancelled"``, a kind of ``core/errors.py``, ``"engine_broken"``, ``"version_mismatch"``, or, where
            the process itself is gone, ``"worker_not_started"``, ``"worker_killed"``, ``"worker_crashed"``,
            ``"worker_exited"`` or ``"worker_hung"``.
        message: a sentence for people.
        detail: for the log.
        subject: the input that it speaks of, such as "fixed scan"; None if it speaks of none.
    """

    kind: str
    message: str
    detail: str = ""
    subject: str | None = None

    @property
    def worker_died(self) -> bool:
        """True if the process is gone; the next job starts a fresh one."""
        return self.kind.startswith("worker_")


@dataclass(frozen=True)
class JobRequest:
    """A job for the worker: see :class:`~.protocol.Request`. Its identifier is known before it is handed over."""

    kind: str
    payload: dict[str, Any]
    folder: str = ""
    identifier: str = field(default_factory=lambda: uuid.uuid4().hex)


class Transport(Protocol):
    """What the client needs of one process; an object serves for one process and is then thrown away.

    None of the methods may block. ``on_output`` gets the bytes of stdout as they come, ``on_log`` those of stderr;
    ``on_exit`` gets exit code and whether it crashed, once, after the last output, also when the start failed.
    """

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        on_output: Callable[[bytes], None],
        on_log: Callable[[bytes], None],
        on_exit: Callable[[int, bool], None],
    ) -> None:
        """Start the command; ``environment`` is added to the parent's. Raises OSError if it cannot be started."""

    def write(self, data: bytes) -> None:
        """Queue bytes for stdin; does nothing if the process is gone."""

    def close_input(self) -> None:
        """Close stdin when what was queued is written: the worker ends by itself."""

    def kill_tree(self, process_id: int | None) -> None:
        """Kill the process and all that it started, and ``process_id``: the worker's own, as a launcher may stand
        between (see :func:`~.process.kill_process_tree`)."""


def _ignore(*_: object) -> None:
    pass


@dataclass(kw_only=True)
class Callbacks:
    """What the owner of a client wants to know; ``on_result`` or ``on_error`` ends every job, once."""

    on_progress: Callable[[str, protocol.Progress], None] = _ignore
    on_result: Callable[[str, protocol.Result], None] = _ignore
    on_error: Callable[[str, WorkerError], None] = _ignore
    on_state: Callable[[WorkerState, str], None] = _ignore
    """State and a sentence for people, empty where the state says it all."""
    on_log: Callable[[str], None] = _ignore


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Seconds after which the client acts by itself."""

    hello: float = 30.0
    """A process that says nothing after its start is ended. Cold disks and virus scanners are slow."""
    heartbeat: float = 1.5
    """Without a sign of life the worker counts as unresponsive."""
    hang: float = 10.0
    """... and is ended. A native call may hold Python's lock for a few seconds; SimpleITK and torch release it."""
    warming_hang: float = 90.0
    """... while it imports torch: loading its libraries from a cold disk holds the lock."""
    cancel: float = 2.5
    """A cancelled job that has not ended is ended with its process."""
    shutdown: float = 3.0
