"""Runs registrations: one warm worker, one job after the other, results taken into the scene."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..core.errors import OutputError, RegistrationError
from ..core.metrics import Metrics
from ..scene import exchange, results
from ..scene.collect import collect
from ..scene.errors import SceneError
from ..scene.words import say
from ..worker import process
from ..worker.client import Callbacks, JobRequest, WorkerClient, WorkerError, WorkerState
from ..worker.job_folder import JobFolder, JobFolderError, sweep
from .listeners import RESULT_LISTENERS
from .transport import QProcessTransport, python_executable

logger = logging.getLogger(__name__)
TICK_MILLISECONDS = 250
IDLE_SETTING = "DeepLargeDeformReg/IdleSeconds"
DEFAULT_IDLE_SECONDS = 600.0


def idle_seconds() -> float:
    """Seconds without a job after which GPU memory is given back (0: never): a setting of the application."""
    try:
        return max(float(qt.QSettings().value(IDLE_SETTING, DEFAULT_IDLE_SECONDS)), 0.0)
    except (TypeError, ValueError):
        return DEFAULT_IDLE_SECONDS


class RegistrationFailed(RegistrationError):  # noqa: N818 - it is an outcome, and reads so
    """A registration ended without a result; ``kind`` as in :class:`~..worker.client.WorkerError`."""

    def __init__(self, message: str, kind: str = "failed", detail: str = "") -> None:
        super().__init__(say(message), detail)
        self.kind = kind


class Run:
    """One registration on its way.

    Attributes:
        result: the result when it is done. error: why there is none. finished: True with either.
        folder: private, in the application's temporary folder; :class:`RegistrationFailed` if there can be none.
        on_progress: called with (stage, fraction, message, seconds to go or None).
        on_finished: called once with the run.
    """

    def __init__(self, inputs: exchange.Inputs, targets: exchange.Targets, settings: Mapping[str, Any]) -> None:
        self.inputs, self.targets, self.settings = inputs, targets, dict(settings)
        self.result: results.RunResult | None = None
        self.error: RegistrationFailed | None = None
        self.warnings: list[str] = []
        self.on_progress: Callable[[str, float, str, float | None], None] | None = None
        self.on_finished: Callable[[Run], None] | None = None
        self.job = ""
        self.discarded = ""
        try:
            self.folder = JobFolder(slicer.app.temporaryPath)
        except JobFolderError as error:
            raise RegistrationFailed(error.message, error.kind, error.detail) from error
        self.prepared: exchange.Prepared | None = None

    @property
    def finished(self) -> bool:
        """True when the run has a result or an error."""
        return self.result is not None or self.error is not None

    def end(self, result: results.RunResult | None = None, error: RegistrationFailed | None = None) -> None:
        """Finish once: the job folder goes, whoever waits is told."""
        if self.finished:
            return
        self.folder.remove()
        self.result, self.error = result, error
        if self.on_finished is not None:
            self.on_finished(self)


class Runner:
    """Owns the worker of this Slicer session, started at the first need.

    Args:
        on_state: called with the worker's state and a sentence.
        on_log: called with lines for the log pane.
    """

    def __init__(
        self,
        on_state: Callable[[WorkerState, str], None] | None = None,
        on_log: Callable[[str], None] | None = None,
    ) -> None:
        self.on_state, self.on_log = on_state, on_log
        self.client: WorkerClient | None = None
        self.runs: dict[str, Run] = {}
        self._timer: Any = None

    def warm_up(self) -> None:
        """Start the worker if there is none."""
        self._ensure_client().start()

    @property
    def devices(self) -> list[dict[str, Any]]:
        """Devices that the worker found; empty until it is warm."""
        engine = self.client.engine if self.client is not None else None
        return engine.devices if engine is not None else []

    @property
    def active(self) -> list[Run]:
        """Runs that are not finished."""
        return [run for run in self.runs.values() if not run.finished]

    def start(self, run: Run) -> Run:
        """Write the inputs of a run and hand it to the worker.

        Raises:
            SceneError: if an input cannot be used.
            RegistrationFailed: if the worker cannot be started at all, or the temporary folder has no room.
        """
        try:
            run.folder.require_space(exchange.needed_bytes(run.inputs, run.targets))
            run.prepared = exchange.prepare(run.inputs, run.targets, run.settings, run.folder.path)
            run.warnings += run.prepared.warnings
            client = self._ensure_client()
        except (JobFolderError, OutputError) as error:
            run.folder.remove()
            raise RegistrationFailed(error.message, error.kind, error.detail) from error
        except OSError as error:
            run.folder.remove()
            raise _no_room(error) from error
        except BaseException:
            run.folder.remove()
            raise
        request = JobRequest("register", run.prepared.payload, str(run.folder.path))
        run.job = request.identifier
        self.runs[run.job] = run  # before the job is handed over: its end may be told at once
        client.submit(request)
        return run

    def cancel(self, run: Run) -> None:
        """End a run; it finishes with an error of kind "cancelled" within three seconds."""
        if self.client is not None and not run.finished:
            self.client.cancel(run.job)

    def discard(self, reason: str) -> None:
        """End all runs, as their scene is gone; they finish with this sentence."""
        for run in self.active:
            run.discarded = reason
            self.cancel(run)

    def close(self) -> None:
        """End the worker, when the module is unloaded or Slicer quits."""
        if self._timer is not None:
            self._timer.stop()
        if self.client is not None:
            self.client.kill()
            self.client = None
        for run in self.active:
            run.end(error=RegistrationFailed(_("The registration was ended with the module."), "cancelled"))
        self.on_state = self.on_log = None

    def _ensure_client(self) -> WorkerClient:
        if self.client is None:
            try:
                command = process.server_command(python_executable(), "--idle-seconds", str(idle_seconds()))
                sweep(slicer.app.temporaryPath)
            except OSError as error:
                raise RegistrationFailed(str(error), "worker_not_started") from error
            callbacks = Callbacks(
                on_progress=self._progress,
                on_result=self._done,
                on_error=self._failed,
                on_state=self._state,
                on_log=self._log,
            )
            environment = process.server_environment()
            self.client = WorkerClient(command, QProcessTransport, callbacks, environment)
            self._timer = qt.QTimer()
            self._timer.setInterval(TICK_MILLISECONDS)
            self._timer.connect("timeout()", self.client.tick)
            self._timer.start()
        return self.client

    def _progress(self, job: str, message: Any) -> None:
        run = self.runs.get(job)
        if run is not None and run.on_progress is not None:
            run.on_progress(message.stage, message.fraction, message.message, message.eta_seconds)

    def _done(self, job: str, message: Any) -> None:
        # Outside the client's lock: taking the results in may let events pass.
        qt.QTimer.singleShot(0, lambda: self._collect(job, message.metrics))

    def _collect(self, job: str, metrics: Mapping[str, Any]) -> None:
        run = self.runs.pop(job, None)
        if run is None or run.finished or run.prepared is None:
            return
        if run.discarded:
            run.end(error=RegistrationFailed(run.discarded, "cancelled"))
            return
        found = Metrics.from_json(metrics)
        found = replace(found, warnings=(*run.warnings, *found.warnings))
        try:
            result = collect(run.inputs, run.targets, run.settings, run.prepared, found)
        except SceneError as error:
            run.end(error=RegistrationFailed(str(error), "discarded"))
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            logger.exception("taking the result into the scene failed")
            text = _("The result could not be taken into the scene; the log says more.")
            run.end(error=RegistrationFailed(text, "output", str(error)))
        else:
            run.end(result)
            for listener in list(RESULT_LISTENERS):
                listener(run)

    def _failed(self, job: str, error: WorkerError) -> None:
        run = self.runs.pop(job, None)
        if run is not None:
            run.end(error=RegistrationFailed(run.discarded or error.message, error.kind, error.detail))

    def _state(self, state: WorkerState, message: str) -> None:
        if self.on_state is not None:
            self.on_state(state, message)

    def _log(self, line: str) -> None:
        if self.on_log is not None:
            self.on_log(line)


def _no_room(error: OSError) -> RegistrationFailed:
    text = _("The scans could not be written into the temporary folder. Free some space, or choose another folder.")
    return RegistrationFailed(text, "output", str(error))


_shared: Runner | None = None


def shared_runner() -> Runner:
    """The runner of this Slicer session, shared by panel and scripts."""
    global _shared
    if _shared is None:
        _shared = Runner()
        slicer.app.connect("aboutToQuit()", close_shared_runner)
    return _shared


def close_shared_runner() -> None:
    """End the worker of this session; the next :func:`shared_runner` starts afresh."""
    global _shared
    runner, _shared = _shared, None
    if runner is not None:
        slicer.app.disconnect("aboutToQuit()", close_shared_runner)
        runner.close()


def wait_for(run: Run) -> results.RunResult:
    """Let events pass until a run is finished; return its result.

    Raises:
        RegistrationFailed: why there is none.
    """
    loop = qt.QEventLoop()
    before = run.on_finished

    def finish(ended: Run) -> None:
        if before is not None:
            before(ended)
        loop.quit()

    if not run.finished:
        run.on_finished = finish
        (loop.exec_ if hasattr(loop, "exec_") else loop.exec)()
    if run.error is not None:
        raise run.error
    assert run.result is not None
    return run.result
