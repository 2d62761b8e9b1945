"""Workers of a Dask cluster: the same jobs on many machines that share a file system."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

from ..core.errors import BadInputError, RegistrationError
from ..core.progress import Monitor
from ..core.sentences import marked as _
from .local import JOBS, Outcome, Task

RETRIES = 1
CONNECT_SECONDS = 20


def run_on_scheduler(tasks: Sequence[Task], address: str, jobs: str = JOBS) -> Iterator[Outcome]:
    """Outcomes of the tasks, as they end, of the workers of a Dask scheduler.

    Only the job's JSON and the metrics travel; scans and results stay on the file system, which all workers see under
    the same paths. Workers should have one thread for tasks (``dask worker --nthreads 1``). A worker that dies costs
    its pair a retry.

    Args:
        tasks: pairs to register.
        address: of the scheduler, ``tcp://host:8786`` for example.
        jobs: module with the kinds of jobs; see ``worker/server.py``.

    Raises:
        BadInputError: if Dask is not installed or there is no scheduler.
    """
    try:
        from distributed import Client, KilledWorker, as_completed
    except ImportError as error:
        raise BadInputError(
            _("Dask is not installed; install DeepLargeDeformReg[cluster], or leave the scheduler out."), str(error)
        ) from error
    try:
        client = Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError, TimeoutError) as error:
        raise BadInputError(
            _("There is no Dask scheduler at {address}; check the address.").format(address=address), str(error)
        ) from error
    with client:
        futures = {
            client.submit(
                register_pair, task.payload, jobs, key=f"{task.name}-{time.time_ns()}", retries=RETRIES
            ): task
            for task in tasks
        }
        for future in as_completed(list(futures)):
            task = futures.pop(future)
            failure = future.exception()
            if failure is None:
                yield Outcome(task=task, **future.result())
            elif isinstance(failure, KilledWorker):
                text = _("Its process ended unexpectedly on several workers; most likely the memory was too small.")
                yield Outcome(task=task, seconds=0.0, error=text, kind="worker_killed")
            else:
                yield Outcome(task=task, seconds=0.0, error=f"{type(failure).__name__}: {failure}", kind="failed")
            future.release()


def register_pair(payload: dict[str, Any], jobs: str = JOBS) -> dict[str, Any]:
    """Register one pair in this process: what an :class:`~.local.Outcome` holds beside its task."""
    register = importlib.import_module(jobs).JOBS["register"]
    started = time.monotonic()
    try:
        metrics, _ = register(payload, Monitor())
    except RegistrationError as error:
        return {"seconds": time.monotonic() - started, "error": error.message, "kind": error.kind}
    return {"seconds": time.monotonic() - started, "metrics": metrics}
