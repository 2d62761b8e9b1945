"""A cohort of real pairs, killed with -9 at random moments and resumed, against one that is not.

``python -m Testing.cohort.long_run --pairs 200 --kills 3`` prints whether the tables are equal, how often finished
pairs were computed again, and how much memory the processes held at the beginning and at the end.
"""

from __future__ import annotations

import argparse
import csv
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from Testing.conftest import REPOSITORY

DATA = REPOSITORY.parent / "shared" / "data" / "hippocampus"
COMMAND = [sys.executable, "-m", "DeepLargeDeformRegLib.cli"]
# The labels measure and do not guide: the network's field is kept, and a pair takes about a second.
OPTIONS = ["--preset", "mr-hippocampus", "--device", "cpu", "--no-guide", "--no-uncertainty"]
SECONDS_BETWEEN_SAMPLES = 0.5
TABLES = ("cohort.csv", "summary.csv", "cohort.html")


def write_table(path: Path, count: int) -> list[list[str]]:
    """The first pairs of the data set's test, the same ones the other way round after them, as a table."""
    with (DATA / "test_pairs.csv").open(newline="", encoding="utf-8") as file:
        pairs = [row[:2] for row in csv.reader(file)][1:]
    pairs += [[moving, fixed] for fixed, moving in pairs]
    lines = []
    for number, (fixed, moving) in enumerate(pairs[:count]):
        files = [str(DATA / kind / f"{name}.nii.gz") for kind in ("images", "labels") for name in (fixed, moving)]
        lines.append([f"p{number:03d}", *files, "1=1;2=2"])
    with path.open("w", newline="", encoding="utf-8") as file:
        heading = ["name", "fixed", "moving", "fixed_segmentation", "moving_segmentation", "match"]
        csv.writer(file).writerows([heading, *lines])
    return lines


def cohort(table: Path, output: Path) -> subprocess.Popen[bytes]:
    """Start the command on a table."""
    return subprocess.Popen(
        [*COMMAND, "batch", str(table), "--output", str(output), *OPTIONS, "--outputs", "transform", "--quiet"]
    )


def finished(output: Path) -> dict[str, float]:
    """When each finished pair was written."""
    return {path.parent.name: path.stat().st_mtime for path in output.glob("pairs/p*/record.json")}


def resident(process: int) -> int:
    """Bytes of memory that a process holds; 0 where it is gone (Linux)."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)


def children(process: int) -> list[int]:
    """Processes that a process has started and that live (Linux)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        if parent == process:
            found.append(int(path.parent.name))
    return found


class Memory(threading.Thread):
    """Samples the memory of a process and its workers until the process ends.

    Attributes:
        command: bytes of the process, a sample each. workers: the largest worker's, likewise.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        super().__init__(daemon=True)
        self._process = process
        self.command: list[int] = []
        self.workers: list[int] = []

    def run(self) -> None:
        while self._process.poll() is None:
            self.command.append(resident(self._process.pid))
            self.workers.append(max(map(resident, children(self._process.pid)), default=0))
            time.sleep(SECONDS_BETWEEN_SAMPLES)


def quarters(samples: list[int]) -> str:
    """The peak of the first and of the last quarter of a run, in MB."""
    part = max(1, len(samples) // 4)
    first, last = (max(some, default=0) / 2**20 for some in (samples[:part], samples[-part:]))
    return f"{first:.0f} MB in the first quarter, {last:.0f} MB in the last"


def main() -> None:
    """Run all of it and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("long-run"))
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    write_table(given.folder / "pairs.csv", given.pairs)
    calm, killed = given.folder / "calm", given.folder / "killed"
    started = time.monotonic()
    process = cohort(given.folder / "pairs.csv", calm)
    memory = Memory(process)
    memory.start()
    assert process.wait() == 0
    memory.join()
    seconds = time.monotonic() - started
    sys.stdout.write(f"{given.pairs} pairs in {seconds:.0f} s, {given.pairs / seconds * 3600:.0f} an hour\n")
    sys.stdout.write(f"a worker: {quarters(memory.workers)}\nthe command: {quarters(memory.command)}\n")
    sys.stdout.flush()
    chance, again = random.Random(given.seed), 0
    for _ in range(given.kills):
        before = finished(killed)
        process = cohort(given.folder / "pairs.csv", killed)
        time.sleep(chance.uniform(0.1, 0.9) * seconds / (given.kills + 1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        after = finished(killed)
        again += sum(after[name] != moment for name, moment in before.items())
        sys.stdout.write(f"killed when {len(after)} pairs were finished\n")
        sys.stdout.flush()
    before = finished(killed)
    assert cohort(given.folder / "pairs.csv", killed).wait() == 0
    again += sum(finished(killed)[name] != moment for name, moment in before.items())
    same = all((calm / name).read_bytes() == (killed / name).read_bytes() for name in TABLES)
    sys.stdout.write(f"tables equal: {same}; finished pairs computed again: {again}\n")


if __name__ == "__main__":
    main()
