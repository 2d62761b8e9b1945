"""What warm models pay: ``batch`` over some pairs against a shell loop over ``register`` with the same pairs.

``python -m Testing.benchmarks.benchmark_cohort --pairs 6`` prints the seconds by the clock and of processor time, and
their ratios. Both write a transform and metrics for each pair; the loop's processes and the workers have one thread
each, and one worker registers, so that the ratio is that of the work and not of the cores.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from Testing.cohort.long_run import COMMAND, OPTIONS, write_table


def seconds_of(commands: list[list[str]]) -> tuple[float, float]:
    """Seconds by the clock, and of processor time, of commands one after the other."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    for command in commands:
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdin=subprocess.DEVNULL)
    after, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    return ended - started, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Run both and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=6)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        loop = []
        for line in write_table(folder / "pairs.csv", given.pairs):
            outputs = ["--output-transform", str(folder / f"{line[0]}.nii.gz"), "--metrics", str(folder / "m.json")]
            labels = ["--fixed-segmentation", line[3], "--moving-segmentation", line[4], "--match", "1=1"]
            loop.append([*COMMAND, "register", *line[1:3], *labels, "--match", "2=2", *outputs, *OPTIONS, "--quiet"])
        table, output = str(folder / "pairs.csv"), str(folder / "out")
        batch = [*COMMAND, "batch", table, "--output", output, "--outputs", "transform", "--workers", "1", *OPTIONS]
        first = seconds_of(loop)
        second = seconds_of([[*batch, "--quiet"]])
    for title, (clock, processor) in (("loop over register", first), ("batch", second)):
        each = (clock / given.pairs, processor / given.pairs)
        sys.stdout.write(f"{title}: {each[0]:.2f} s a pair by the clock, {each[1]:.2f} s of processor time\n")
    ratios = [one / other for one, other in zip(first, second, strict=True)]
    sys.stdout.write(f"batch does {ratios[0]:.1f} times as many by the clock, {ratios[1]:.1f} by processor time\n")


if __name__ == "__main__":
    main()
