"""Memory and time of warping and writing a large scan: linear in its voxels, without a field on all of them.

``python -m Testing.benchmarks.benchmark_large_scans`` writes made-up CTs of 512 x 512 slices and a displacement field
with a node every 8 voxels, warps each scan with the command line in a process of its own, and prints peak memory and
seconds, and both by the voxel beyond the smallest scan. With ``--register`` it registers two scans of balls
and writes the transform and the warped scan: there the field is on all voxels. ``--memory-limit`` is what the
deformable part may take meanwhile, as on a machine of 6 GB of which the scans already take some.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk

SIDE, STEP = 512, 8
DEFORMABLE_MB = 3500


def write_smooth_scan(path: Path, slices: int, shift: int) -> None:
    """Balls of 4 cm in 16 bits, some voxels away from where another scan has them."""
    z, y, x = np.ogrid[:slices, :SIDE, :SIDE]
    waves = [np.sin((axis + shift) * (2 * np.pi / 50)).astype(np.float32) for axis in (z, y, x)]
    image = sitk.GetImageFromArray((300 * (waves[0] * waves[1] * waves[2])).astype(np.int16))
    image.SetSpacing((0.8, 0.8, 1.0))
    sitk.WriteImage(image, str(path))


def write_scan(path: Path, slices: int) -> None:
    """Noise in 16 bits, the same in every slice."""
    plane = np.random.default_rng(0).integers(-1000, 1000, (1, SIDE, SIDE)).astype(np.int16)
    image = sitk.GetImageFromArray(np.tile(plane, (slices, 1, 1)))
    image.SetSpacing((0.8, 0.8, 1.0))
    sitk.WriteImage(image, str(path))


def write_field(path: Path, slices: int) -> None:
    """Random displacements of about 3 mm."""
    count = SIDE // STEP + 1
    vectors = 3 * np.random.default_rng(1).normal(size=(slices // STEP + 1, count, count, 3))
    image = sitk.GetImageFromArray(vectors.astype(np.float32), isVector=True)
    image.SetSpacing((0.8 * STEP, 0.8 * STEP, 1.0 * STEP))
    sitk.WriteImage(image, str(path))


def warp(slices: int, folder: Path) -> tuple[float, float]:
    """Peak memory (MB) and seconds of the command; Linux tells the peak of the largest child so far."""
    scan, field, result = (folder / f"{name}.nrrd" for name in ("scan", "field", "result"))
    write_scan(scan, slices)
    write_field(field, slices)
    return measured(["warp", str(field), str(scan), "--volume", str(scan), "--output-volume", str(result)])


def register(slices: int, folder: Path, limit: float) -> tuple[float, float]:
    """As :func:`warp`, of a registration."""
    fixed, moving, field, result = (str(folder / f"{name}.nrrd") for name in ("fixed", "moving", "field", "result"))
    for path, shift in ((fixed, 0), (moving, 5)):
        write_smooth_scan(Path(path), slices, shift)
    outputs = ["--output-transform", field, "--output-volume", result]
    return measured(["register", fixed, moving, *outputs, "--memory-limit", str(limit)])


def measured(arguments: list[str]) -> tuple[float, float]:
    """Peak memory (MB) and seconds of a command."""
    clock = time.perf_counter()
    subprocess.run([sys.executable, "-m", "DeepLargeDeformRegLib.cli", *arguments, "--quiet"], check=True)
    seconds = time.perf_counter() - clock
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, seconds


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", default="100,200,400,800", help="of the scans, ascending")
    parser.add_argument("--register", action="store_true", help="register two scans instead of warping one")
    parser.add_argument("--memory-limit", type=float, default=DEFORMABLE_MB, help="of a registration's, MB")
    arguments = parser.parse_args()
    first: tuple[int, float, float] | None = None
    for slices in map(int, arguments.slices.split(",")):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if arguments.register:
                memory, seconds = register(slices, folder, arguments.memory_limit)
            else:
                memory, seconds = warp(slices, folder)
        line = f"{SIDE} x {SIDE} x {slices}: {memory:.0f} MB, {seconds:.1f} s"
        if first is None:
            first = (slices, memory, seconds)
        else:
            more = SIDE * SIDE * (slices - first[0])
            line += f"; {(memory - first[1]) * 2**20 / more:.1f} bytes and {(seconds - first[2]) / more * 1e9:.0f} ns"
            line += " by the further voxel"
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
