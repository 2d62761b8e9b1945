"""``python -m training.release publish RUN``: from a checkpoint to a model with its card."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from DeepLargeDeformRegLib.core.errors import BadInputError, ModelMissingError, RegistrationError
from DeepLargeDeformRegLib.core.images import Label
from DeepLargeDeformRegLib.engine import networks
from DeepLargeDeformRegLib.engine.models import Figure, ModelCard, find_model, save_model
from DeepLargeDeformRegLib.resources import MODELS
from rich.console import Console

from ..config import Config, find_config, load_config
from ..loop.checkpoint import Checkpoint, Progress, load_checkpoint, mean_over_phases
from ..schema import build

LARGEST_MB = 20
_log = logging.getLogger("training")


def main(
    run: Annotated[Path, typer.Argument(help="Folder of a run, or of one of its checkpoints.")],
    figures: Annotated[
        list[Path] | None,
        typer.Option(help="Measured figures; a JSON file of training.release figures, or several."),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder of models.")] = MODELS,
    name: Annotated[str | None, typer.Option(help="Name of the model; the configuration's by default.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Configuration whose card texts, mean_of_phases and stored_bits replace the run's."),
    ] = None,
) -> None:
    """Publish the moving average of a run's weights: safetensors, and a card with figures, checksum and command."""
    console = Console(stderr=True)
    try:
        card = publish(run, figures or [], output, name, None if config is None else load_config(find_config(config)))
    except RegistrationError as error:
        console.print(f"[bold red]{error.message}[/]", highlight=False)
        raise typer.Exit(error.exit_code) from error
    console.print(f"Published {card.name}: {card.weights_file}, {len(card.figures)} figures")
    if not card.figures:
        console.print("[yellow]The card has no figures: measure the model and publish it again with --figures.[/]")
    if output.resolve() == MODELS.resolve():
        console.print("To ship it, list its files: python -m Testing.packaging.file_lists --write")


def publish(
    run: Path, figures: list[Path], output: Path, name: str | None = None, newer: Config | None = None
) -> ModelCard:
    """Write a run's averaged weights and their card into a folder of models.

    Args:
        run: folder of a run or checkpoint.
        figures: JSON files with measured figures, see :func:`read_figures`.
        output: folder of models; weights of an older card of the same name are removed from it.
        name: of the model.
        newer: configuration whose card texts, passes, mean_of_phases and stored_bits replace those of the run's
            beginning.

    Raises:
        BadInputError: if there is no checkpoint, the newer configuration is of another network, figures cannot be
            read, or the weights are too large to ship.
        OutputError: if the folder cannot be written.
    """
    checkpoint = load_checkpoint(run)
    config = build(Config, checkpoint.config)
    if newer is not None:
        if (newer.network.of_one_pass(), newer.channels) != (config.network.of_one_pass(), config.channels):
            raise BadInputError(f"{newer.name} describes another network than the run {config.name} trained.")
        # A smoke run starts from fresh weights, so it may have one less to take in.
        count = min(newer.mean_of_phases, len(config.phases_like_the_last()) + bool(config.training.start))
        config = replace(
            config, card=newer.card, network=newer.network, mean_of_phases=count, stored_bits=newer.stored_bits
        )
    size = sum(tensor.numel() * config.stored_bits / 8 for tensor in checkpoint.average.values()) / 2**20
    if size > LARGEST_MB:
        raise BadInputError(f"The weights take {size:.0f} MB; models that ship must not take more than {LARGEST_MB}.")
    network = config.make_network()
    alike = config.phases_like_the_last()
    start = config.training.start if config.mean_of_phases > len(alike) else ""
    network.load_state_dict(mean_over_phases(checkpoint, alike[-config.mean_of_phases :], start))
    card = make_card(config, checkpoint, tuple(f for path in figures for f in read_figures(path)), name)
    old = _old_weights(card.name, output)
    written = save_model(network.eval(), card, output, config.stored_bits)
    if old is not None and old.name != written.weights_file:
        old.unlink(missing_ok=True)
    return written


def make_card(config: Config, checkpoint: Checkpoint, figures: tuple[Figure, ...], name: str | None) -> ModelCard:
    """The card of a checkpoint; weights file and checksum are filled in when it is saved."""
    # All arguments, also those that are the network's own today: a later version may have others.
    arguments = networks.describe(config.network.name, **config.network.arguments)["arguments"]
    pairs = zip(config.data.labels, config.data.label_names, strict=True)
    texts = config.card
    return ModelCard(
        name=name or config.name,
        title=texts.title,
        network=config.network.name,
        arguments=arguments,
        channels=config.channels,
        spacing_mm=config.grid.spacing_mm,
        weights_file="unsaved.safetensors",
        weights_sha256="0" * 64,
        modality=texts.modality,
        anatomy=texts.anatomy,
        purpose=texts.purpose,
        license=texts.license,
        citation=texts.citation,
        outside=config.grid.outside,
        # Networks that predict shares of the image's extent are at home on the grid that they were trained on.
        minimum_size=config.grid.size,
        maximum_size=config.grid.size,
        labels=tuple(Label(value=value, name=text) for value, text in pairs),
        training_data=texts.training_data,
        training_command=describe_training(checkpoint.progress, config.training.start),
        figures=figures,
    )


def describe_training(progress: Progress, start: str = "") -> str:
    """The commands of a run, what they came to, whether it reached its end, and the weights it started from."""
    commands = " && ".join(progress.commands) or "unknown command"
    end = "" if progress.finished else f" of {sum(progress.steps)}"
    machine = f" on {progress.machine}" if progress.machine else ""
    origin = f", from the weights {Path(start).name}" if start else ""
    return f"{commands} ({progress.step}{end} steps in {progress.seconds / 60:.0f} minutes{machine}{origin})"


def read_figures(path: Path) -> list[Figure]:
    """Figures of a JSON file: a list of them, or an object that has one under ``figures``.

    Raises:
        BadInputError: if the file holds no such list.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInputError(f"The figures in {path.name} cannot be read.", str(error)) from error
    rows = content.get("figures") if isinstance(content, dict) else content
    if not isinstance(rows, list) or not rows:
        raise BadInputError(f"{path.name} has no list of figures; make it with training.release figures.")
    return [build(Figure, row, f"{path.name}[{number}]") for number, row in enumerate(rows)]


def _old_weights(name: str, folder: Path) -> Path | None:
    try:
        return folder / find_model(name, [folder]).weights_file
    except ModelMissingError:
        return None
