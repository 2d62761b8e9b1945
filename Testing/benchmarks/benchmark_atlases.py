"""What fusing the labels of several atlases pays: Dice of the fused labels beside those of each atlas alone.

``python -m Testing.benchmarks.benchmark_atlases --fixed 5 --atlases 4`` runs ``batch --atlas`` with both fusions for
several fixed scans of the hippocampus, whose own labels measure and do not guide, and prints the mean Dice over both
structures. No network has seen any of these subjects.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import fmean

import numpy as np
from DeepLargeDeformRegLib.cohort.atlas import AGREEMENT, FUSED
from DeepLargeDeformRegLib.core import files

from Testing.cohort.long_run import COMMAND, DATA, OPTIONS

FUSIONS = ("majority", "staple")
STRUCTURES = (1, 2)


def subjects() -> list[str]:
    """Subjects of the data set's test, in the order of its list."""
    with (DATA / "test_pairs.csv").open(newline="", encoding="utf-8") as file:
        return list(dict.fromkeys(name for row in list(csv.reader(file))[1:] for name in row[:2]))


def write_table(path: Path, fixed: str, atlases: list[str]) -> None:
    """A table of a fixed scan and its atlases."""
    lines = [["name", "fixed", "moving", "fixed_segmentation", "moving_segmentation", "match"]]
    for atlas in atlases:
        scans = [str(DATA / kind / f"{name}.nii.gz") for kind in ("images", "labels") for name in (fixed, atlas)]
        lines.append([atlas, *scans, "1=1;2=2"])
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)


def measure(folder: Path, fixed: str, atlases: list[str]) -> dict[str, float]:
    """Mean Dice of both structures: of each atlas alone (mean and best), and of each fusion."""
    write_table(folder / "pairs.csv", fixed, atlases)
    truth = files.read_label_map(DATA / "labels" / f"{fixed}.nii.gz").array
    found = {}
    for fusion in FUSIONS:  # the second one registers nothing: all pairs are finished
        command = [*COMMAND, "batch", str(folder / "pairs.csv"), "--output", str(folder / "out"), "--atlas", fusion]
        subprocess.run([*command, "--outputs", "transform", *OPTIONS, "--quiet"], check=True)
        fused = files.read_label_map(folder / "out" / FUSED).array
        found[fusion] = fmean(_dice(fused == value, truth == value) for value in STRUCTURES)
    agreement = files.read_volume(folder / "out" / AGREEMENT).array
    with (folder / "out" / "cohort.csv").open(newline="", encoding="utf-8") as file:
        single = [float(row["dice"]) for row in csv.DictReader(file)]
    inside = agreement[truth > 0]
    return {"single": fmean(single), "best single": max(single), **found, "agreement": float(inside.mean())}


def _dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * float((first & second).sum()) / float(first.sum() + second.sum())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fixed", type=int, default=5)
    parser.add_argument("--atlases", type=int, default=4)
    given = parser.parse_args()
    names = subjects()
    rows = []
    for number, fixed in enumerate(names[: given.fixed]):
        others = [name for name in names[number:] + names[:number] if name != fixed]
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(Path(folder), fixed, others[: given.atlases]))
        sys.stdout.write(", ".join(f"{name} {value:.3f}" for name, value in rows[-1].items()) + f" ({fixed})\n")
        sys.stdout.flush()
    means = ", ".join(f"{name} {fmean(row[name] for row in rows):.3f}" for name in rows[0])
    sys.stdout.write(f"mean over {len(rows)} fixed scans: {means}\n")


if __name__ == "__main__":
    main()
