"""What the worker costs beside the registration: start, and the way of a pair there and back.

    python -m Testing.benchmarks.benchmark_worker             the worker
    python -m Testing.benchmarks.benchmark_worker --exchange  file formats alone
    python -m Testing.benchmarks.benchmark_worker --cancel    how long a cancel takes at each stage

Medians of ``--repeats`` runs. Scans are int16 as CT comes from Slicer, 192x160x192 unless told otherwise.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from DeepLargeDeformRegLib.raw_nrrd import read_raw_nrrd
from DeepLargeDeformRegLib.worker import process, protocol
from DeepLargeDeformRegLib.worker.client import Callbacks, JobRequest, WorkerClient, WorkerError
from DeepLargeDeformRegLib.worker.job_folder import JobFolder

# The name of a row of null_jobs, which imports torch as this program must not.
FIELD_ROW = "worker makes a field (not counted)"
REPOSITORY = Path(__file__).resolve().parents[2]
Rows = dict[str, float]


class Session:
    """A client whose jobs are waited for."""

    def __init__(self, jobs: str = "Testing.benchmarks.null_jobs") -> None:
        environment = process.server_environment()
        environment["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), environment["PYTHONPATH"]])
        self._ended = threading.Event()
        self._outcome: protocol.Result | WorkerError | None = None
        self._stage = ""
        self._reached = threading.Event()
        self.transports: list[process.SubprocessTransport] = []
        self.client = WorkerClient(
            process.server_command(None, "--jobs", jobs),
            self._make,
            Callbacks(
                on_progress=lambda _, event: self._notice(event),
                on_result=lambda _, result: self._end(result),
                on_error=lambda _, error: self._end(error),
            ),
            environment,
        )

    def do(self, kind: str, payload: dict[str, object]) -> protocol.Result:
        self._ended.clear()
        self.client.submit(JobRequest(kind, payload))
        self._ended.wait()
        if not isinstance(self._outcome, protocol.Result):
            raise SystemExit(f"the worker failed: {self._outcome}")
        return self._outcome

    def cancel_at(self, stage: str, payload: dict[str, object]) -> tuple[float, str]:
        """Seconds from the cancel in a stage to the end of the job, and how it ended."""
        self._ended.clear()
        self._reached.clear()
        self._stage = stage
        job = self.client.submit(JobRequest("register", payload))
        while not self._reached.wait(0.05) and not self._ended.is_set():
            self.client.tick()
        if self._ended.is_set():
            return float("nan"), "the job ended without this stage"
        started = time.perf_counter()
        self.client.cancel(job)
        while not self._ended.wait(0.05):
            self.client.tick()
        seconds = time.perf_counter() - started
        killed = isinstance(self._outcome, WorkerError) and "killed" in self._outcome.detail
        return seconds, "the worker was killed" if killed else "the worker obeyed"

    def close(self) -> None:
        self.client.shutdown()
        for transport in self.transports:
            transport.wait()

    def _make(self) -> process.SubprocessTransport:
        self.transports.append(process.SubprocessTransport())
        return self.transports[-1]

    def _notice(self, event: protocol.Progress) -> None:
        if event.stage == self._stage:
            self._reached.set()

    def _end(self, outcome: protocol.Result | WorkerError) -> None:
        self._outcome = outcome
        self._ended.set()


def seconds_of(action: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def make_pair(size: tuple[int, int, int]) -> list[sitk.Image]:
    """Two scans with the noise of CT, which is what makes compression slow."""
    generator = np.random.default_rng(1)
    images = []
    for _ in range(2):
        image = sitk.GetImageFromArray(generator.normal(0, 30, size[::-1]).astype(np.int16))
        image.SetSpacing((1.5, 1.5, 2.0))
        images.append(image)
    return images


def round_trip(session: Session, pair: list[sitk.Image], compress: bool, field: bool) -> Rows:
    """Seconds of the parts of one job without computing."""
    rows: Rows = {}
    started = time.perf_counter()
    with JobFolder() as folder:
        payload: dict[str, object] = {"output_volume": str(folder / "warped.nrrd"), "compress": compress}
        if field:
            payload["output_transform"] = str(folder / "transform.nrrd")
        payload |= {name: str(folder / f"{name}.nrrd") for name in ("fixed", "moving")}
        rows["client writes the pair"] = seconds_of(
            lambda: [
                sitk.WriteImage(image, str(payload[name]), useCompression=compress)
                for name, image in zip(("fixed", "moving"), pair, strict=True)
            ]
        )
        sent = time.perf_counter()
        rows |= session.do("exchange", payload).metrics["seconds"]
        in_worker = sum(seconds for name, seconds in rows.items() if name.startswith("worker"))
        rows["messages there and back"] = time.perf_counter() - sent - in_worker
        rows["client reads the warped scan"] = seconds_of(lambda: read(payload["output_volume"]))
        if field:
            rows["client reads the displacement field"] = seconds_of(lambda: read(payload["output_transform"]))
    rows["all of it"] = time.perf_counter() - started - rows.get(FIELD_ROW, 0.0)
    return rows


def read(path: object) -> object:
    """As scene/transforms.py and scene/volumes.py read."""
    return read_raw_nrrd(str(path)) or sitk.ReadImage(str(path))


def floor(size: tuple[int, int, int], field: bool) -> Rows:
    """Seconds of nothing but the bytes: each written once and read once, in one piece, by one process."""
    voxels = size[0] * size[1] * size[2]
    pieces = [2 * voxels, 2 * voxels, 4 * voxels] + ([12 * voxels] if field else [])
    blocks = [np.ones(piece, np.uint8) for piece in pieces]
    with JobFolder() as folder:

        def write() -> None:
            for number, block in enumerate(blocks):
                with (folder / str(number)).open("wb", buffering=0) as stream:
                    stream.write(block.data)

        def read() -> None:
            for number in range(len(blocks)):
                np.fromfile(folder / str(number), np.uint8)

        rows = {f"write {sum(pieces) / 2**20:.0f} MB": seconds_of(write), "read them": seconds_of(read)}
    rows["floor"] = sum(rows.values())
    return rows


def cancel_stages(preset: str, size: tuple[int, int, int]) -> None:
    """Seconds from a cancel to the end of the job, at each stage: the sample case on a grid of that size."""
    case = REPOSITORY / "Resources" / "SampleCase"
    scans = JobFolder()
    for name in ("fixed", "moving"):
        image = sitk.ReadImage(str(case / f"{name}.nii.gz"))
        spacing = [
            old * length / new for old, length, new in zip(image.GetSpacing(), image.GetSize(), size, strict=True)
        ]
        still = sitk.Transform()
        larger = sitk.Resample(
            image, size, still, sitk.sitkLinear, image.GetOrigin(), spacing, image.GetDirection(), -1000
        )
        sitk.WriteImage(larger, str(scans / f"{name}.nrrd"))
    session = Session("DeepLargeDeformRegLib.worker.jobs")
    for stage in ("read", "prealign", "network", "start", "refine", "repair", "measure", "write"):
        with JobFolder() as folder:
            payload: dict[str, object] = {
                "fixed": str(scans / "fixed.nrrd"),
                "moving": str(scans / "moving.nrrd"),
                "settings": {"preset": "any" if stage == "start" else preset, "iterations": 10, "fold_free": True},
                "output_transform": str(folder / "transform.nrrd"),
                "output_inverse": str(folder / "inverse.nrrd"),
                "output_volume": str(folder / "warped.nrrd"),
                "report": str(folder / "report.html"),
            }
            seconds, how = session.cancel_at(stage, payload)
        sys.stdout.write(f"  {seconds:6.2f} s  {stage}: {how}\n")
    session.close()
    scans.remove()


def exchange_formats(pair: list[sitk.Image], repeats: int) -> None:
    """Compare uncompressed NRRD with memory-mapped arrays."""
    for pixel in (sitk.sitkInt16, sitk.sitkFloat32):
        image = sitk.Cast(pair[0], pixel)
        array = sitk.GetArrayViewFromImage(image)
        with JobFolder() as folder:
            nrrd, npy = folder / "scan.nrrd", folder / "scan.npy"
            actions = {
                "NRRD write": lambda image=image, path=nrrd: sitk.WriteImage(image, str(path), useCompression=False),
                "NRRD read": lambda path=nrrd: sitk.ReadImage(str(path)),
                "npy write": lambda array=array, path=npy: np.save(path, array),
                "npy map and copy": lambda path=npy: np.array(np.load(path, mmap_mode="r")),
            }
            print_rows(
                f"one scan, {image.GetPixelIDTypeAsString()}",
                [{name: seconds_of(action) for name, action in actions.items()} for _ in range(repeats)],
            )


def print_rows(title: str, runs: list[Rows]) -> None:
    """Medians, in milliseconds."""
    lines = [title]
    lines += [f"  {statistics.median(run[name] for run in runs) * 1000:8.1f} ms  {name}" for name in runs[0]]
    sys.stdout.write("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=3, default=(192, 160, 192))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--exchange", action="store_true")
    parser.add_argument("--cancel", action="store_true")
    parser.add_argument("--preset", default="liver-ct", help="of the registrations that --cancel ends")
    options = parser.parse_args()
    pair = make_pair(tuple(options.size))
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    sys.stdout.write(f"{os.cpu_count()} cores, load {load:.1f}\n")
    if options.exchange:
        exchange_formats(pair, options.repeats)
        return
    if options.cancel:
        cancel_stages(options.preset, tuple(options.size))
        return
    session = Session()
    cold = seconds_of(lambda: session.do("nothing", {}))
    print_rows("start", [{"first job without computing: process, torch, messages": cold}])
    warm = [{"messages alone": seconds_of(lambda: session.do("nothing", {}))} for _ in range(options.repeats)]
    print_rows("warm job without files", warm)
    for title, compress, field in (
        ("warm job: pair in, warped scan out", False, False),
        ("the same, with a displacement field on every voxel", False, True),
        ("the first, compressed", True, False),
    ):
        repeats = 2 if compress else options.repeats
        print_rows(title, [round_trip(session, pair, compress, field) for _ in range(repeats)])
    for title, field in (("the bytes alone, without a field", False), ("the bytes alone, with a field", True)):
        print_rows(title, [floor(tuple(options.size), field) for _ in range(options.repeats)])
    session.close()
    first = Session()
    print_rows("start with warm disk", [{"first job without computing": seconds_of(lambda: first.do("nothing", {}))}])
    first.close()


if __name__ == "__main__":
    main()
