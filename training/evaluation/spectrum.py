"""``python -m training.evaluation spectrum``: does det J show the lattice of the computation?

A field that is interpolated from a lattice can carry the lattice's period, and det J, which is made of its
derivatives, shows it first. Each case is registered twice, the second time in a region that begins a little later, so
that all lattices lie elsewhere in the patient: the control lattice, the cells of the search, the working grid. The
spectra of log det J along each axis are compared. What the anatomy causes stays where it is. What a lattice causes
moves with it, and a beat of two lattices farther than they do.

Spectra are averaged over lines within the fixed structures, or everywhere without any, each without its linear trend
and weighted by a Hann window (Welch, IEEE TAE 1967).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from DeepLargeDeformRegLib.core.errors import RegistrationError
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import LabelMap
from DeepLargeDeformRegLib.core.presets import find_preset
from DeepLargeDeformRegLib.core.settings import RegistrationSettings
from DeepLargeDeformRegLib.engine.registration.pipeline import RegistrationRequest, RegistrationResult, register
from rich.console import Console
from rich.progress import track

from .cases import DATA, GROUPS, Case, load_cases
from .tables import print_table, write_tables

LENGTH_MM = 105.0  # of a line; what is longer than a third of it is not resolved
APART = 3  # voxels between lines: neighbors show the same
SMALLEST_DETERMINANT = 0.05  # the logarithm of less would drown all else
SIDE_BINS = 4  # on each side, that a bin is compared with
LEAST_SHARE = 0.001  # of the power, that a peak must have to be listed
COLUMNS = (
    "case",
    "axis",
    "period (mm)",
    "share (%)",
    "over its surroundings",
    "coherence",
    "moved (mm)",
    "lattice of",
)
Complex = npt.NDArray[np.complex128]


@dataclass(frozen=True, eq=False, kw_only=True)
class Spectrum:
    """What two maps of det J have along one axis, a number for each frequency above zero.

    Args:
        period_mm: one over the frequency.
        power: mean over the lines of the first map, in no unit.
        coherence: how far the second map has the same waves, 0 to 1.
        moved_mm: how far along the axis the second map's waves lie from the first one's, at most half a period.
        lines: how many there were.
    """

    period_mm: npt.NDArray[np.float64]
    power: npt.NDArray[np.float64]
    coherence: npt.NDArray[np.float64]
    moved_mm: npt.NDArray[np.float64]
    lines: int

    def over_surroundings(self, number: int) -> float:
        """Power of a bin over the geometric mean of the bins beside it, those that touch it left out."""
        beside = [at for at in range(len(self.power)) if 2 <= abs(at - number) <= SIDE_BINS]
        return float(self.power[number] / np.exp(np.log(self.power[beside] + 1e-30).mean()))

    def peaks(self) -> list[int]:
        """Bins with more power than both neighbors, but for those with less than a thousandth of all."""
        inner = self.power[1:-1]
        large = inner > LEAST_SHARE * self.power.sum()
        return [int(at) + 1 for at in np.flatnonzero(large & (inner > self.power[:-2]) & (inner > self.power[2:]))]

    def nearest(self, period_mm: float) -> int:
        """Bin of a period."""
        return int(np.abs(1 / self.period_mm - 1 / period_mm).argmin())


def main(
    cases: Annotated[str, typer.Option(help=f"Groups of pairs, of: {', '.join(GROUPS)}.")] = "lung",
    most: Annotated[int, typer.Option(help="Most pairs of a group.", min=1)] = 1,
    shift: Annotated[float, typer.Option(help="By which the second region begins later, mm.", min=0.1)] = 5.0,
    data: Annotated[Path, typer.Option(help="Folder of the data.")] = DATA,
    output: Annotated[Path | None, typer.Option(help="Folder for spectrum.csv and .md.")] = None,
) -> None:
    """Spectrum of log det J along each axis, and whether its peaks move with the lattice."""
    console = Console(width=140)
    try:
        chosen = load_cases(cases.split(","), data, most)
    except RegistrationError as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(error.exit_code) from error
    rows: list[tuple[Any, ...]] = [COLUMNS]
    for case in track(chosen, "Registering", console=Console(stderr=True)):
        rows += rows_of(case, shift)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        write_tables(rows, output / "spectrum", 2)
    print_table(rows, console, names=2, sections=True)


def rows_of(case: Case, shift_mm: float) -> list[tuple[Any, ...]]:
    """Lines of the table of a case: the peaks along each axis, and what there is at the lattices' periods."""
    first, second = _registered_twice(case, shift_mm)
    assert first.evidence is not None
    assert second.evidence is not None
    grids = (first.evidence.grid, second.evidence.grid)
    lines: list[tuple[Any, ...]] = []
    structures = None if case.fixed_labels is None else case.fixed_labels.mask()
    for axis, name in enumerate("xyz"):
        found = spectrum(first.jacobian.array, second.jacobian.array, first.jacobian.grid, axis, structures)
        bins = {}
        for period, what in _periods(case, grids[0], axis).items():
            seen = seen_at(period, first.jacobian.grid.spacing[axis])
            if seen <= found.period_mm[0]:
                bins[found.nearest(seen)] = what if seen == period else f"{what} (alias)"
        for number in sorted({*found.peaks(), *bins}):
            lines.append(
                (
                    case.name,
                    name,
                    f"{found.period_mm[number]:.1f}",
                    f"{100 * found.power[number] / found.power.sum():.3f}",
                    f"{found.over_surroundings(number):.2f}",
                    f"{found.coherence[number]:.2f}",
                    f"{found.moved_mm[number]:.1f}",
                    bins.get(number, ""),
                )
            )
        moved = _lattice_shift(grids, axis)
        lines.append((case.name, name, "", "", "", f"{found.lines} lines", f"{moved:.2f}", "all lattices"))
    return lines


def spectrum(
    first: npt.NDArray[np.floating],
    second: npt.NDArray[np.floating],
    grid: ImageGrid,
    axis: int,
    mask: npt.NDArray[np.bool_] | None = None,
) -> Spectrum:
    """Spectra of log det J of two maps along one axis.

    Args:
        first: det J ``(D, H, W)``.
        second: of another map on the same grid.
        grid: of both.
        axis: 0, 1 or 2 for the index axis x, y or z.
        mask: where lines may lie, ``(D, H, W)``; None for everywhere.

    Raises:
        ValueError: if no line lies within the mask.
    """
    spacing, size = grid.spacing[axis], grid.size[axis]
    count = min(round(LENGTH_MM / spacing), size)
    inside = np.ones(grid.shape, dtype=bool) if mask is None else mask
    waves = []
    window = np.hanning(count)
    time = np.arange(count) - (count - 1) / 2
    where = _starts(np.moveaxis(inside, 2 - axis, 0)[:, ::APART, ::APART], count)
    for values in (first, second):
        across = np.moveaxis(np.log(values.clip(min=SMALLEST_DETERMINANT)), 2 - axis, 0)[:, ::APART, ::APART]
        lines = np.array([across[start : start + count, y, x] for start, y, x in where], dtype=np.float64)
        if not len(lines):
            raise ValueError(f"no line of {LENGTH_MM} mm lies within the mask")
        lines -= lines.mean(axis=1, keepdims=True)
        lines -= (lines @ time / (time @ time))[:, None] * time
        waves.append(np.fft.rfft(lines * window)[:, 1:])
    return _compared(waves[0], waves[1], count * spacing)


def _compared(first: Complex, second: Complex, length_mm: float) -> Spectrum:
    power = [(np.abs(waves) ** 2).mean(axis=0) for waves in (first, second)]
    cross = (first * second.conj()).mean(axis=0)
    period = length_mm / np.arange(1, len(cross) + 1)
    return Spectrum(
        period_mm=period,
        power=power[0],
        coherence=np.abs(cross) / np.sqrt(power[0] * power[1]).clip(min=1e-30),
        moved_mm=np.angle(cross) / (2 * np.pi) * period,
        lines=len(first),
    )


def _starts(inside: npt.NDArray[np.bool_], count: int) -> list[tuple[int, int, int]]:
    """First voxel, and place across, of a run of so many voxels in the middle of each line that has one."""
    whole = np.cumsum(np.concatenate([np.zeros((1, *inside.shape[1:]), dtype=int), inside]), axis=0)
    full = whole[count:] - whole[:-count] == count
    found = []
    for y, x in np.argwhere(full.any(axis=0)):
        possible = np.flatnonzero(full[:, y, x])
        found.append((int(possible[len(possible) // 2]), int(y), int(x)))
    return found


def _registered_twice(case: Case, shift_mm: float) -> tuple[RegistrationResult, RegistrationResult]:
    """As loaded, and in a region that begins later along each axis."""
    settings = RegistrationSettings(preset=case.preset, guide_with_segmentations=case.guides, uncertainty=True)
    first = register(RegistrationRequest(pair=case.guiding_pair(), settings=settings))
    assert first.evidence is not None
    region = _beginning_later(case.fixed.grid, first.evidence.grid, shift_mm)
    second = register(RegistrationRequest(pair=case.guiding_pair(), settings=settings, region=region))
    return first, second


def _beginning_later(grid: ImageGrid, worked: ImageGrid, shift_mm: float) -> LabelMap:
    """Voxels of a grid in the box of a working grid without its first millimeters along each axis."""
    array = np.zeros(grid.shape, dtype=np.uint8)
    low = grid.to_index(worked.to_physical((-0.5, -0.5, -0.5))) + 0.5 + np.array([shift_mm]) / grid.spacing
    high = grid.to_index(worked.to_physical(np.array(worked.size) - 0.5)) + 0.5
    x, y, z = (slice(max(round(one), 0), round(two)) for one, two in zip(low.tolist(), high.tolist(), strict=True))
    array[z, y, x] = 1
    return LabelMap(array, grid)


def _periods(case: Case, worked: ImageGrid, axis: int) -> dict[float, str]:
    """Periods of all lattices along an axis, mm, and what they are."""
    preset, spacing = find_preset(case.preset), worked.spacing[axis]
    periods = {spacing: "working grid"}
    periods |= {level.factor * spacing: f"search, {level.factor} voxels" for level in preset.search}
    periods |= {level.factor * spacing: f"refinement, {level.factor} voxels" for level in preset.refinement.levels}
    return periods


def seen_at(period_mm: float, spacing_mm: float) -> float:
    """Period at which voxels show waves: their own, or a longer one (alias) for what is shorter than two voxels."""
    if period_mm >= 2 * spacing_mm:
        return period_mm
    cycles = spacing_mm / period_mm  # in a voxel
    left = abs(cycles - round(cycles))
    return spacing_mm / left if left else np.inf


def _lattice_shift(grids: tuple[ImageGrid, ImageGrid], axis: int) -> float:
    """By how much the second grid's voxels lie beside the first one's along an axis, mm."""
    return float(grids[0].to_index(grids[1].origin)[axis]) * grids[0].spacing[axis]
