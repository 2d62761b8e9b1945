"""Publish an organ network: ``python -m training.organs.publish abdomen-ct-organs``: half-precision weights and card.

The card's figures are those of :mod:`.evaluate`, measured here: of the leave-one-out runs where they are there.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

from DeepLargeDeformRegLib.engine.anatomy.model import FOLDER, SegmentationCard, save_segmentation
from DeepLargeDeformRegLib.engine.models.card import Figure
from safetensors.torch import load_file

from .config import OrganConfig, load_config
from .evaluate import card_of, measure
from .train import ROOT, folder_of, make_network

MODELS = ROOT / "DeepLargeDeformReg" / "DeepLargeDeformRegLib" / "resources" / "models" / FOLDER
_COMMAND = "python -m training.organs.{} {}"


def publish(config: OrganConfig, runs: Path, folder: Path, phase: str = "") -> SegmentationCard:
    """Write weights and card of a finished run, with its measured figures.

    Args:
        config: the run.
        runs: folder of all runs.
        folder: of the model.
        phase: whose weights; the last one's by default.
    """
    network = make_network(config)
    network.load_state_dict(load_file(folder_of(runs, config, "") / f"{phase or config.phases[-1].name}.safetensors"))
    figures = tuple(
        Figure(
            measure=f"Dice, {row['structure']}",
            value=float(row["dice"]),
            data=f"{row['scan']} ({row['weights']})",
            source=_COMMAND.format("evaluate", config.name),
        )
        for row in measure(config, runs)
        if row["weights"] != "thresholds"
    )
    card = replace(card_of(config), training_command=_COMMAND.format("train", config.name), figures=figures)
    return save_segmentation(network, card, folder)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="name in training/configs/organs, or a YAML file")
    parser.add_argument("--runs", type=Path, default=Path("runs/organs"), help="folder of the runs")
    parser.add_argument("--models", type=Path, default=MODELS, help="folder for weights and card")
    parser.add_argument("--phase", default="", help="whose weights, for measuring; the last one's by default")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    card = publish(load_config(arguments.config), arguments.runs, arguments.models, arguments.phase)
    logging.getLogger(__name__).info("%s: %s", card.name, card.weights_file)


if __name__ == "__main__":
    main()
