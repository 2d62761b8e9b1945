"""The client of the worker: a state machine that keeps one worker process, whatever happens to it.

The client does no input and output of its own. A :class:`Transport` starts the process and passes bytes: QProcess
in Slicer; whoever owns the client calls
:meth:`WorkerClient.tick` every 250 ms.

Threads: every public method may be called from any thread. Callbacks come on whichever thread feeds the client (Qt's
main thread with QProcess, a reader thread with subprocess), one at a time and in order, with the client's lock held:
a callback may call the client, and must not wait for another thread that does.

Standard library only: Slicer loads this file.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..core.sentences import marked as _
from . import protocol
from .contract import Callbacks, JobRequest, Limits, Transport, WorkerError, WorkerState
from .process import describe_exit
from .protocol import Message

__all__ = ["Callbacks", "JobRequest", "Limits", "Transport", "WorkerClient", "WorkerError", "WorkerState"]

LOG_LINES = 60


@dataclass(kw_only=True)
class _Job:
    identifier: str
    request: JobRequest
    accepted: bool = False
    retried: bool = False
    cancelled_at: float | None = None
    fraction: float = 0.0


class WorkerClient:
    """Keeps one warm worker and hands it one job at a time; further jobs wait in the client.

    Args:
        command: the command that runs ``DeepLargeDeformRegLib.worker.server`` (see :func:`~.process.server_command`).
        transport_factory: makes a new transport for every process.
        callbacks: see :class:`Callbacks`.
        environment: variables for the worker, beside the parent's.
        limits: see :class:`Limits`.
        clock: seconds, monotonic; tests pass their own.
    """

    def __init__(
        self,
        command: Sequence[str],
        transport_factory: Callable[[], Transport],
        callbacks: Callbacks | None = None,
        environment: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.callbacks = callbacks or Callbacks()
        self.limits = limits or Limits()
        self.hello: protocol.Hello | None = None
        self.engine: protocol.EngineReady | None = None
        self._command = list(command)
        self._factory = transport_factory
        self._environment = dict(environment or {})
        self._clock = clock
        self._lock = threading.RLock()
        self._state = WorkerState.STOPPED
        self._transport: Transport | None = None
        self._decoder = protocol.Decoder()
        self._generation = 0
        self._waiting: deque[_Job] = deque()
        self._running: _Job | None = None
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._log_rest = b""
        self._started_at = self._alive_at = self._ticked_at = 0.0
        self._shutdown_at: float | None = None

    @property
    def state(self) -> WorkerState:
        """What the worker does now."""
        return self._state

    def start(self) -> None:
        """Start the worker, so that the first job finds it warm; does nothing if there is one."""
        with self._lock:
            if self._transport is None:
                self._start()

    def submit(self, request: JobRequest) -> str:
        """Queue a job, starting a worker if there is none; returns its identifier, which the callbacks name.

        If no worker can be started, ``on_error`` is called before this returns.
        """
        with self._lock:
            self._waiting.append(_Job(identifier=request.identifier, request=request))
            self._advance()
            return request.identifier

    def cancel(self, job: str) -> None:
        """End a job: ``on_error`` with kind ``"cancelled"`` follows, within three seconds if :meth:`tick` is called.

        A worker that does not obey is killed with all that it started. Unknown and ended jobs are ignored.
        """
        with self._lock:
            for waiting in self._waiting:
                if waiting.identifier == job:
                    self._waiting.remove(waiting)
                    self._fail(waiting, _cancelled())
                    return
            running = self._running
            if running is None or running.identifier != job or running.cancelled_at is not None:
                return
            running.cancelled_at = self._clock()
            self._send(protocol.Cancel(job))
            self._set_state(WorkerState.CANCELLING)

    def shutdown(self) -> None:
        """End the worker; running and waiting jobs end as cancelled. :meth:`tick` kills one that does not go."""
        with self._lock:
            if self._transport is not None and self._shutdown_at is None:
                self._shutdown_at = self._clock()
                self._send(protocol.Shutdown())
                self._transport.close_input()
            self._cancel_all()

    def kill(self) -> None:
        """End the worker at once with all that it started, as when the application ends; jobs end as cancelled."""
        with self._lock:
            self._shutdown_at = self._clock()
            self._cancel_all()
            self._end("worker_killed", _("The registration process was ended."))
            self._shutdown_at = None

    def tick(self, now: float | None = None) -> None:
        """Look at the clock: lost heartbeats, a cancel that is not obeyed, a start that hangs."""
        with self._lock:
            now = self._clock() if now is None else now
            late = now - self._ticked_at > 1.0
            self._ticked_at = now
            if self._transport is None:
                return
            if late:
                # Whoever feeds and ticks slept itself: output may wait unread, so silence says nothing yet.
                self._alive_at = max(self._alive_at, now - 1.0)
            self._check_clock(now)

    def feed(self, data: bytes) -> None:
        """Bytes from the worker's stdout."""
        with self._lock:
            self._feed(data, self._generation)

    # Events of one process; those of a process that was given up are ignored.

    def _start(self) -> None:
        self._generation += 1
        generation = self._generation
        self._decoder = protocol.Decoder()
        self._log.clear()
        self._log_rest = b""
        self.hello = self.engine = self._shutdown_at = None
        self._started_at = self._alive_at = self._ticked_at = self._clock()
        self._transport = self._factory()
        self._set_state(WorkerState.STARTING)
        try:
            self._transport.start(
                self._command,
                self._environment,
                lambda data: self._feed(data, generation),
                lambda data: self._keep_log(data, generation),
                lambda code, crashed: self._exited(code, crashed, generation),
            )
        except OSError as error:
            self._end("worker_not_started", _("The registration process could not be started."), str(error))

    def _feed(self, data: bytes, generation: int) -> None:
        with self._lock:
            if generation != self._generation or self._transport is None:
                return
            self._alive_at = self._clock()
            for item in self._decoder.feed(data):
                if isinstance(item, protocol.Garbage):
                    self._remember(f"[not a message: {item.reason}]")
                elif generation == self._generation and self._transport is not None:
                    self._receive(item)

    def _keep_log(self, data: bytes, generation: int) -> None:
        with self._lock:
            if generation == self._generation:
                # Native code writes its last words in pieces: only whole lines are lines.
                *lines, self._log_rest = (self._log_rest + data).split(b"\n")
                for line in lines:
                    self._remember(line.decode("utf-8", "replace").rstrip())

    def _remember(self, line: str) -> None:
        self._log.append(line)
        self.callbacks.on_log(line)

    def _exited(self, code: int, crashed: bool, generation: int) -> None:
        with self._lock:
            if generation != self._generation or self._transport is None:
                return
            if self._log_rest:
                self._remember(self._log_rest.decode("utf-8", "replace"))
            for item in self._decoder.close():
                self._remember(f"[not a message: {item.reason}]")
            kind, message = describe_exit(code, crashed, self._log)
            if self.hello is None:
                kind, message = (
                    "worker_not_started",
                    _("The registration process could not be started. {message}").format(message=message),
                )
            self._end(kind, message, f"exit code {code}")

    def _receive(self, message: Message) -> None:
        if isinstance(message, protocol.Hello):
            self._greet(message)
        elif isinstance(message, protocol.EngineReady):
            self.engine = message
            self._settle()
        elif isinstance(message, protocol.Failure) and message.job is None:
            self._end(message.kind, message.message, message.detail, WorkerState.BROKEN)
        elif isinstance(message, protocol.Released):
            self._remember("[idle: models and GPU memory released]")
        elif self._running is not None and getattr(message, "job", None) == self._running.identifier:
            self._receive_for(self._running, message)
        elif self._state is WorkerState.UNRESPONSIVE:
            self._settle()

    def _greet(self, message: protocol.Hello) -> None:
        if message.protocol != protocol.PROTOCOL_VERSION:
            self.hello = message
            self._end(
                "version_mismatch",
                _(
                    "The registration process is of another version of the extension; restart Slicer, and "
                    "install the extension again if that does not help."
                ),
                f"protocol {message.protocol} instead of {protocol.PROTOCOL_VERSION}",
            )
            return
        self.hello = message
        self._set_state(WorkerState.WARMING)
        self._advance()

    def _receive_for(self, job: _Job, message: Message) -> None:
        if isinstance(message, protocol.Accepted):
            job.accepted = True
        elif isinstance(message, protocol.Progress):
            if job.cancelled_at is None and message.fraction >= job.fraction:
                job.fraction = message.fraction
                self.callbacks.on_progress(job.identifier, message)
        elif isinstance(message, protocol.Result | protocol.Failure | protocol.Cancelled):
            self._running = None
            self._settle()
            if isinstance(message, protocol.Result):
                self.callbacks.on_result(job.identifier, message)
            elif isinstance(message, protocol.Failure):
                self._fail(job, WorkerError(message.kind, message.message, message.detail, message.subject))
            else:
                self._fail(job, _cancelled())
            self._advance()
            return
        self._settle()

    def _settle(self) -> None:
        """Derive the state from what is known."""
        if self._running is not None and self._running.cancelled_at is not None:
            self._set_state(WorkerState.CANCELLING)
        elif self.engine is None:
            self._set_state(WorkerState.WARMING if self.hello is not None else WorkerState.STARTING)
        else:
            self._set_state(WorkerState.BUSY if self._running is not None else WorkerState.READY)

    def _advance(self) -> None:
        """Hand out the next job, if the worker can take one; start a worker if there is none."""
        if self._running is not None or not self._waiting or self._shutdown_at is not None:
            return
        if self._transport is None:
            self._start()
        elif self.hello is not None:
            job = self._running = self._waiting.popleft()
            self._send(protocol.Request(job.identifier, job.request.kind, job.request.payload, job.request.folder))
            self._settle()

    def _check_clock(self, now: float) -> None:
        silent = now - self._alive_at
        cancelled_at = self._running.cancelled_at if self._running is not None else None
        if self._shutdown_at is not None:
            if now - self._shutdown_at > self.limits.shutdown:
                self._end("worker_killed", _("The registration process was ended."))
        elif cancelled_at is not None and now - cancelled_at > self.limits.cancel:
            self._end("cancelled", _("The registration was cancelled."), "the worker did not obey and was killed")
        elif self.hello is None:
            if now - self._started_at > self.limits.hello:
                message = _("The registration process could not be started: it does not answer.")
                self._end("worker_not_started", message)
        elif silent > (self.limits.hang if self.engine is not None else self.limits.warming_hang):
            message = _(
                "The registration process did not respond any more and was ended; the next one starts afresh."
            )
            self._end("worker_hung", message, f"no heartbeat for {silent:.1f} s")
        elif silent > self.limits.heartbeat and self._state is not WorkerState.UNRESPONSIVE:
            self._set_state(WorkerState.UNRESPONSIVE, _("The registration process does not respond at the moment."))

    def _end(self, kind: str, message: str, detail: str = "", state: WorkerState = WorkerState.STOPPED) -> None:
        """Give up the process: kill what is left of it, tell whom it concerns, and go on with the next job."""
        transport, self._transport = self._transport, None
        if transport is None:
            return
        self._generation += 1
        transport.kill_tree(self.hello.process if self.hello is not None else None)
        expected = self._shutdown_at is not None
        never_worked = (
            self.hello is None
            or kind in ("version_mismatch", "engine_broken")
            or (self.engine is None and kind in ("worker_crashed", "worker_exited"))
        )
        self._shutdown_at = None
        error = WorkerError(kind, message, "\n".join([detail, *self._log]).strip())
        running, self._running = self._running, None
        if running is not None and running.cancelled_at is not None:
            error = _cancelled(error.detail)
        self._set_state(state, "" if expected or error.kind == "cancelled" else message)
        if running is not None:
            retry = not (running.accepted or running.retried or never_worked or error.kind == "cancelled")
            if retry:
                # The process died before the job reached it: nothing was done, and a fresh one can do it.
                running.retried = True
                self._waiting.appendleft(running)
            else:
                self._fail(running, error)
        if never_worked and not expected:
            # A fresh process would end the same way.
            while self._waiting:
                self._fail(self._waiting.popleft(), error)
        self._advance()

    def _cancel_all(self) -> None:
        jobs = ([self._running] if self._running is not None else []) + list(self._waiting)
        self._running = None
        self._waiting.clear()
        for job in jobs:
            self._fail(job, _cancelled())

    def _fail(self, job: _Job, error: WorkerError) -> None:
        self.callbacks.on_error(job.identifier, error)

    def _send(self, message: Message) -> None:
        if self._transport is not None:
            self._transport.write(message.encode())

    def _set_state(self, state: WorkerState, message: str = "") -> None:
        if state is not self._state:
            self._state = state
            self.callbacks.on_state(state, message)


def _cancelled(detail: str = "") -> WorkerError:
    return WorkerError("cancelled", _("The registration was cancelled."), detail)
