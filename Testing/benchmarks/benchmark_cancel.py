"""How long a cancel takes, for scans of full size.

    python -m Testing.benchmarks.benchmark_cancel           a cancel at each stage, through a real worker
    python -m Testing.benchmarks.benchmark_cancel --silence the longest time without a look at the monitor, anywhere

The second runs a whole registration and bounds what the first can find at any moment: a job ends at its next look.
Scans are the sample case on a grid of 192x160x192 unless told otherwise.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import SimpleITK as sitk
from DeepLargeDeformRegLib.resources import SAMPLE_CASE
from DeepLargeDeformRegLib.worker import protocol
from DeepLargeDeformRegLib.worker.client import JobRequest, WorkerError
from DeepLargeDeformRegLib.worker.job_folder import JobFolder

from .benchmark_worker import Session

REPORT = "Writing the report"
MOMENTS = ("read", "prealign", "network", "search", "refine", "repair", "measure", "write", REPORT)
ITERATIONS = 10
OUTSIDE_HU = -1000


class CancellingSession(Session):
    """A session whose jobs can be cancelled where they stand."""

    def __init__(self) -> None:
        super().__init__("DeepLargeDeformRegLib.worker.jobs")
        self._moment = ""
        self._reached = threading.Event()
        self.client.callbacks.on_progress = lambda _, event: self._notice(event)

    def cancel_at(self, moment: str, payload: dict[str, object]) -> tuple[float, str]:
        """Seconds from the cancel at a stage or message to the end of the job, and how it ended."""
        self._ended.clear()
        self._reached.clear()
        self._moment = moment
        job = self.client.submit(JobRequest("register", payload))
        while not self._reached.wait(0.05) and not self._ended.is_set():
            self.client.tick()
        if self._ended.is_set():
            return float("nan"), f"the job ended without it: {self._outcome}"
        started = time.perf_counter()
        self.client.cancel(job)
        while not self._ended.wait(0.05):
            self.client.tick()
        seconds = time.perf_counter() - started
        killed = isinstance(self._outcome, WorkerError) and "killed" in self._outcome.detail
        return seconds, "the worker was killed" if killed else "the worker obeyed"

    def _notice(self, event: protocol.Progress) -> None:
        if self._moment in (event.stage, event.message):
            self._reached.set()


def write_scans(folder: JobFolder, size: tuple[int, int, int]) -> None:
    """The sample case, resampled to a size, with its lung masks."""
    case = SAMPLE_CASE
    for name in ("fixed", "moving"):
        image = sitk.ReadImage(str(case / f"{name}.nii.gz"))
        spacing = [
            old * length / new for old, length, new in zip(image.GetSpacing(), image.GetSize(), size, strict=True)
        ]
        grid = (size, sitk.Transform(), sitk.sitkLinear, image.GetOrigin(), spacing, image.GetDirection())
        sitk.WriteImage(sitk.Resample(image, *grid, OUTSIDE_HU), str(folder / f"{name}.nrrd"))
        mask = sitk.ReadImage(str(case / f"{name}_mask.nii.gz"))
        nearest = (*grid[:2], sitk.sitkNearestNeighbor, *grid[3:])
        sitk.WriteImage(sitk.Resample(mask, *nearest), str(folder / f"{name}_mask.nrrd"), useCompression=True)


def job(scans: JobFolder, folder: JobFolder, settings: dict[str, object]) -> dict[str, Any]:
    """A registration with all that can be asked for."""
    return {
        "fixed": str(scans / "fixed.nrrd"),
        "moving": str(scans / "moving.nrrd"),
        "fixed_segmentation": str(scans / "fixed_mask.nrrd"),
        "moving_segmentation": str(scans / "moving_mask.nrrd"),
        "settings": settings | {"iterations": ITERATIONS, "fold_free": True},
        "output_transform": str(folder / "transform.nrrd"),
        "output_inverse": str(folder / "inverse.nrrd"),
        "output_volume": str(folder / "warped.nrrd"),
        "output_segmentation": str(folder / "propagated.seg.nrrd"),
        "output_jacobian": str(folder / "jacobian.nrrd"),
        "output_maps": str(folder / "maps"),
        "report": str(folder / "report.html"),
    }


def cancel_everywhere(scans: JobFolder, preset: str) -> None:
    """Prints the seconds from a cancel to the end of the job."""
    session = CancellingSession()
    for moment in MOMENTS:
        with JobFolder() as folder:
            # Where a network predicts the initial field, the search is short.
            settings: dict[str, object] = {"preset": "any" if moment == "search" else preset}
            seconds, how = session.cancel_at(moment, job(scans, folder, settings))
        sys.stdout.write(f"  {seconds:6.2f} s  {moment}: {how}\n")
        sys.stdout.flush()
    session.close()


class Silence:
    """Notes the longest time between two looks at the monitor, by stage, and where they were."""

    def __init__(self) -> None:
        self.stage = "read"
        self.longest: dict[str, list[tuple[float, str]]] = {}
        self._before = (time.perf_counter(), "the start")

    def look(self) -> bool:
        """Asked by the engine whether it shall end; it shall not."""
        now, frames = time.perf_counter(), traceback.extract_stack(limit=8)
        places = [frame for frame in frames if "progress.py" not in frame.filename and frame.name != "look"]
        here = " < ".join(f"{Path(frame.filename).stem}.{frame.name}:{frame.lineno}" for frame in places[:-4:-1])
        self.longest.setdefault(self.stage, []).append((now - self._before[0], f"{self._before[1]} -> {here}"))
        self._before = (time.perf_counter(), here)
        return False


def longest_silence(scans: JobFolder, settings: dict[str, object], write_report: Callable[..., None]) -> None:
    """Prints the longest silences of a whole registration."""
    from DeepLargeDeformRegLib.core.progress import Monitor, ProgressEvent
    from DeepLargeDeformRegLib.engine.job import RegistrationJob, run_job

    silence = Silence()

    def listen(event: ProgressEvent) -> None:
        silence.stage = event.stage

    with JobFolder() as folder:
        run_job(
            RegistrationJob.from_json(job(scans, folder, settings)),
            Monitor(listen, silence.look),
            write_report=write_report,
        )
        silence.look()
    for stage, silences in silence.longest.items():
        for seconds, place in sorted(silences, reverse=True)[:3]:
            sys.stdout.write(f"  {seconds:6.2f} s  {stage}: {place}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=3, default=(192, 160, 192))
    parser.add_argument("--silence", action="store_true")
    parser.add_argument("--preset", default="liver-ct", help="of the registrations that are cancelled")
    parser.add_argument("--both-directions", action="store_true", help="with --silence: symmetric, with uncertainty")
    options = parser.parse_args()
    with JobFolder() as scans:
        write_scans(scans, tuple(options.size))
        if not options.silence:
            cancel_everywhere(scans, options.preset)
            return
        from DeepLargeDeformRegLib.report import write_report

        both = {"symmetric": True, "uncertainty": True} if options.both_directions else {}
        longest_silence(scans, {"preset": options.preset, **both}, write_report)


if __name__ == "__main__":
    main()
