"""A cohort of real pairs, killed and resumed, against one that is not, and against a loop over ``register``.

``python -m Testing.cohort.long_run --pairs 200 --kills 3`` prints whether the tables are equal, how often finished
pairs were computed again, and how many pairs an hour the cohort does against a loop over the first ``--loop`` pairs.
"""

from __future__ import annotations

import argparse
import csv
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from Testing.conftest import REPOSITORY

DATA = REPOSITORY.parent / "shared" / "data" / "hippocampus"
COMMAND = [sys.executable, "-m", "DeepLargeDeformRegLib.cli"]
OPTIONS = ["--preset", "mr-hippocampus", "--device", "cpu"]


def write_table(path: Path, count: int) -> list[list[str]]:
    """The first pairs of the data set's test, its other pairs after them, as a table."""
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


def main() -> None:
    """Run all of it and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--loop", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("long-run"))
    given = parser.parse_args()
    given.folder.mkdir(exist_ok=True)
    lines = write_table(given.folder / "pairs.csv", given.pairs)
    calm, killed = given.folder / "calm", given.folder / "killed"
    started = time.monotonic()
    assert cohort(given.folder / "pairs.csv", calm).wait() == 0
    seconds = time.monotonic() - started
    chance, again = random.Random(0), 0
    for _ in range(given.kills):
        before = finished(killed)
        process = cohort(given.folder / "pairs.csv", killed)
        time.sleep(chance.uniform(0.1, 0.9) * seconds / (given.kills + 1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        after = finished(killed)
        again += sum(after[name] != moment for name, moment in before.items())
    before = finished(killed)
    assert cohort(given.folder / "pairs.csv", killed).wait() == 0
    again += sum(finished(killed)[name] != moment for name, moment in before.items())
    names = ("cohort.csv", "summary.csv", "cohort.html")
    same = all((calm / name).read_bytes() == (killed / name).read_bytes() for name in names)
    started = time.monotonic()
    for line in lines[: given.loop]:
        outputs = ["--output-transform", str(given.folder / "t.nii.gz"), "--metrics", str(given.folder / "m.json")]
        labels = ["--fixed-segmentation", line[3], "--moving-segmentation", line[4]]
        subprocess.run([*COMMAND, "register", line[1], line[2], *labels, *outputs, *OPTIONS, "--quiet"], check=True)
    each = (time.monotonic() - started) / given.loop
    sys.stdout.write(
        f"tables equal: {same}; finished pairs computed again: {again}; {given.pairs / seconds * 3600:.0f} pairs an "
        f"hour, {each * given.pairs / seconds:.2f} times as many as a loop over register\n"
    )


if __name__ == "__main__":
    main()
