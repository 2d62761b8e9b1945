"""``python -m training.release figures MODEL``: the figures of a model's card, on pairs that it has not seen.

By the network alone: no refinement, no pre-alignment but the one of the configuration. Everything is measured on the
fixed scan's own voxels, labels warped by nearest neighbor, as the Learn2Reg challenge does.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean, pstdev
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
import typer
from DeepLargeDeformRegLib.core.errors import BadInputError, RegistrationError
from DeepLargeDeformRegLib.core.files.common import write_text
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import LabelMap, Volume
from DeepLargeDeformRegLib.engine import fields, metrics
from DeepLargeDeformRegLib.engine.device import describe_device
from DeepLargeDeformRegLib.engine.fields import DisplacementField, as_tensor
from DeepLargeDeformRegLib.engine.models import Figure, ModelCard, RegistrationModel, load_model
from DeepLargeDeformRegLib.resources import MODELS
from rich.console import Console
from rich.progress import track

from ..config import Config, GridConfig, find_config, load_config, smaller
from ..data import Pair, Subject
from ..pairs.phantom import phantom_pair
from ..pairs.samples import grid_around
from ..pairs.sources import center_of, grid_of, open_training_data, pairs_of

Case = dict[str, float]

# measure, name in a case, name before registration, unit
_ROWS = (
    ("Dice, mean of structures", "dice", "dice_before", ""),
    ("HD95, mean of structures", "hd95_mm", "hd95_before_mm", "mm"),
    ("TRE, mean of landmarks", "tre_mm", "tre_before_mm", "mm"),
    ("folds (det J <= 0)", "fold_percent", "", "%"),
    ("SDlogJ (log det J over det J > 0)", "sdlogj", "", ""),
    ("SDlogJ of Learn2Reg", "sdlogj_learn2reg", "", ""),
)


def main(
    model: Annotated[str, typer.Argument(help="Name of a model.")],
    config: Annotated[Path, typer.Option(help="Configuration whose data set, labels and alignment are used.")],
    output: Annotated[Path, typer.Option(help="JSON file, for training.release publish --figures.")],
    pairs: Annotated[
        str,
        typer.Option(help="CSV of pairs (fixed, moving) that training has not seen; the configuration's by default."),
    ] = "",
    description: Annotated[str, typer.Option(help="What the pairs are, for the card.")] = "",
    models: Annotated[Path, typer.Option(help="Folder of models.")] = MODELS,
    threads: Annotated[int | None, typer.Option(help="Threads of the processor; all by default.")] = None,
    passes: Annotated[int | None, typer.Option(min=1, help="Passes of the network; the card's by default.")] = None,
    smoke: Annotated[bool, typer.Option(help="On a small made-up pair, for tests; needs no data.")] = False,
) -> None:
    """Measure a model: Dice, HD95, TRE, folds, both SDlogJ; means over pairs."""
    console = Console(stderr=True)
    if threads:
        torch.set_num_threads(threads)
    try:
        settings = load_config(find_config(config))
        if smoke:
            settings, description = smaller(settings), "a small made-up pair"
            chosen = [phantom_pair(settings)]
        else:
            settings, chosen, description = measured_on(settings, pairs, description)
        network = load_model(model, "cuda" if torch.cuda.is_available() else "cpu", [models])
        network.network.passes = passes or network.network.passes
        if torch.cuda.is_available():  # whose first use takes longer; its time is not counted
            measure_pair(network, chosen[0], settings)
        cases = [measure_pair(network, pair, settings) for pair in track(chosen, "Measuring", console=console)]
        command = shlex.join(["python", "-m", "training.release", *sys.argv[1:]])
        machine = describe_device(network.device)
        figures = [asdict(figure) for figure in figures_of(cases, description, command, machine)]
        means = means_of(cases)
        content = {"figures": figures, "means": means, "cases": cases}
        write_text(json.dumps(content, indent=1) + "\n", output)
    except RegistrationError as error:
        console.print(f"[bold red]{error.message}[/]", highlight=False)
        raise typer.Exit(error.exit_code) from error
    for name, value in means.items():
        console.print(f"{name:20} {value:.5f}")


def measured_on(config: Config, pairs: str = "", description: str = "") -> tuple[Config, list[Pair], str]:
    """The configuration with the data set of its test pairs, these, and what they are; their scans are not read yet.

    Raises:
        BadInputError: if it names none and none are given, they have no description, or are not there.
    """
    if not pairs:
        if config.measure is None:
            raise BadInputError(f"{config.name} names no pairs to measure on; give --pairs and --description.")
        data = config.measure.data or config.data
        pairs, description = config.measure.pairs, config.measure.description
        config = replace(config, data=data)
    elif not description:
        raise BadInputError("--pairs needs --description: what the pairs are, for the card.")
    return config, pairs_of(pairs, open_training_data(config)), description


def measure_pair(model: RegistrationModel, pair: Pair, config: Config) -> Case:
    """All figures of one pair.

    Args:
        model: the network and its card.
        pair: with label maps, landmarks or both.
        config: its data section says which labels count and how the scans are laid upon each other.
    """
    fixed_labels, moving_labels = pair.fixed.labels(), pair.moving.labels()
    before, after, seconds = predict_pair(model, pair, config)
    case = {"seconds": seconds}
    statistics = metrics.jacobian_statistics(fields.jacobian_determinant(after)[0, 0].numpy())
    case |= {name: getattr(statistics, name) or 0.0 for name in ("fold_percent", "sdlogj", "sdlogj_learn2reg")}
    landmarks = pair.landmarks()
    for when, field in (("_before", before), ("", after)):
        if fixed_labels is not None and moving_labels is not None:
            case |= _overlap(fixed_labels, moving_labels, field, config, when)
        if landmarks is not None:
            case[f"tre{when}_mm"] = float(metrics.landmark_errors(field, landmarks).mean())
    return case


def predict_pair(
    model: RegistrationModel, pair: Pair, config: Config
) -> tuple[DisplacementField, DisplacementField, float]:
    """One pass of a network, aligned as the configuration says.

    The alignment, the whole map, and the network's seconds. Both maps are on the fixed scan's grid, mm.

    Raises:
        RegistrationError: if the network gives no numbers.
    """
    fixed, moving = pair.fixed.image(), pair.moving.image()
    config = replace(config, grid=_grid_of(model.card, config))
    grids = [_grid_around(subject, config) for subject in (pair.fixed, pair.moving)]
    if config.data.align == "loaded":
        grids[1] = grids[0]
    linear = _between(*grids)
    predicted, seconds = _predict(model, (fixed, moving), grids, grid_around((0.0, 0.0, 0.0), config.grid))
    if not bool(predicted.displacement.isfinite().all()):
        raise RegistrationError(f"{model.card.name} gives no numbers for {pair.fixed.name}, {pair.moving.name}.")
    before = fields.from_affine(linear, fixed.grid)
    return before, fields.compose_affine(linear, fields.resample(predicted, fixed.grid)), seconds


def _grid_around(subject: Subject, config: Config) -> ImageGrid:
    """The network's grid as it lies around a scan, stretched where ``align`` is ``boxes``."""
    volume, labels, mask = subject.image(), subject.labels(), subject.mask()
    return grid_around(center_of(volume, labels, mask, config), grid_of(subject.name, labels, mask, config))


def _between(fixed: ImageGrid, moving: ImageGrid) -> npt.NDArray[np.float64]:
    """The linear map, homogeneous (4, 4), LPS mm, that takes each voxel of one axis-aligned grid to the other's."""
    matrix = np.diag([*np.divide(moving.spacing, fixed.spacing), 1.0])
    matrix[:3, 3] = np.subtract(moving.origin, np.multiply(np.diag(matrix)[:3], fixed.origin))
    return matrix


def _predict(
    model: RegistrationModel, scans: tuple[Volume, Volume], grids: Sequence[ImageGrid], common: ImageGrid
) -> tuple[DisplacementField, float]:
    """The network's displacement (mm) on the fixed scan's grid, and its seconds.

    Args:
        model: the network and its card.
        scans: fixed and moving.
        grids: the network's grid around each of them.
        common: of the same size with the spacing that the network knows.
    """
    outside = model.card.outside
    inputs = [
        fields.warp(as_tensor(scan), scan.grid, fields.identity(grid), fill=outside)
        for scan, grid in zip(scans, grids, strict=True)
    ]
    start = time.perf_counter()
    predicted = model.predict(inputs[0], inputs[1], common).to("cpu")
    seconds = time.perf_counter() - start
    stretched = torch.tensor(np.divide(grids[0].spacing, common.spacing), dtype=torch.float32).reshape(1, 3, 1, 1, 1)
    return DisplacementField(predicted.displacement * stretched, grids[0]), seconds


def _grid_of(card: ModelCard, config: Config) -> GridConfig:
    """The grid on which the network was trained, if the card knows it."""
    size = card.minimum_size if card.minimum_size == card.maximum_size else config.grid.size
    return replace(config.grid, size=size, spacing_mm=card.spacing_mm)


def _overlap(fixed: LabelMap, moving: LabelMap, field: DisplacementField, config: Config, when: str) -> Case:
    """Means over the structures that both scans have; one that vanished has Dice 0 and no distance."""
    values = torch.from_numpy(moving.array.astype(np.float32))[None, None]
    warped = fields.warp(values, moving.grid, field, mode="nearest")[0, 0].numpy()
    overlaps, distances = [], []
    for value in config.data.labels:
        first, second = fixed.array == value, warped == value
        if not (first.any() and (moving.array == value).any()):
            continue
        overlaps.append(metrics.dice(first, second) or 0.0)
        surfaces = metrics.surface_distances(first, second, fixed.grid)
        distances += [] if surfaces is None else [surfaces.hausdorff95]
    case = {f"dice{when}": fmean(overlaps)} if overlaps else {}
    return case | ({f"hd95{when}_mm": fmean(distances)} if distances else {})


def means_of(cases: list[Case]) -> Case:
    """Means over the cases that have a figure, the deviation of Dice, and Dice30: the mean of the lowest 30 %."""
    names = dict.fromkeys(name for case in cases for name in case)
    means = {name: fmean(case[name] for case in cases if name in case) for name in names}
    overlaps = [case["dice"] for case in cases if "dice" in case]
    lowest = metrics.dice30(overlaps)
    if lowest is not None:
        means |= {"dice_std": pstdev(overlaps), "dice30": lowest}
    return means


def figures_of(cases: list[Case], data: str, command: str, machine: str) -> list[Figure]:
    """The card's figures; the time with the machine that took it, as it is that one's as much as the model's."""
    means = means_of(cases)
    figures = []
    for measure, name, before, unit in _ROWS:
        if name in means:
            value_before: Any = round(means[before], 4) if before else None
            figures.append(
                Figure(
                    measure=measure,
                    value=round(means[name], 4),
                    data=data,
                    before=value_before,
                    unit=unit,
                    source=command,
                )
            )
    figures.append(
        Figure(
            measure="time of the network",
            value=round(means["seconds"], 3),
            data=f"a pair, {machine}",
            before=None,
            unit="s",
            source=command,
        )
    )
    return figures
