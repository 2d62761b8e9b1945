"""Workers of this machine: processes that register one pair after the other with warm models."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import queue
import shutil
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from ..core.sentences import counted
from ..core.sentences import marked as _
from ..worker import protocol
from ..worker.process import describe_exit, kill_process_tree, server_command, server_environment

# What a worker holds at its peak, by the voxels of the fixed scan, rounded up from the preset that needs most
# (`python -m Testing.benchmarks.benchmark_cohort_memory`; docs/cohorts.md has the figures).
BASE_BYTES = 600 * 2**20
BYTES_PER_VOXEL = 650
ATTEMPTS = 2


@dataclass(frozen=True)
class Task:
    """A pair to register: its name and the JSON of its job."""

    name: str
    payload: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a task ended: its metrics, or kind and sentence of its error."""

    task: Task
    seconds: float
    metrics: dict[str, Any] | None = None
    error: str | None = None
    kind: str | None = None


@dataclass(frozen=True)
class Plan:
    """How many workers, and the threads of each."""

    workers: int
    threads: int
    reason: str


def plan_workers(
    pairs: int,
    voxels: int,
    cores: int,
    memory: int,
    *,
    gpus: int = 0,
    wanted: int | None = None,
    threads: int | None = None,
) -> Plan:
    """As many workers as cores, memory and GPUs allow.

    Two workers of one thread do more than one of two, since parts of a registration use one thread.

    Args:
        pairs: to register.
        voxels: of the largest fixed scan.
        cores: of this machine that may be used.
        memory: free bytes.
        gpus: that compute, a worker each; 0 where the processor does.
        wanted: the user's number, which is taken as it is.
        threads: of each worker, likewise; None shares out the cores.
    """
    need = BASE_BYTES + BYTES_PER_VOXEL * voxels
    by_memory = max(1, memory // need)
    workers = wanted or max(1, min(gpus or cores, cores, by_memory, pairs))
    needs = _("{need:.1f} GB of the {memory:.1f} GB that are free").format(need=need / 2**30, memory=memory / 2**30)
    reason = _("{cores}; a worker may need {needs}").format(
        cores=counted(cores, _("1 core"), _("{number} cores")), needs=needs
    )
    if gpus:
        reason = _("{gpus}, a worker each; {reason}").format(
            gpus=counted(gpus, _("1 GPU"), _("{number} GPUs")), reason=reason
        )
    return Plan(workers, threads or max(1, cores // workers), reason)


def wanted_threads() -> int | None:
    """Threads of a process that the user has set with ``OMP_NUM_THREADS``; None without."""
    text = os.environ.get("OMP_NUM_THREADS", "")
    return int(text) if text.isdecimal() and int(text) > 0 else None


def count_gpus(device: str) -> int:
    """GPUs that workers will compute on, found without importing torch.

    Args:
        device: the setting: ``auto`` takes all that NVIDIA's driver lists and ``CUDA_VISIBLE_DEVICES`` leaves,
            ``cuda:1`` one, ``cpu`` none.
    """
    if device.startswith("cuda"):
        return 1
    if device != "auto" or _torch_is_for_processors():
        return 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() and name.strip() != "-1"])
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    try:
        listed = subprocess.run([program, "-L"], capture_output=True, timeout=20, check=True, encoding="utf-8")
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def _torch_is_for_processors() -> bool:
    try:
        return importlib.metadata.version("torch").endswith("+cpu")
    except importlib.metadata.PackageNotFoundError:
        return False


JOBS = "DeepLargeDeformRegLib.worker.jobs"


def run_local(tasks: Sequence[Task], plan: Plan, jobs: str = JOBS) -> Iterator[Outcome]:
    """Outcomes of the tasks, as they end. A worker that dies costs its pair a second try, and no other pair anything.

    Where there are GPUs, each worker has its own, by turns.

    Args:
        tasks: pairs to register.
        plan: how many at a time.
        jobs: module with the kinds of jobs of the workers; see ``worker/server.py``.
    """
    waiting = deque((task, 1) for task in tasks)
    events: queue.SimpleQueue[tuple[_Worker, protocol.Message | None]] = queue.SimpleQueue()
    workers = [_Worker(events, plan.threads, number, jobs) for number in range(min(plan.workers, len(tasks)))]
    try:
        left = len(tasks)
        while left:
            worker, message = events.get()
            if isinstance(message, protocol.EngineReady):
                worker.meet(message)
            elif message is None or (isinstance(message, protocol.Failure) and message.job is None):
                outcome = worker.died(message)
                running = worker.running
                workers.remove(worker)
                worker.stop()
                if running is None or not worker.ready:
                    if not workers:  # not even one can start
                        yield from (_failed(task, outcome) for task in _rest(running, waiting))
                        return
                    if running is not None:
                        waiting.appendleft(running)
                    continue
                if running[1] < ATTEMPTS:
                    waiting.appendleft((running[0], running[1] + 1))
                else:
                    left -= 1
                    yield outcome
                workers.append(_Worker(events, plan.threads, worker.number, jobs))
                continue
            else:
                left -= 1
                yield worker.ended(message)
            if waiting and worker.running is None:
                worker.begin(*waiting.popleft())
    finally:
        for worker in workers:
            worker.stop()


class _Worker:
    """One process of ``worker.server``; its messages go into a queue, None when it is gone."""

    def __init__(
        self, events: queue.SimpleQueue[tuple[_Worker, protocol.Message | None]], threads: int, number: int, jobs: str
    ) -> None:
        self.number = number
        self.ready = False
        self.running: tuple[Task, int] | None = None
        self._started = 0.0
        self._device: str | None = None
        environment = os.environ | server_environment() | {"OMP_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            server_command(None, "--idle-seconds", "0", "--jobs", jobs),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        assert self._process.stdout is not None
        threading.Thread(target=self._read, args=(self._process.stdout, events), daemon=True).start()

    def meet(self, engine: protocol.EngineReady) -> None:
        """The worker can work; it takes its GPU, if there is one."""
        self.ready = True
        gpus = [device["name"] for device in engine.devices if device["name"] != "cpu"]
        self._device = gpus[self.number % len(gpus)] if gpus else None

    def begin(self, task: Task, attempt: int) -> None:
        """Hand a task to the worker."""
        self.running = task, attempt
        self._started = time.monotonic()
        payload = dict(task.payload)
        if self._device is not None and payload["settings"].get("device", "auto") == "auto":
            payload["settings"] = payload["settings"] | {"device": self._device}
        self._send(protocol.Request(task.name, "register", payload))

    def ended(self, message: protocol.Message) -> Outcome:
        """Outcome of the running task."""
        assert self.running is not None
        task, self.running = self.running[0], None
        seconds = time.monotonic() - self._started
        if isinstance(message, protocol.Result):
            return Outcome(task=task, seconds=seconds, metrics=message.metrics)
        if isinstance(message, protocol.Failure):
            return Outcome(task=task, seconds=seconds, error=message.message, kind=message.kind)
        return Outcome(task=task, seconds=seconds, error=_("The registration was cancelled."), kind="cancelled")

    def died(self, message: protocol.Message | None) -> Outcome:
        """Outcome of the running task, if there is one, of a worker that is gone or cannot start."""
        if isinstance(message, protocol.Failure):
            kind, text = message.kind, message.message
        else:
            kind, text = describe_exit(self._process.wait(), False)
        task = self.running[0] if self.running else Task("", {})
        return Outcome(task=task, seconds=time.monotonic() - self._started, error=text, kind=kind)

    def stop(self) -> None:
        """End the process and all that it started."""
        if self._process.poll() is None:
            kill_process_tree(self._process.pid)
        self._process.wait()
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()

    def _send(self, message: protocol.Message) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # a process that is gone tells so through its output
            self._process.stdin.write(message.encode())
            self._process.stdin.flush()

    def _read(self, stream: IO[bytes], events: queue.SimpleQueue[tuple[_Worker, protocol.Message | None]]) -> None:
        decoder = protocol.Decoder()
        wanted = (protocol.EngineReady, protocol.Result, protocol.Failure, protocol.Cancelled)
        with contextlib.suppress(OSError, ValueError):
            while data := os.read(stream.fileno(), 1 << 16):
                for item in decoder.feed(data):
                    if isinstance(item, wanted):
                        events.put((self, item))
        events.put((self, None))


def _rest(running: tuple[Task, int] | None, waiting: deque[tuple[Task, int]]) -> Iterator[Task]:
    if running is not None:
        yield running[0]
    yield from (task for task, _ in waiting)


def _failed(task: Task, why: Outcome) -> Outcome:
    return Outcome(task=task, seconds=0.0, error=why.error, kind=why.kind)


def free_memory() -> int:
    """Bytes of memory that are free on this machine; what the smallest one has where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as status:  # noqa: PTH123
            for line in status:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return 4 * 2**30
