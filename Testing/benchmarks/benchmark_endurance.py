"""The real engine in a real worker for long: registrations in a row, and kills at random moments.

    python -m Testing.benchmarks.benchmark_endurance

Prints memory and handles of the worker along the row, and how many registrations after a kill succeeded.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

from DeepLargeDeformRegLib.worker.client import JobRequest

from Testing.worker.pairs import write_pair
from Testing.worker.test_server import memory_and_handles

from .benchmark_worker import Session

SETTINGS = {"preset": "any", "iterations": 2, "fold_free": True}


def payload(folder: Path) -> dict[str, object]:
    """A registration of small scans that passes all stages but the network."""
    outputs = {
        "output_transform": str(folder / "transform.nrrd"),
        "output_inverse": str(folder / "inverse.nrrd"),
        "output_volume": str(folder / "warped.nrrd"),
        "output_jacobian": str(folder / "jacobian.nrrd"),
        "report": str(folder / "report.html"),
    }
    return {**write_pair(folder, size=16), "settings": SETTINGS, **outputs}


def row(session: Session, job: dict[str, object], count: int) -> None:
    """Registrations in one worker."""
    sys.stdout.write("registrations  resident MB  handles\n")
    for number in range(1, count + 1):
        session.do("register", job)
        if number in (1, 10, 20) or number % 50 == 0:
            assert session.client.hello is not None
            memory, handles = memory_and_handles(session.client.hello.process)
            sys.stdout.write(f"{number:13d}  {memory / 2**20:11.1f}  {handles:7d}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(session.transports)} worker\n")


def kills(session: Session, job: dict[str, object], count: int) -> None:
    """Kill the worker while it registers, and register again."""
    moments = random.Random(7)
    started = time.perf_counter()
    session.do("register", job)
    whole = time.perf_counter() - started
    succeeded, noticed = 0, []
    for _ in range(count):
        session.client.submit(JobRequest("register", job))
        time.sleep(moments.uniform(0.0, whole))
        assert session.client.hello is not None
        session.forget()
        os.kill(session.client.hello.process, signal.SIGKILL)
        killed = time.perf_counter()
        if session.wait(2.0):  # not where the registration had ended just before
            noticed.append(time.perf_counter() - killed)
        session.do("register", job)
        succeeded += 1
    longest = f", noticed after {max(noticed) * 1000:.0f} ms at most" if noticed else ""
    sys.stdout.write(f"{count} kills{longest}; {succeeded} of the registrations after them succeeded\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--kills", type=int, default=50)
    options = parser.parse_args()
    session = Session("DeepLargeDeformRegLib.worker.jobs")
    closing = threading.Event()

    def tick() -> None:
        while not closing.wait(0.25):
            session.client.tick()

    threading.Thread(target=tick, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        job = payload(Path(folder))
        row(session, job, options.jobs)
        kills(session, job, options.kills)
    session.close()
    closing.set()


if __name__ == "__main__":
    main()
