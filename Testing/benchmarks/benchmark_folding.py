"""Time of the repair of folds, against the search for them in the same run.

    python -m Testing.benchmarks.benchmark_folding --size 128 --threads 2

The fields are smooth noise, scaled until a given share of the voxels folds. The search looks at eight determinants a
voxel, which nothing that promises a fold-free field can leave out; the ratio is what the repair costs beyond it. The
last column is what the repair was before corners were moved: low-passing alone, for comparison of time and change.

    python -m Testing.benchmarks.benchmark_folding --slices 200 --threads 1

repairs a spline on 512 x 512 voxels a slice, of a node every four voxels, that folds at places far from each other:
what a refined map of a large scan is like. Seconds of the processor, and peak memory above that of the field.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from unittest import mock

import torch
import torch.nn.functional as F
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine.fields import (
    DisplacementField,
    bspline,
    corner_determinants,
    folding,
    jacobian_determinant,
)

GOLDEN = (0.618, 0.414, 0.732)  # shares whose multiples spread over an axis
SHARES_PERCENT = (0.001, 0.01, 0.1, 0.5)


def folding_field(size: int, percent: float) -> DisplacementField:
    """Smooth noise of which this share of the voxels folds (to a tenth of it)."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((1, 3, size // 4, size // 4, size // 4), generator=generator)
    noise = F.interpolate(noise, size=(size,) * 3, mode="trilinear", align_corners=False)
    for _ in range(2):
        noise = F.avg_pool3d(F.pad(noise, (2,) * 6, mode="replicate"), 5, 1)
    grid = ImageGrid.axis_aligned((size,) * 3, (1.0, 1.0, 1.0))
    low, high = 0.0, 64.0
    for _ in range(30):
        middle = (low + high) / 2
        folded = 100 * float((jacobian_determinant(DisplacementField(middle * noise, grid)) <= 0).float().mean())
        low, high = (middle, high) if folded < percent else (low, middle)
    return DisplacementField(high * noise, grid)


def large_field(slices: int) -> tuple[DisplacementField, ImageGrid]:
    """A spline that folds at twelve places, and its lattice."""
    grid = ImageGrid.axis_aligned((512, 512, slices), (0.75, 0.75, 1.0))
    lattice = bspline.control_lattice(grid, 4)
    generator = torch.Generator().manual_seed(0)
    coefficients = 2.0 * torch.randn((1, 3, *lattice.shape), generator=generator)
    for _ in range(3):
        coefficients = F.avg_pool3d(F.pad(coefficients, (2,) * 6, mode="replicate"), 5, 1)
    for number in range(1, 13):
        z, y, x = (int(n * (0.1 + 0.8 * (number * step % 1))) for n, step in zip(lattice.shape, GOLDEN, strict=True))
        coefficients[0, number % 3, z : z + 2, y : y + 2, x : x + 2] += 3.5 + 0.5 * number
    return bspline.SplineField(coefficients, lattice).on(grid), lattice


def repair_large(slices: int) -> None:
    """Write what the repair of a large field takes."""
    field, lattice = large_field(slices)
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = time.process_time()
    repair = folding.repair_folds(field, lattice=lattice, in_place=True)
    took = time.process_time() - start
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before.ru_maxrss) / 1024
    sys.stdout.write(
        f"512 x 512 x {slices}, {repair.folded_voxels} folded voxels: {took:.1f} s of the processor, "
        f"{memory:.0f} MB more, largest change {repair.largest_change_mm:.2f} mm\n"
    )


def seconds(run: Callable[[], object], repeats: int) -> float:
    """Least wall time."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=128, help="voxels along each axis")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--slices", type=int, help="repair a large field of so many slices instead")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.slices is not None:
        repair_large(arguments.slices)
        return
    write = sys.stdout.write
    write(f"{arguments.size}^3 voxels of 1 mm, {arguments.threads} threads, torch {torch.__version__}\n")
    write(f"{'folds (%)':>10}{'search ms':>11}{'repair ms':>11}{'ratio':>7}{'mean change mm':>16}")
    write(f"{'low-pass ms':>13}{'mean change mm':>16}\n")
    for percent in SHARES_PERCENT:
        field = folding_field(arguments.size, percent)
        search = seconds(
            lambda field=field: corner_determinants.smallest_corner_determinant(field), arguments.repeats
        )
        columns = []
        for project in (folding.project_corners, lambda voxels, *_: voxels):
            with mock.patch.object(folding, "project_corners", project):
                repaired = folding.repair_folds(field)
                took = seconds(lambda field=field: folding.repair_folds(field), arguments.repeats)
            if float(corner_determinants.smallest_corner_determinant(repaired.field).min()) <= 0:
                raise RuntimeError("the repaired field folds")
            change = float((repaired.field.displacement - field.displacement).norm(dim=1).mean())
            columns.append((took, change))
        (repair, change), (low_pass, low_pass_change) = columns
        write(f"{percent:10.3f}{1e3 * search:11.0f}{1e3 * repair:11.0f}{repair / search:7.1f}{change:16.5f}")
        write(f"{1e3 * low_pass:13.0f}{low_pass_change:16.5f}\n")


if __name__ == "__main__":
    main()
