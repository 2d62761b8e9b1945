"""The worker's real jobs in a process with less memory or smaller files than the machine has.

``DLDR_TEST_MEMORY_MB`` is what the first job may allocate once the engine is imported (RLIMIT_AS: allocations then
fail for real); later ones may have all again, as when another program has ended. ``DLDR_TEST_FILE_BYTES`` is the
longest file that may be written (RLIMIT_FSIZE: EFBIG within a write).
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from DeepLargeDeformRegLib.core.progress import Monitor
from DeepLargeDeformRegLib.worker import jobs

release = jobs.release
HARDEST = resource.getrlimit(resource.RLIMIT_AS)[1]  # what a process may ask for


def load() -> dict[str, Any]:
    facts = jobs.load()
    memory = os.environ.get("DLDR_TEST_MEMORY_MB")
    if memory:
        _grow_stack()
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        allowed = pages * os.sysconf("SC_PAGE_SIZE") + int(memory) * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (allowed, HARDEST))
    length = os.environ.get("DLDR_TEST_FILE_BYTES")
    if length:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # else the signal ends the process before the error is told
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(length), int(length)))
    return facts


def _grow_stack() -> None:
    """Have the stack that the job will need: one that cannot grow any further ends the process by a signal."""
    nested: list[Any] = []
    for _ in range(40_000):
        nested = [nested]
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(50_000)
    repr(nested)
    sys.setrecursionlimit(before)


def _first_in_need(job: Callable[[dict[str, Any], Monitor], jobs.Outcome]) -> Callable[..., jobs.Outcome]:
    def run(payload: dict[str, Any], monitor: Monitor) -> jobs.Outcome:
        try:
            return job(payload, monitor)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (HARDEST, HARDEST))

    return run


JOBS = {name: _first_in_need(job) for name, job in jobs.JOBS.items()}
