"""Dice of an organ network per structure, leave-one-out: ``python -m training.organs.evaluate abdomen-ct-organs``.

For each scan with labels the weights of the run without that scan are used if they are there, else those of the last
phase that had not seen it; a row says which.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from DeepLargeDeformRegLib.core.files import read_label_map, read_volume
from DeepLargeDeformRegLib.core.images import Label
from DeepLargeDeformRegLib.engine.anatomy.lungs import find_lungs
from DeepLargeDeformRegLib.engine.anatomy.model import SegmentationCard, SegmentationModel
from DeepLargeDeformRegLib.engine.anatomy.organs import find_organs
from safetensors.torch import load_file

from .config import OrganConfig, ScanEntry, load_config
from .structures import CLASS, ORGANS, organ_of, structure_names
from .train import ROOT, folder_of, make_network

_log = logging.getLogger(__name__)
COLUMNS = ("scan", "weights", "structure", "dice", "confidence", "seconds")


def model_of(config: OrganConfig, weights: Path) -> SegmentationModel:
    """A trained network with a card that is not published."""
    network = make_network(config)
    network.load_state_dict(load_file(weights))
    return SegmentationModel(card_of(config), network)


def card_of(config: OrganConfig) -> SegmentationCard:
    """The card of a configuration, before its weights have a file and figures."""
    return SegmentationCard(
        name=config.name,
        title=config.title,
        filters=config.filters,
        channels=config.channels,
        spacing_mm=config.spacing_mm,
        labels=tuple(Label(value=index + 1, name=name) for index, name in enumerate(ORGANS)),
        weights_file="",
        weights_sha256="",
        purpose=config.purpose,
        license=config.license,
        citation=config.citation,
        training_data=config.training_data,
    )


def measure(config: OrganConfig, runs: Path) -> Iterator[dict[str, str | float]]:
    """A row for each structure that a scan's label map has."""
    for entry in config.scans:
        if entry.known:
            weights, said = _weights_for(config, runs, Path(entry.folder).name)
            yield from _of_scan(entry, model_of(config, weights), said)


def _weights_for(config: OrganConfig, runs: Path, scan: str) -> tuple[Path, str]:
    """The best weights that never saw a scan, and what to say of them; those of the whole run if there are none."""
    last = f"{config.phases[-1].name}.safetensors"
    left_out = folder_of(runs, config, scan) / last
    if left_out.is_file():
        return left_out, "never saw this scan"
    run = folder_of(runs, config, "")
    unseen = list(itertools.takewhile(lambda phase: phase.only and scan not in phase.only, config.phases))
    for phase in reversed(unseen):
        if (run / f"{phase.name}.safetensors").is_file():
            return run / f"{phase.name}.safetensors", f"phase {phase.name}, which never saw this scan"
    return run / last, "trained on this scan"


def _of_scan(entry: ScanEntry, model: SegmentationModel, said: str) -> Iterator[dict[str, str | float]]:
    folder = ROOT / entry.folder
    scan = read_volume(folder / "image.nii.gz")
    truth = read_label_map(folder / "labels.nii.gz", scan.grid).array
    names = structure_names(folder / "meta.json")
    classes = np.zeros(truth.shape, np.uint8)
    for value, structure in names.items():
        classes[truth == value] = organ_of(structure)
    clock = time.perf_counter()
    found = find_organs(scan, model)
    seconds = time.perf_counter() - clock
    values = np.zeros(truth.shape, np.int16) if found is None else found.label_map(scan.grid).array
    for organ in entry.known:
        confidence = 0.0 if found is None else found.confidence[CLASS[organ] - 1]
        score = dice(classes == CLASS[organ], values == CLASS[organ])
        yield _row(entry, said, organ, score, confidence, seconds)
    if "lungs" in entry.known and scan.grid.is_axis_aligned:
        clock = time.perf_counter()
        lungs = find_lungs(scan.array, scan.grid) > 0
        score = dice(classes == CLASS["lungs"], lungs)
        yield _row(entry, "thresholds", "lungs", score, 1.0, time.perf_counter() - clock)


def _row(
    entry: ScanEntry, said: str, structure: str, score: float, confidence: float, seconds: float
) -> dict[str, str | float]:
    values = (Path(entry.folder).name, said, structure, round(score, 3), round(confidence, 2), round(seconds, 1))
    return dict(zip(COLUMNS, values, strict=True))


def dice(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    """Dice overlap of two masks."""
    return float(2 * (first & second).sum() / max(int(first.sum()) + int(second.sum()), 1))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="name in training/configs/organs, or a YAML file")
    parser.add_argument("--runs", type=Path, default=Path("runs/organs"), help="folder of the runs")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    writer = csv.DictWriter(sys.stdout, COLUMNS)
    writer.writeheader()
    for row in measure(load_config(arguments.config), arguments.runs):
        writer.writerow(row)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
