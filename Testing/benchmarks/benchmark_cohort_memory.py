"""The memory that a worker of a cohort holds at its peak, by preset: what ``cohort/local.py`` plans with.

``python -m Testing.benchmarks.benchmark_cohort_memory`` registers a hippocampus pair, the sample case and two
abdomens, each in a process of its own with all default outputs, and prints for each the voxels of the fixed scan, the
memory before the first pair, the peak, and their difference by the voxel (Linux).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import SimpleITK as sitk
from DeepLargeDeformRegLib.cohort.pairs import CohortPair, read_pairs
from DeepLargeDeformRegLib.cohort.run import CohortRequest, job_of
from DeepLargeDeformRegLib.core.progress import Monitor
from DeepLargeDeformRegLib.core.settings import RegistrationSettings
from DeepLargeDeformRegLib.resources import SAMPLE_CASE

from Testing.cohort.long_run import DATA, write_table

PRESETS = ("mr-hippocampus", "lung-ct", "any", "liver-ct")
ABDOMENS = {"fixed": "chaos-01", "moving": "totalsegmentator-example"}


def pair_of(preset: str, folder: Path) -> CohortPair:
    """The pair that a preset is measured on."""
    if preset == "mr-hippocampus":
        write_table(folder / "pairs.csv", 1)
        return read_pairs(folder / "pairs.csv")[0]
    if preset == "liver-ct":
        folder = DATA.parent / "abdomen-ct"
        return CohortPair(
            name="abdomen", files={side: str(folder / name / "image.nii.gz") for side, name in ABDOMENS.items()}
        )
    files = {side: str(SAMPLE_CASE / f"{side}.nii.gz") for side in ("fixed", "moving")}
    files |= {f"{side}_segmentation": str(SAMPLE_CASE / f"{side}_mask.nii.gz") for side in ("fixed", "moving")}
    return CohortPair(name="lung", files=files, match=("1=1",))


def bytes_held(kind: str) -> int:
    """Memory of this process: ``VmRSS`` now, ``VmHWM`` at its peak."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{kind}:"))


def measure(preset: str) -> None:
    """Register the pair of a preset as a worker does, and print what it took."""
    from DeepLargeDeformRegLib.worker import jobs

    jobs.load()
    before = bytes_held("VmRSS")
    with tempfile.TemporaryDirectory() as name:
        pair = pair_of(preset, Path(name))
        settings = RegistrationSettings(preset=preset, device="cpu")
        request = CohortRequest(pairs=[pair], output=Path(name), settings=settings)
        jobs.JOBS["register"](job_of(pair, request, Path(name)), Monitor())
        size = sitk.ReadImage(pair.files["fixed"]).GetSize()
    voxels, peak = size[0] * size[1] * size[2], bytes_held("VmHWM")
    each = (peak - before) / voxels
    sys.stdout.write(
        f"{preset}: {voxels} voxels, {before / 2**20:.0f} MB before, {peak / 2**20:.0f} MB at the peak, "
        f"{each:.0f} bytes a voxel\n"
    )


def main() -> None:
    """Measure all presets, or the one that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", choices=PRESETS)
    given = parser.parse_args()
    if given.preset:
        measure(given.preset)
        return
    for preset in PRESETS:
        command = [sys.executable, "-m", "Testing.benchmarks.benchmark_cohort_memory", "--preset", preset]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
