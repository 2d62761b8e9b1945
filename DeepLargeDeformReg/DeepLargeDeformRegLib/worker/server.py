"""The worker process: ``python -m DeepLargeDeformRegLib.worker.server``.

Says hello before it imports anything heavy, imports the engine, then does one job after the other. Three threads: the
main thread imports and computes, one reads messages (so that a cancel is acknowledged while a job computes), and one
beats.

The protocol has the real stdin and stdout for itself: file descriptors 0 and 1 are moved away at the start, so that a
library that prints writes to stderr. Logs go to stderr and hold no path and no name of a job's files.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import gc
import importlib
import itertools
import logging
import math
import os
import platform
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from .. import __version__
from ..core.errors import CancelledError, is_out_of_memory
from ..core.progress import Monitor, ProgressEvent
from ..core.sentences import marked as _
from . import process, protocol, windows
from .failures import failure
from .job_folder import remove_abandoned

logger = logging.getLogger("DeepLargeDeformReg.worker")

PROGRESS_SECONDS = 0.05
"""Progress within a stage is told no more often; a bar shows no more."""
ETA_FRACTION = 0.02
ETA_SECONDS = 0.5
ETA_SMOOTHING_SECONDS = 4.0
GRACE_SECONDS = 2.0
"""What a running job may take to end when the parent is gone."""
PARENT_SECONDS = 0.5


class Channel:
    """Messages out, whole lines, from any thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def send(self, message: protocol.Message) -> None:
        """Write one message; a client that is gone is noticed by the reader, not here."""
        data = memoryview(message.encode())
        with self._lock, contextlib.suppress(OSError):
            while data:
                data = data[os.write(self._descriptor, data) :]


class RemainingTime:
    """Seconds to go, from the share that is done; they follow the clock, and new knowledge bends them slowly.

    Stages take other shares of the time than of the bar, so that the plain quotient jumps where one ends.

    Args:
        started: when the job began, seconds of any steady clock.
    """

    def __init__(self, started: float) -> None:
        self._started = started
        self._told: tuple[float, float] | None = None

    def after(self, fraction: float, now: float) -> float | None:
        """Seconds to go; None as long as too little is known."""
        elapsed = now - self._started
        if fraction < ETA_FRACTION or elapsed < ETA_SECONDS:
            return None
        estimate = elapsed * (1.0 - fraction) / fraction
        if self._told is not None and fraction < 1.0:
            before, told_at = self._told
            weight = -math.expm1((told_at - now) / ETA_SMOOTHING_SECONDS)
            kept = max(before - (now - told_at), 0.0)
            estimate = kept + weight * (estimate - kept)
        self._told = (estimate, now)
        return estimate


class Reporter:
    """Turns progress events into messages: not too many, with the seconds to go."""

    def __init__(self, channel: Channel, job: str) -> None:
        self._channel = channel
        self._job = job
        self._remaining = RemainingTime(time.monotonic())
        self._sent_at = -1.0
        self._stage = ""

    def __call__(self, event: ProgressEvent) -> None:
        now = time.monotonic()
        if event.stage == self._stage and event.fraction < 1.0 and now - self._sent_at < PROGRESS_SECONDS:
            return
        self._stage, self._sent_at = event.stage, now
        eta = self._remaining.after(event.fraction, now)
        self._channel.send(
            protocol.Progress(
                job=self._job, stage=event.stage, fraction=event.fraction, message=event.message, eta_seconds=eta
            )
        )


class Server:
    """Does the jobs of one client.

    Args:
        receive: returns the next bytes of the client, empty at the end; blocks.
        channel: messages to the client.
        jobs: module with ``JOBS``, ``load`` and ``release`` as in :mod:`.jobs`.
        idle_seconds: after so long without a job, models and GPU memory are given back; 0: never.
    """

    def __init__(self, receive: Callable[[], bytes], channel: Channel, jobs: ModuleType, idle_seconds: float) -> None:
        self._receive = receive
        self._channel = channel
        self._jobs = jobs
        self._idle_seconds = idle_seconds
        self._inbox: queue.SimpleQueue[protocol.Request | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._open: dict[str, protocol.Request] = {}
        self._cancelled: set[str] = set()
        self._running: str | None = None
        self._abandoned: list[str] = []
        self._ended = threading.Event()
        self.orphaned = False  # the client is gone, and cannot end what this process started

    @property
    def running(self) -> str | None:
        """Identifier of the running job."""
        return self._running

    def run(self) -> int:
        """Import the engine and do jobs until the client is gone; exit code."""
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        try:
            if not self._warm():
                return 1
            while self._work():
                pass
            return 0
        finally:
            self._remove_abandoned()
            self._ended.set()

    def leave(self, asked: bool = False) -> None:
        """End this process although a job may be running: nobody wants the result.

        Args:
            asked: by a client, which ends what this process started; else the client is gone, and this one does.
        """
        with self._lock:
            self.orphaned = not asked
            self._cancelled.update(self._open)
            self._abandoned = [request.folder for request in self._open.values() if request.folder]
        self._inbox.put(None)
        self._ended.wait(GRACE_SECONDS)
        self._remove_abandoned()
        _exit(self, 0)

    def _remove_abandoned(self) -> None:
        for folder in self._abandoned:
            remove_abandoned(folder)

    def _warm(self) -> bool:
        started = time.monotonic()
        try:
            facts = self._jobs.load()
        except BaseException as error:  # whatever a broken installation raises, SystemExit included
            logger.exception("the engine cannot be imported")
            if is_out_of_memory(error):
                message = _(
                    "The memory of this machine is not enough to start the registration; close other programs."
                )
                self._channel.send(protocol.Failure(job=None, kind="out_of_memory", message=message))
                return False
            self._channel.send(
                protocol.Failure(
                    job=None,
                    kind="engine_broken",
                    message=_(
                        "The registration engine cannot be started: PyTorch, or another package that it needs, is "
                        "missing or damaged. Install it again in the module's settings."
                    ),
                    detail="".join(traceback.format_exception_only(error)).strip(),
                )
            )
            return False
        logger.info("engine ready after %.1f s", time.monotonic() - started)
        self._channel.send(protocol.EngineReady(facts["torch"], facts["devices"], facts["models"]))
        return True

    def _work(self) -> bool:
        try:
            request = self._inbox.get(timeout=self._idle_seconds or None)
        except queue.Empty:
            self._jobs.release()
            self._channel.send(protocol.Released())
            logger.info("idle: models and GPU memory released")
            request = self._inbox.get()
        if request is None:
            return False
        self._running = request.job
        answer = self._do(request)
        with self._lock:
            self._running = None
            self._open.pop(request.job, None)
            self._cancelled.discard(request.job)
        self._channel.send(answer)
        return True

    def _do(self, request: protocol.Request) -> protocol.Message:
        started = time.monotonic()
        job = self._jobs.JOBS.get(request.kind)
        if job is None:
            message = _("This version cannot do a job of the kind '{kind}'.").format(kind=request.kind)
            return protocol.Failure(job=request.job, kind="unknown_job", message=message)
        monitor = Monitor(Reporter(self._channel, request.job), lambda: request.job in self._cancelled)
        try:
            monitor.check()
            metrics, files = job(request.payload, monitor)
            answer: protocol.Message = protocol.Result(request.job, metrics, files)
            answer.encode()
        except CancelledError:
            answer = protocol.Cancelled(request.job)
        except Exception as error:
            answer = failure(request, error)
            logger.error("%s: %s", answer.kind, answer.detail)
        if isinstance(answer, protocol.Failure):
            gc.collect()
            if answer.kind == "out_of_memory":
                self._jobs.release()
        logger.info("%s ended as %s after %.1f s", request.kind, answer.tag, time.monotonic() - started)
        return answer

    def _read(self) -> None:
        decoder = protocol.Decoder()
        while data := self._receive():
            for item in decoder.feed(data):
                if isinstance(item, protocol.Garbage):
                    logger.error("not a message: %s", item.reason)
                elif isinstance(item, protocol.Request):
                    with self._lock:
                        known = item.job in self._open
                        self._open.setdefault(item.job, item)
                    if known:  # an answer to one would be taken for that to the other
                        logger.error("a second job of a name that is still in work: left out")
                        continue
                    self._channel.send(protocol.Accepted(item.job))
                    self._inbox.put(item)
                elif isinstance(item, protocol.Cancel):
                    with self._lock:
                        known = item.job in self._open
                        if known:
                            self._cancelled.add(item.job)
                    if known:
                        self._channel.send(protocol.Cancelling(item.job))
                elif isinstance(item, protocol.Shutdown):
                    self.leave(asked=True)
        self.leave()


def _claim_streams() -> tuple[int, int]:
    """Descriptors of the real stdin and stdout; 0 now reads nothing and 1 writes to stderr."""
    incoming, outgoing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(incoming, os.O_BINARY)
        msvcrt.setmode(outgoing, os.O_BINARY)
    return incoming, outgoing


def _lead_own_group() -> None:
    """Lead a process group (on Windows a job object), so that all that this process starts can be ended with it."""
    if sys.platform == "win32":
        with contextlib.suppress(OSError):
            windows.end_children_with_this_process()
    elif os.getpgrp() != os.getpid():
        with contextlib.suppress(OSError):
            os.setsid()
    if sys.platform == "linux":
        # When memory runs out, the system shall end this process and not the one with the user's unsaved scene.
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("500")
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _exit(server: Server, code: int) -> NoReturn:
    """End this process at once, and with it what it started if no client is there to do so.

    Threads of native libraries may not survive an orderly end of the interpreter, and nothing is left to save.
    """
    sys.stderr.flush()
    if server.orphaned and sys.platform != "win32" and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(code)


def _parent_lives(parent: int, first_parent: int) -> bool:
    if not parent:
        return os.getppid() == first_parent
    try:
        os.kill(parent, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _watch_parent(server: Server, parent: int) -> None:
    """Leave when the parent is gone: its pipe may live on in another process that it started."""
    if sys.platform == "win32":
        if parent and windows.wait_for_end(parent):
            server.leave()
        return
    first_parent = os.getppid()
    while _parent_lives(parent, first_parent):
        time.sleep(PARENT_SECONDS)
    server.leave()


def _beat(server: Server, channel: Channel, seconds: float) -> None:
    for count in itertools.count(1):
        time.sleep(seconds)
        channel.send(protocol.Heartbeat(count, server.running))


def main(arguments: list[str] | None = None) -> int:
    """Run the worker; the exit code is 0 at the end of the client and 1 if the engine cannot be imported."""
    parser = argparse.ArgumentParser(prog="python -m DeepLargeDeformRegLib.worker.server", description=main.__doc__)
    parser.add_argument("--jobs", default="DeepLargeDeformRegLib.worker.jobs", help="module with the kinds of jobs")
    parser.add_argument("--idle-seconds", type=float, default=600.0, help="then release GPU memory; 0: never")
    parser.add_argument("--heartbeat-seconds", type=float, default=0.5)
    parser.add_argument("--parent", type=int, default=0, help="process whose end ends this one")
    options = parser.parse_args(arguments)

    _lead_own_group()
    incoming, outgoing = _claim_streams()
    faulthandler.enable(file=2)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    if not process.take_normal_priority():
        logger.info("Slicer runs this at the lowest priority; other programs make it slow (docs/worker.md)")
    channel = Channel(outgoing)
    jobs = importlib.import_module(options.jobs)
    channel.send(
        protocol.Hello(
            protocol=protocol.PROTOCOL_VERSION,
            library=__version__,
            python=platform.python_version(),
            process=os.getpid(),
            kinds=[*jobs.JOBS],
        )
    )
    server = Server(lambda: _read_some(incoming), channel, jobs, options.idle_seconds)
    beat = (server, channel, options.heartbeat_seconds)
    threading.Thread(target=_beat, args=beat, name="heartbeat", daemon=True).start()
    threading.Thread(target=_watch_parent, args=(server, options.parent), name="parent", daemon=True).start()
    _exit(server, server.run())


def _read_some(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:
        return b""


if __name__ == "__main__":
    main()
