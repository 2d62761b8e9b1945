"""Time to write the report of the sample case, and its size.

    python Testing/benchmarks/benchmark_report.py --threads 2

The map is a smooth made-up one with folds: what takes time is drawing, not what is drawn.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch
from DeepLargeDeformRegLib.core import files
from DeepLargeDeformRegLib.core.images import Pair, Scan
from DeepLargeDeformRegLib.core.metrics import Metrics
from DeepLargeDeformRegLib.core.presets import find_preset
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.evaluation import Evaluation
from DeepLargeDeformRegLib.engine.fields import DisplacementField, warp_scan
from DeepLargeDeformRegLib.report import write_report
from DeepLargeDeformRegLib.resources import SAMPLE_CASE


def sample_registration() -> Evaluation:
    """The sample case with a made-up map: shifted as a whole, swirled in the middle."""
    fixed, moving = (files.read_volume(SAMPLE_CASE / f"{name}.nii.gz") for name in ("fixed", "moving"))
    labels = [files.read_label_map(SAMPLE_CASE / f"{name}_mask.nii.gz") for name in ("fixed", "moving")]
    landmarks = files.read_landmark_pairs(SAMPLE_CASE / "landmarks_lps.csv")
    shift = torch.tensor((landmarks.moving - landmarks.fixed).mean(axis=0), dtype=torch.float32).reshape(
        1, 3, 1, 1, 1
    )
    offset = fields.points(fixed.grid) - torch.tensor(fixed.grid.center).reshape(1, 3, 1, 1, 1)
    swirl = 30 * torch.exp(-offset.square().sum(dim=1, keepdim=True) / (2 * 20.0**2))
    field = DisplacementField(
        shift + swirl.float() * torch.tensor([1.0, 0.0, 0.5]).reshape(1, 3, 1, 1, 1), fixed.grid
    )
    pair = Pair(Scan(fixed, labels[0]), Scan(moving, labels[1])).with_landmarks(landmarks)
    warped = warp_scan(pair.moving, field, fixed.grid)
    return Evaluation(pair=pair, field=field, warped=warped, maps={}, metrics=Metrics())


def main() -> None:
    """Write the report a few times and say how long each took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    evaluation = sample_registration()
    preset = find_preset("lung-ct")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        for _ in range(given.repeats):
            clock, processor = time.perf_counter(), time.process_time()
            write_report(path, evaluation, preset=preset)
            seconds, busy = time.perf_counter() - clock, time.process_time() - processor
            size = path.stat().st_size / 1e6
            sys.stdout.write(f"{seconds:.2f} s, {busy:.2f} s of processor time, {size:.1f} MB\n")


if __name__ == "__main__":
    main()
