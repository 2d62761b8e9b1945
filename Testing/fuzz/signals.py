"""Kill a run that writes all outputs at random moments: they must be whole or absent, and nothing else be left.

``python -m Testing.fuzz.signals --moments 100 --seed 1``; a few moments are part of the suite. POSIX only.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from DeepLargeDeformRegLib.core.files import write_label_map, write_volume
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import LabelMap, Volume
from DeepLargeDeformRegLib.core.progress import Monitor
from DeepLargeDeformRegLib.core.settings import RegistrationSettings
from DeepLargeDeformRegLib.engine import job as jobs
from DeepLargeDeformRegLib.engine.job import RegistrationJob, run_job
from DeepLargeDeformRegLib.report import write_report
from scipy.ndimage import gaussian_filter

SIGNALS = (signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGHUP)
_WATCHER_SECONDS = 5.0  # until the child process that removes temporary files has done so; it takes milliseconds


@dataclass(frozen=True)
class Count:
    """Moments tried, runs that left all outputs, none of them, and the violations in words."""

    whole: int
    absent: int
    violations: tuple[str, ...]


def make_case(folder: Path) -> RegistrationJob:
    """A small pair of scans in a folder, and the job that registers them without refinement and writes everything."""
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).normal(size=(14, 18, 16))
    grid = ImageGrid.axis_aligned((16, 18, 14), (5.0, 5.0, 5.0))
    for name, shift in (("fixed", 0), ("moving", 2)):
        array = np.roll(gaussian_filter(noise, 2) * 1000, shift, axis=1).astype(np.float32)
        write_volume(Volume(array, grid), folder / f"{name}.nii.gz")
        write_label_map(LabelMap((array > 30).astype(np.int16), grid), folder / f"{name}_labels.nii.gz")
    return RegistrationJob(
        fixed=str(folder / "fixed.nii.gz"),
        moving=str(folder / "moving.nii.gz"),
        fixed_segmentation=str(folder / "fixed_labels.nii.gz"),
        moving_segmentation=str(folder / "moving_labels.nii.gz"),
        settings=RegistrationSettings(preset="any", device="cpu", model="none", refine=False, prealign="none"),
    )


def with_outputs(job: RegistrationJob, folder: Path) -> RegistrationJob:
    """The job with all outputs in a folder."""
    return dataclasses.replace(
        job,
        output_transform=str(folder / "transform.h5"),
        output_inverse=str(folder / "inverse.nii.gz"),
        output_volume=str(folder / "warped.nii.gz"),
        output_segmentation=str(folder / "labels.seg.nrrd"),
        output_jacobian=str(folder / "jacobian.mha"),
        output_maps=str(folder / "maps"),
        report=str(folder / "report.html"),
        metrics=str(folder / "metrics.json"),
    )


def try_moments(job: RegistrationJob, place: Path, moments: int, seed: int) -> Count:
    """Run the job in forked processes, each killed at a moment between its start and its end."""
    with _registered_once(job):
        return _try_moments(job, place, moments, seed)


def _try_moments(job: RegistrationJob, place: Path, moments: int, seed: int) -> Count:
    rng = random.Random(seed)
    started = time.monotonic()
    complete = _run(with_outputs(job, _new(place, "complete")), None, None)
    seconds = time.monotonic() - started
    if not complete:
        raise RuntimeError("the run that is not killed leaves nothing")
    whole, absent, violations = 0, 0, []
    for number in range(moments):
        folder = _new(place, f"run-{number}")
        # Half of the moments fall into the last third, in which the files are written.
        share = rng.uniform(0.0, 1.1) if number % 2 else rng.uniform(0.65, 1.1)
        kind = rng.choice(SIGNALS)
        found = _run(with_outputs(job, folder), share * seconds, kind)
        whole += found == complete
        absent += not found
        if found and found != complete:
            violations.append(f"seed {seed}, moment {number}, {kind.name} after {share:.3f}: left {sorted(found)}")
    return Count(whole, absent, tuple(violations))


@contextmanager
def _registered_once(job: RegistrationJob) -> Iterator[None]:
    """Compute the registration here, once, so that each child process only reads, writes and reports."""
    register = jobs.register
    result = register(jobs._read(job, [], Monitor()), Monitor())
    jobs.register = lambda *_: copy.deepcopy(result)
    try:
        yield
    finally:
        jobs.register = register


def _new(place: Path, name: str) -> Path:
    folder = place / name
    folder.mkdir()
    return folder


def _run(job: RegistrationJob, delay: float | None, kind: signal.Signals | None) -> frozenset[str]:
    """Names in the folder of outputs after the run; those of temporary files count once the watcher had its time."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(one, signal.SIG_DFL)
            run_job(job, write_report=write_report)
            code = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    if delay is not None and kind is not None:
        time.sleep(delay)
        os.kill(child, kind)
    os.waitpid(child, 0)
    folder = Path(job.metrics or "").parent
    end = time.monotonic() + _WATCHER_SECONDS
    while True:
        found = frozenset(str(path.relative_to(folder)) for path in folder.rglob("*"))
        if not any(Path(name).name.startswith(".") for name in found) or time.monotonic() > end:
            # The watcher may be completing the renames: what is there must stand still.
            time.sleep(0.05)
            again = frozenset(str(path.relative_to(folder)) for path in folder.rglob("*"))
            if again == found or time.monotonic() > end:
                return again
        time.sleep(0.02)


def main() -> int:
    """Try moments and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m Testing.fuzz.signals", description=__doc__)
    parser.add_argument("--moments", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        job = make_case(Path(folder) / "inputs")
        count = try_moments(job, Path(folder), options.moments, options.seed)
    lines = [
        *count.violations,
        f"seed {options.seed}: {options.moments} moments, {count.whole} whole, {count.absent} ",
    ]
    lines[-1] += f"absent, {len(count.violations)} violations"
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if count.violations else 0


if __name__ == "__main__":
    sys.exit(main())
