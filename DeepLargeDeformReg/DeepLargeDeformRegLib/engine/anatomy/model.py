"""A segmentation network with its card: a kind of model of its own beside those that register."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...core.errors import ModelInvalidError, ModelMissingError
from ...core.geometry import ImageGrid
from ...core.images import Label
from ...core.sentences import marked as _
from ..models.card import Channel, Figure
from ..models.catalog import model_folders
from ..networks.segmentation import SegmentationNetwork

KIND = "segmentation"
FOLDER = "segmentation"
"""Within the folders of models: registration models are listed to the user, these are not."""


@dataclass(frozen=True, kw_only=True)
class SegmentationCard:
    """A trained segmentation model.

    Args:
        name: unique short name; also the name of its files.
        title: one line for people.
        filters: of :class:`..networks.segmentation.SegmentationNetwork`.
        channels: the input channels, in order.
        spacing_mm: of the input; probabilities have twice that.
        labels: structures, values 1, 2, ...
        weights_file: file name of the safetensors file beside the card.
        weights_sha256: its checksum.
        purpose: what to use the model for, and what not.
        license: of the weights.
        citation: what to cite.
        outside: intensity that stands for "outside of the scan".
        training_data: one line per data set that the weights saw.
        training_command: the command that made the weights.
        figures: measured figures.
        kind: tells this card from those of registration models.
        format_version: of the card.
    """

    name: str
    title: str
    filters: tuple[int, ...]
    channels: tuple[Channel, ...]
    spacing_mm: float
    labels: tuple[Label, ...]
    weights_file: str
    weights_sha256: str
    purpose: str
    license: str
    citation: str
    outside: float = -1000.0
    training_data: tuple[str, ...] = ()
    training_command: str = ""
    figures: tuple[Figure, ...] = ()
    kind: str = KIND
    format_version: int = 1

    def to_json(self) -> str:
        """The card as JSON text; :meth:`from_json` reads it back."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> SegmentationCard:
        """Read a card.

        Raises:
            ModelInvalidError: if it is damaged or of another kind.
        """
        try:
            data: Mapping[str, Any] = json.loads(text)
            if data["kind"] != KIND or set(data) - {entry.name for entry in dataclasses.fields(cls)}:
                raise ValueError("it is of another kind or of a newer version")
            values = dict(data)
            values["channels"] = tuple(Channel(**one) for one in data["channels"])
            values["labels"] = tuple(Label(**{**one, "color": _color(one)}) for one in data["labels"])
            values["figures"] = tuple(Figure(**one) for one in data.get("figures", ()))
            for key in ("filters", "training_data"):
                values[key] = tuple(values.get(key, ()))
            return cls(**values)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ModelInvalidError(
                _("The card of a segmentation model cannot be used; reinstall the extension."), str(error)
            ) from error


def _color(label: Mapping[str, Any]) -> tuple[float, float, float] | None:
    color = label.get("color")
    return None if color is None else (float(color[0]), float(color[1]), float(color[2]))


class SegmentationModel:
    """A segmentation network, ready to run."""

    def __init__(self, card: SegmentationCard, network: SegmentationNetwork) -> None:
        self.card = card
        self.network = network.eval().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def grid_for(self, scan: ImageGrid) -> ImageGrid:
        """Axis-aligned grid around a scan, at the card's spacing, of a size that the network takes."""
        low, high = scan.corners.min(axis=0), scan.corners.max(axis=0)
        spacing, multiple = self.card.spacing_mm, self.network.size_multiple
        size = np.ceil(((high - low) / spacing + 1) / multiple).astype(int) * multiple
        size = np.maximum(size, 2 * multiple)  # instance norm needs more than one cell at the lowest resolution
        origin = (low + high) / 2 - (size - 1) / 2 * spacing
        return ImageGrid.axis_aligned(size.tolist(), (spacing,) * 3, origin.tolist())

    @torch.inference_mode()
    def probabilities(self, image: Tensor) -> Tensor:
        """HU ``(1, 1, D, H, W)`` -> class probabilities ``(1, K, D / 2, H / 2, W / 2)``, float32, on the CPU."""
        device = next(self.network.parameters()).device
        inputs = torch.cat([channel.apply(image.to(device)) for channel in self.card.channels], dim=1)
        logits = self.network(inputs.contiguous(memory_format=torch.channels_last_3d))
        return logits.float().softmax(dim=1).cpu()


def save_segmentation(network: SegmentationNetwork, card: SegmentationCard, folder: Path) -> SegmentationCard:
    """Write weights in half precision, and the card with their checksum.

    Returns:
        The card as written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().half().cpu().contiguous() for name, value in network.state_dict().items()}
    scratch = folder / f".{card.name}.saving"
    save_file(state, scratch)
    digest = hashlib.sha256(scratch.read_bytes()).hexdigest()
    values = {**{entry.name: getattr(card, entry.name) for entry in dataclasses.fields(card)}}
    values |= {"weights_file": f"{card.name}-{digest[:8]}.safetensors", "weights_sha256": digest}
    written = SegmentationCard(**values)
    scratch.replace(folder / written.weights_file)
    (folder / f"{card.name}.json").write_text(written.to_json(), encoding="utf-8")
    return written


def load_segmentation(name: str) -> SegmentationModel:
    """Rebuild a trained segmentation network from its card and verified weights.

    Raises:
        ModelMissingError: if the card or the weights file is not there.
        ModelInvalidError: if the card cannot be used or the weights are not those of the card.
    """
    for folder in (place / FOLDER for place in model_folders()):
        path = folder / f"{name}.json"
        if path.is_file():
            card = SegmentationCard.from_json(path.read_text(encoding="utf-8"))
            return SegmentationModel(card, _network(card, folder / card.weights_file))
    raise ModelMissingError(
        _("The model '{name}' that finds organs is not installed; reinstall the extension.").format(name=name)
    )


def _network(card: SegmentationCard, weights: Path) -> SegmentationNetwork:
    network = SegmentationNetwork(len(card.channels), len(card.labels) + 1, card.filters)
    try:
        if hashlib.sha256(weights.read_bytes()).hexdigest() != card.weights_sha256:
            raise ModelInvalidError(
                _("The weights of '{card}' are damaged; reinstall the extension.").format(card=card.name)
            )
        state = {key: value.float() for key, value in load_file(weights).items()}
        network.load_state_dict(state)
    except OSError as error:
        raise ModelMissingError(
            _("The weights of '{card}' are missing; reinstall the extension.").format(card=card.name)
        ) from error
    except (SafetensorError, RuntimeError) as error:
        raise ModelInvalidError(
            _("The weights of '{card}' do not fit its card.").format(card=card.name), str(error)
        ) from error
    return network
