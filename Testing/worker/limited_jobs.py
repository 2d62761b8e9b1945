"""The worker's real jobs in a process with less memory or smaller files than the machine has.

``DLDR_TEST_MEMORY_MB`` is what may be allocated once the engine is imported (RLIMIT_AS: allocations then fail for
real); ``DLDR_TEST_FILE_BYTES`` is the longest file that may be written (RLIMIT_FSIZE: EFBIG within a write).
"""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path
from typing import Any

from DeepLargeDeformRegLib.worker import jobs

JOBS = jobs.JOBS
release = jobs.release


def load() -> dict[str, Any]:
    facts = jobs.load()
    memory = os.environ.get("DLDR_TEST_MEMORY_MB")
    if memory:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        allowed = pages * os.sysconf("SC_PAGE_SIZE") + int(memory) * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))
    length = os.environ.get("DLDR_TEST_FILE_BYTES")
    if length:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # else the signal ends the process before the error is told
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(length), int(length)))
    return facts
