"""What the worker costs beside the registration: start, and the way of a pair there and back.

    python -m Testing.benchmarks.benchmark_worker             the worker
    python -m Testing.benchmarks.benchmark_worker --exchange  file formats alone
    python -m Testing.benchmarks.benchmark_worker --files     all files of a job, by core/raw_nrrd.py and by SimpleITK

Medians of ``--repeats`` runs, and in brackets the least, which other programs disturb least. Scans are int16 as CT
comes from Slicer, 192x160x192 unless told otherwise.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from DeepLargeDeformRegLib.core.display import MAPS
from DeepLargeDeformRegLib.core.raw_nrrd import open_raw_nrrd, write_raw_nrrd
from DeepLargeDeformRegLib.worker import process, protocol
from DeepLargeDeformRegLib.worker.client import Callbacks, JobRequest, WorkerClient, WorkerError
from DeepLargeDeformRegLib.worker.job_folder import JobFolder

from Testing.subprocess_transport import SubprocessTransport

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
        self.transports: list[SubprocessTransport] = []
        self.client = WorkerClient(
            process.server_command(None, "--jobs", jobs),
            self._make,
            Callbacks(
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

    def forget(self) -> None:
        """Forget what a job that was not waited for has ended with."""
        self._ended.clear()

    def wait(self, seconds: float) -> bool:
        """Wait for the end of a job that another method did not wait for; False if none came."""
        return self._ended.wait(seconds)

    def close(self) -> None:
        self.client.shutdown()
        for transport in self.transports:
            transport.wait()

    def _make(self) -> SubprocessTransport:
        self.transports.append(SubprocessTransport())
        return self.transports[-1]

    def _end(self, outcome: protocol.Result | WorkerError) -> None:
        self._outcome = outcome
        self._ended.set()


def seconds_of(action: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of one call, by the wall's clock or another."""
    started = clock()
    action()
    return clock() - started


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
                write(image, str(payload[name]), compress)
                for name, image in zip(("fixed", "moving"), pair, strict=True)
            ]
        )
        sent = time.perf_counter()
        rows |= session.do("exchange", payload).metrics["seconds"]
        in_worker = sum(seconds for name, seconds in rows.items() if name.startswith("worker"))
        rows["messages there and back"] = time.perf_counter() - sent - in_worker
        rows["client reads the warped scan"] = seconds_of(lambda: read(payload["output_volume"]))
        if field:
            rows["client reads the displacement field"] = seconds_of(lambda: read_field(payload["output_transform"]))
    rows["all of it"] = time.perf_counter() - started - rows.get(FIELD_ROW, 0.0)
    return rows


def write(image: sitk.Image, path: str, compress: bool) -> None:
    """As scene/volumes.py writes: a copy of the scene's voxels goes into the file."""
    copy = sitk.GetImageFromArray(sitk.GetArrayViewFromImage(image))
    array = sitk.GetArrayViewFromImage(copy)
    if compress:
        sitk.WriteImage(image, path, useCompression=True)
    else:
        write_raw_nrrd(array, image.GetSpacing(), image.GetOrigin(), image.GetDirection(), Path(path))


def read(path: object) -> np.ndarray:
    """As scene/volumes.py reads: the voxels are then copied into the scene."""
    file = open_raw_nrrd(str(path))
    return np.array(sitk.GetArrayFromImage(sitk.ReadImage(str(path))) if file is None else file.read())


def read_field(path: object) -> np.ndarray:
    """As scene/transforms.py reads: into the scene's memory, in its axes."""
    file = open_raw_nrrd(str(path))
    assert file is not None
    return file.read(factors=(-1, -1, 1), out=np.empty(file.shape, np.float32))


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


def exchange_formats(pair: list[sitk.Image], repeats: int) -> None:
    """Compare uncompressed NRRD with memory-mapped arrays."""
    for pixel in (sitk.sitkInt16, sitk.sitkFloat32):
        image = sitk.Cast(pair[0], pixel)
        array = sitk.GetArrayViewFromImage(image)
        with JobFolder() as folder:
            nrrd, npy = folder / "scan.nrrd", folder / "scan.npy"
            geometry = (image.GetSpacing(), image.GetOrigin(), image.GetDirection())
            actions = {
                "NRRD write, SimpleITK": lambda image=image, path=nrrd: sitk.WriteImage(image, str(path)),
                "NRRD read, SimpleITK": lambda path=nrrd: sitk.ReadImage(str(path)),
                "NRRD write": lambda array=array, path=nrrd, geometry=geometry: write_raw_nrrd(
                    array, *geometry, path
                ),
                "NRRD read": lambda path=nrrd: open_raw_nrrd(path).read(),  # type: ignore[union-attr]
                "npy write": lambda array=array, path=npy: np.save(path, array),
                "npy map and copy": lambda path=npy: np.array(np.load(path, mmap_mode="r")),
            }
            print_rows(
                f"one scan, {image.GetPixelIDTypeAsString()}",
                [{name: seconds_of(action) for name, action in actions.items()} for _ in range(repeats)],
            )


class _Raw:
    """The files of a job by ``core/raw_nrrd.py``, as the scene and the engine write and read them."""

    def write(self, array: np.ndarray, path: Path) -> None:
        write_raw_nrrd(array, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3).ravel().tolist(), path)

    write_field = write

    def read(self, path: Path, dtype: type) -> np.ndarray:
        file = open_raw_nrrd(path)
        assert file is not None
        return file.read(dtype)

    def read_field(self, path: Path) -> np.ndarray:
        return read_field(path)


class _Itk:
    """The same by SimpleITK."""

    def write(self, array: np.ndarray, path: Path) -> None:
        sitk.WriteImage(sitk.GetImageFromArray(array), str(path))

    def write_field(self, array: np.ndarray, path: Path) -> None:
        sitk.WriteImage(sitk.GetImageFromArray(np.ascontiguousarray(array), isVector=True), str(path))

    def read(self, path: Path, dtype: type) -> np.ndarray:
        return sitk.GetArrayFromImage(sitk.ReadImage(str(path))).astype(dtype, copy=False)

    def read_field(self, path: Path) -> np.ndarray:
        return sitk.GetArrayViewFromImage(sitk.ReadImage(str(path))) * np.float32((-1, -1, 1))


def job_files(size: tuple[int, int, int], way: _Raw | _Itk) -> Rows:
    """Files of a job from the panel: two scans in; a field, the warped scan and all maps out.

    Seconds of the processor, on which other programs and a slow disk have no influence.
    """
    shape = size[::-1]
    scan = np.random.default_rng(0).integers(-1000, 1000, shape, dtype=np.int16)
    result = scan.astype(np.float32)
    field = np.moveaxis(np.stack([result] * 3), 0, -1)  # as torch has it: component by component
    rows: Rows = {}
    spent = partial(seconds_of, clock=time.process_time)
    with JobFolder() as folder:
        paths = [folder / f"{number}.nrrd" for number in range(2 + len(MAPS))]
        rows["write two scans"] = spent(lambda: [way.write(scan, path) for path in paths[:2]])
        rows["read them"] = spent(lambda: [way.read(path, np.float32) for path in paths[:2]])
        rows["write warped scan, det J, maps"] = spent(lambda: [way.write(result, path) for path in paths])
        rows["read them again"] = spent(lambda: [way.read(path, np.float32) for path in paths])
        transform = folder / "transform.nrrd"
        rows["write the field"] = spent(lambda: way.write_field(field, transform))
        rows["read the field"] = spent(lambda: way.read_field(transform))
    rows["all of it"] = sum(rows.values())
    return rows


def print_rows(title: str, runs: list[Rows]) -> None:
    """Medians and, where there are several runs, the least, in milliseconds."""
    lines = [title]
    for name in runs[0]:
        values = [run[name] * 1000 for run in runs]
        least = f"  ({min(values):6.1f})" if len(values) > 1 else ""
        lines.append(f"  {statistics.median(values):8.1f} ms{least}  {name}")
    sys.stdout.write("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=3, default=(192, 160, 192))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--exchange", action="store_true")
    parser.add_argument("--files", action="store_true")
    options = parser.parse_args()
    pair = make_pair(tuple(options.size))
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    sys.stdout.write(f"{os.cpu_count()} cores, load {load:.1f}\n")
    if options.exchange:
        exchange_formats(pair, options.repeats)
        return
    if options.files:
        for name, way in (("core/raw_nrrd.py", _Raw()), ("SimpleITK", _Itk())):
            print_rows(name, [job_files(tuple(options.size), way) for _ in range(options.repeats)])
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
