"""``python -m training.evaluation benchmark``: our presets and other programs on the same pairs, in one table.

Each run has a process of its own, one after the other, so that seconds and peak memory are its own. Seconds are those
of the registration, scans in memory, without reading, starting Python, or measuring. Ours gets the scans as they are.
Peers get both scans resampled onto one grid that covers both as they were loaded; where these are decimeters apart,
peers get the moving scan through our linear alignment instead. All are measured with our metrics on the fixed scan's
voxels.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
import typer
from DeepLargeDeformRegLib.cohort.pairs import read_pairs
from DeepLargeDeformRegLib.core.errors import RegistrationError
from DeepLargeDeformRegLib.core.files.common import write_text
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import Volume
from DeepLargeDeformRegLib.core.labels import match_labels
from DeepLargeDeformRegLib.core.presets import Preset, find_preset
from DeepLargeDeformRegLib.core.settings import RegistrationSettings
from DeepLargeDeformRegLib.core.tables import comma_separated, markdown
from DeepLargeDeformRegLib.engine import fields, metrics
from DeepLargeDeformRegLib.engine.fields import DisplacementField, as_tensor, warp_labels
from DeepLargeDeformRegLib.engine.registration.pipeline import RegistrationRequest, register
from rich.console import Console
from rich.progress import track

from .cases import DATA, GROUPS, Case, load_cases, own_cases
from .peers import PEERS, deeds
from .tables import print_table

Row = dict[str, Any]
Change = Callable[[Preset], Preset]
OURS = "ours"
COLUMNS = ("case", "method", "tre_mm", "tre_p75_mm", "tre_max_mm", "dice", "fold_percent", "seconds", "memory_mb")

# What an ablation leaves out: settings, and a change of the preset.
VARIANTS: dict[str, tuple[dict[str, Any], Change]] = {
    OURS: ({}, lambda preset: preset),
    "as loaded": ({"refine": False, "model": "none", "prealign": "none"}, lambda preset: preset),
    "pre-alignment alone": ({"refine": False, "model": "none"}, lambda preset: preset),
    "no pre-alignment": ({"prealign": "none"}, lambda preset: preset),
    "no organs": ({"organs": "none"}, lambda preset: preset),
    "no network": ({"model": "none"}, lambda preset: preset),
    "no global search": ({}, lambda preset: replace(preset, search=(), network_search=())),
    "network alone": ({"refine": False}, lambda preset: preset),
    "no volume change": (
        {},
        lambda preset: replace(preset, refinement=replace(preset.refinement, volume_change=0.0)),
    ),
    "mask without sliding": ({}, lambda preset: replace(preset, sliding=False)),
    "NGF for MIND": ({}, lambda preset: replace(preset, refinement=replace(preset.refinement, similarity="ngf"))),
    "local NCC for MIND": (
        {},
        lambda preset: replace(preset, refinement=replace(preset.refinement, similarity="ncc")),
    ),
    "folds not repaired": ({"fold_free": False}, lambda preset: preset),
    "symmetric": ({"symmetric": True}, lambda preset: preset),
}


def main(
    cases: Annotated[str, typer.Option(help=f"Groups of pairs, of: {', '.join(GROUPS)}.")] = "lung,liver-mr,abdomen",
    methods: Annotated[
        str, typer.Option(help=f"Of: {', '.join((OURS, *PEERS))}; ours+MODEL: with it.")
    ] = f"{OURS},convexadam",
    ablation: Annotated[
        bool, typer.Option("--ablation", help="Ours, with one part after the other left out.")
    ] = False,
    deeds_folder: Annotated[Path | None, typer.Option(help="Folder of the program deedsBCV.")] = None,
    data: Annotated[Path, typer.Option(help="Folder of the data.")] = DATA,
    pairs: Annotated[
        Path | None, typer.Option(help="Table of your own pairs instead, as deeplargedeformreg batch takes it.")
    ] = None,
    preset: Annotated[str, typer.Option(help="Of your own pairs that name none.")] = "any",
    spacing: Annotated[float, typer.Option(help="Of the peers' common grid on your own pairs, mm.", min=0.1)] = 2.0,
    most: Annotated[int, typer.Option(help="Most pairs of a group.", min=1)] = 10,
    output: Annotated[Path | None, typer.Option(help="Folder for benchmark.json, .csv and .md.")] = None,
) -> None:
    """Compare registrations on real pairs: accuracy, folds, seconds, peak memory."""
    logging.basicConfig(level=logging.WARNING)
    console = Console(stderr=True)
    try:
        if pairs is None:
            chosen = load_cases(cases.split(","), data, most)
        else:
            chosen = own_cases(read_pairs(pairs), preset, spacing)
    except RegistrationError as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(error.exit_code) from error
    names = list(VARIANTS) if ablation else [name for name in methods.split(",") if _available(name, console)]
    if deeds_folder is not None and not ablation:
        names.append(f"deeds={deeds_folder}")
    runs = [(case, name) for case in chosen for name in names]
    rows: list[Row] = []
    for case, name in track(runs, "Registering", console=console):
        rows.append(_in_own_process(case, name))
        if output is not None:  # after each run: a long comparison that is interrupted leaves what it measured
            output.mkdir(parents=True, exist_ok=True)
            write_text(json.dumps(rows, indent=2) + "\n", output / "benchmark.json")
            write_text(markdown(table(rows), 2), output / "benchmark.md")
            write_text(comma_separated(exact_table(rows)), output / "benchmark.csv")
    title = f"Registration, {torch.get_num_threads()} threads"
    print_table(table(rows), Console(width=160), title, 2, sections=True)


def _available(name: str, console: Console) -> bool:
    if _is_ours(name):
        return True
    if name not in PEERS:
        raise typer.BadParameter(f"There is no method '{name}'; there are {', '.join((OURS, *PEERS))}.")
    missing = PEERS[name].missing
    if missing is not None:
        console.print(missing, style="yellow", markup=False)
    return missing is None


def _in_own_process(case: Case, name: str) -> Row:
    # A fresh process each: peak memory never falls, and a peer's globals and threads stay with the peer.
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return pool.apply(run, (case, name))


def run(case: Case, name: str) -> Row:
    """One method on one case, in this process. A peer that fails, or scans refused, give a row that says so."""
    row: Row = {"case": case.name, "method": name.split("=")[0]}
    try:
        field, seconds = _ours(case, name) if _is_ours(name) else _peer(case, name)
    except Exception as error:
        if _is_ours(name) and not isinstance(error, RegistrationError):
            raise
        return row | {"error": f"{type(error).__name__}: {error}"}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return row | measure(case, field) | {"seconds": seconds, "memory_mb": peak}


def _is_ours(name: str) -> bool:
    return name.partition("+")[0] in VARIANTS


def _ours(case: Case, name: str) -> tuple[DisplacementField, float]:
    variant, _, model = name.partition("+")
    values, change = VARIANTS[variant]
    if model:
        values = values | {"model": model}
    result = register(request_of(case, values, change))
    seconds: Mapping[str, float] = result.metrics.seconds
    return result.field, sum(seconds.values()) - seconds["measure"]


def request_of(
    case: Case, values: Mapping[str, Any] | None = None, change: Change = lambda preset: preset
) -> RegistrationRequest:
    """Our registration of a case, with some settings and the preset changed."""
    settings = RegistrationSettings(preset=case.preset, guide_with_segmentations=case.guides, **(values or {}))
    return RegistrationRequest(pair=case.guiding_pair(), settings=settings, preset=change(find_preset(case.preset)))


def _peer(case: Case, name: str) -> tuple[DisplacementField, float]:
    linear = _linear_alignment(case) if case.align_for_peers else np.eye(4)
    grid = common_grid(case)
    scans = []
    for volume, matrix in ((case.fixed, np.eye(4)), (case.moving, linear)):
        tensor = as_tensor(volume) if case.window is None else as_tensor(volume).clamp(*case.window)
        warped = fields.warp(tensor, volume.grid, fields.from_affine(matrix, grid), fill=float(tensor.min()))
        scans.append(Volume(warped[0, 0].numpy(), grid))
    call = deeds(Path(name.split("=", 1)[1])) if name.startswith("deeds=") else PEERS[name].register
    clock = time.perf_counter()
    field = call(*scans)
    seconds = time.perf_counter() - clock
    return fields.compose_affine(linear, field), seconds


def _linear_alignment(case: Case) -> npt.NDArray[np.float64]:
    settings = RegistrationSettings(
        preset=case.preset, guide_with_segmentations=case.guides, refine=False, model="none"
    )
    return register(RegistrationRequest(pair=case.guiding_pair(), settings=settings)).linear


def common_grid(case: Case) -> ImageGrid:
    """Axis-aligned grid of the case's spacing around both scans, or the fixed one where peers are aligned."""
    grids = [case.fixed.grid] if case.align_for_peers else [case.fixed.grid, case.moving.grid]
    corners = np.concatenate([grid.corners for grid in grids])
    low, high = corners.min(axis=0), corners.max(axis=0)
    size = np.ceil((high - low) / case.spacing_mm).astype(int) + 1
    return ImageGrid.axis_aligned(size.tolist(), (case.spacing_mm,) * 3, low.tolist())


def measure(case: Case, field: DisplacementField) -> Row:
    """Landmark errors (mm), mean Dice of the structures, and folds (%) on the fixed scan's voxels."""
    row: Row = {}
    if case.landmarks is not None:
        errors = metrics.landmark_errors(field, case.landmarks)
        row |= {
            "tre_mm": float(errors.mean()),
            "tre_p75_mm": float(np.percentile(errors, 75)),
            "tre_max_mm": float(errors.max()),
        }
    on_fixed = fields.resample(field, case.fixed.grid)
    if case.fixed_labels is not None and case.moving_labels is not None:
        warped = warp_labels(case.moving_labels, on_fixed, case.fixed_labels.grid)
        overlaps = [
            metrics.dice(case.fixed_labels.array == first, warped.array == second)
            for first, second in match_labels(case.fixed_labels, case.moving_labels)
        ]
        row["dice"] = float(np.mean([value for value in overlaps if value is not None]))
    folded = fields.jacobian_determinant(on_fixed) <= 0
    row["fold_percent"] = 100 * float(folded.to(torch.float64).mean())
    return row


def _cells(row: Row) -> list[str]:
    digits = {
        "tre_mm": 2,
        "tre_p75_mm": 2,
        "tre_max_mm": 2,
        "dice": 3,
        "fold_percent": 4,
        "seconds": 1,
        "memory_mb": 0,
    }
    if "error" in row:
        return [row["case"], f"{row['method']}: {row['error']}", *[""] * (len(COLUMNS) - 2)]
    cells = [str(row["case"]), str(row["method"])]
    return cells + ["" if row.get(key) is None else f"{row[key]:.{digits[key]}f}" for key in COLUMNS[2:]]


def table(rows: list[Row]) -> list[list[str]]:
    """The table for people, rounded, its heading first."""
    return [list(COLUMNS), *map(_cells, rows)]


def exact_table(rows: list[Row]) -> list[list[Any]]:
    """The table with all digits and the errors, its heading first."""
    columns = (*COLUMNS, "error")
    return [list(columns), *([row.get(key) for key in columns] for row in rows)]
