"""Where models lie, and how they are found, verified, loaded and saved."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ... import resources
from ...core.errors import ModelInvalidError, ModelMissingError, OutputError
from ...core.sentences import marked as _
from ..networks import RegistrationNetwork, build
from .card import ModelCard
from .packing import packed, unpacked
from .registration import RegistrationModel

MODELS_VARIABLE = "DEEPLARGEDEFORMREG_MODELS"
"""Environment variable with further folders of models, separated as in PATH; they come before the shipped ones."""

_log = logging.getLogger(__name__)


def model_folders() -> tuple[Path, ...]:
    """Folders in which models are looked for, first come first served."""
    extra = [Path(name) for name in os.environ.get(MODELS_VARIABLE, "").split(os.pathsep) if name]
    return (*extra, resources.MODELS)


def list_models(folders: Sequence[Path] | None = None) -> list[ModelCard]:
    """Cards of all models, sorted by name. A card that cannot be read is logged and left out.

    Args:
        folders: where to look; :func:`model_folders` by default.
    """
    cards: dict[str, ModelCard] = {}
    for path in _card_files(folders):
        try:
            card = _read_card(path)
        except ModelInvalidError as error:
            _log.warning("model %s is left out: %s", path.stem, error.message)
        else:
            cards.setdefault(card.name, card)
    return [cards[name] for name in sorted(cards)]


def find_model(name: str, folders: Sequence[Path] | None = None) -> ModelCard:
    """Card of one model.

    Raises:
        ModelMissingError: if there is none of that name; the message lists those that there are.
        ModelInvalidError: if its card cannot be used.
    """
    return _read_card(_find_file(name, folders))


def load_model(
    model: ModelCard | str, device: torch.device | str = "cpu", folders: Sequence[Path] | None = None
) -> RegistrationModel:
    """Rebuild a trained network from its card and verified weights.

    Args:
        model: a card, or the name of one.
        device: where the network shall run.
        folders: where to look; :func:`model_folders` by default.

    Raises:
        ModelMissingError: if the card or the weights file is not there.
        ModelInvalidError: if the card cannot be used, the weights' checksum is not the card's, or the weights are not
            those of the network.
    """
    name = model if isinstance(model, str) else model.name
    path = _find_file(name, folders)
    card = _read_card(path) if isinstance(model, str) else model
    network = _build(card)
    _load_weights(network, path.with_name(card.weights_file), card)
    return RegistrationModel(card, network.eval().to(device))


def save_model(network: RegistrationNetwork, card: ModelCard, folder: Path, bits: int = 32) -> ModelCard:
    """Write weights and card so that :func:`load_model` finds them; either both appear or neither replaces anything.

    Args:
        network: the trained network.
        card: its card; ``weights_file`` and ``weights_sha256`` are filled in here.
        folder: made if it does not exist.
        bits: a number of the kernels takes; see :mod:`.packing`.

    Returns:
        The card as written.

    Raises:
        ModelInvalidError: if the network is not what the card describes.
        OutputError: if the folder cannot be written.
    """
    state = network.state_dict()
    expected = _build(card).state_dict()
    if {k: v.shape for k, v in expected.items()} != {k: v.shape for k, v in state.items()}:
        raise ModelInvalidError(
            _("The network is not the one that the card {card} describes ({network} with its arguments).").format(
                card=repr(card.name), network=card.network
            )
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as scratch:
            weights = Path(scratch) / "weights.safetensors"
            save_file(packed(state, bits), weights)
            checksum = _sha256(weights)
            # The checksum in the file name lets new weights stand beside old ones until the card switches over.
            written = replace(card, weights_file=f"{card.name}-{checksum[:8]}.safetensors", weights_sha256=checksum)
            text = Path(scratch) / "card.json"
            text.write_text(written.to_json(), encoding="utf-8")
            weights.replace(folder / written.weights_file)
            text.replace(folder / f"{card.name}.json")
    except OSError as error:
        raise OutputError(
            _("The model {card} could not be saved; check that the folder is writable and the disk not full.").format(
                card=repr(card.name)
            ),
            str(error),
        ) from error
    return written


def _card_files(folders: Sequence[Path] | None) -> Iterable[Path]:
    for folder in model_folders() if folders is None else folders:
        if folder.is_dir():
            yield from sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))


def _find_file(name: str, folders: Sequence[Path] | None) -> Path:
    files = list(_card_files(folders))
    for path in files:
        if path.stem == name:
            return path
    available = ", ".join(dict.fromkeys(path.stem for path in files)) or "none"
    raise ModelMissingError(
        _("There is no model {name}. The installed models are: {available}.").format(
            name=repr(name), available=available
        )
    )


def _read_card(path: Path) -> ModelCard:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelInvalidError(
            _("The card of the model {stem} cannot be read.").format(stem=repr(path.stem)), str(error)
        ) from error
    card = ModelCard.from_json(text)
    if card.name != path.stem:
        raise ModelInvalidError(
            _("The card {file} calls its model {card}; file and name must agree.").format(
                file=path.name, card=repr(card.name)
            )
        )
    return card


def _build(card: ModelCard) -> RegistrationNetwork:
    arguments: dict[str, Any] = dict(card.arguments)
    try:
        network = build(card.network, **arguments)
    except (ValueError, TypeError) as error:
        raise ModelInvalidError(
            _("The network of the model {card} cannot be built: {error}.").format(card=repr(card.name), error=error)
        ) from error
    if network.channels != len(card.channels):
        raise ModelInvalidError(
            _("The model {card} describes {count} input channels, its network has {channels}.").format(
                card=repr(card.name), count=len(card.channels), channels=network.channels
            )
        )
    return network


def _load_weights(network: RegistrationNetwork, path: Path, card: ModelCard) -> None:
    if not path.is_file():
        raise ModelMissingError(
            _("The weights {file} of the model {card} are missing; install the model again.").format(
                file=path.name, card=repr(card.name)
            )
        )
    if _sha256(path) != card.weights_sha256:
        raise ModelInvalidError(
            _(
                "The weights of the model {card} are damaged or not its own (the SHA-256 checksum is not the "
                "card's); install the model again."
            ).format(card=repr(card.name))
        )
    try:
        state = unpacked(load_file(path))
    except SafetensorError as error:
        raise ModelInvalidError(
            _("The weights of the model {card} cannot be read.").format(card=repr(card.name)), str(error)
        ) from error
    expected = network.state_dict()
    missing, unexpected = sorted(set(expected) - set(state)), sorted(set(state) - set(expected))
    misshapen = sorted(key for key in set(state) & set(expected) if state[key].shape != expected[key].shape)
    for what, keys in (
        (_("lack"), missing),
        (_("have too many"), unexpected),
        (_("have other shapes of"), misshapen),
    ):
        if keys:
            raise ModelInvalidError(
                _(
                    "The weights of the model {card} do not fit its network {network}: they {what} {count} of "
                    "its tensors, among them {keys}."
                ).format(card=repr(card.name), network=repr(card.network), what=what, count=len(keys), keys=keys[0]),
                ", ".join(keys),
            )
    network.load_state_dict(state)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
