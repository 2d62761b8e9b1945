"""Model cards: all that is needed to rebuild a trained network and to know what it is good for, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import PurePath
from typing import Any

from torch import Tensor

from ...core.errors import ModelInvalidError
from ...core.images import Label
from ...core.sentences import marked as _
from ..device import constant
from ..networks import network_names

FORMAT_VERSION = 1

_CHANNEL_KINDS = ("window", "percentile", "minmax", "zscore")


@dataclass(frozen=True)
class Channel:
    """One input channel of a network, made from the raw intensities of one scan.

    Args:
        kind: ``"window"``: clip to [low, high] and map that to 0..1; ``"percentile"``: the same with low and high
            being percentiles of the scan; ``"minmax"``: map the scan's range to 0..1; ``"zscore"``: subtract the mean
            and divide by the standard deviation.
        low: lower end, in intensities or percent; unused by minmax and zscore.
        high: upper end.
    """

    kind: str
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in _CHANNEL_KINDS:
            raise ModelInvalidError(
                _("The model's preprocessing {kind} is unknown; this version knows {kinds}.").format(
                    kind=repr(self.kind), kinds=", ".join(_CHANNEL_KINDS)
                )
            )
        if self.kind in ("window", "percentile") and (
            not _is_number(self.low) or not _is_number(self.high) or self.low >= self.high  # type: ignore[operator]
        ):
            raise ModelInvalidError(
                _("The model's {kind} from {low} to {high} is not a range of intensities.").format(
                    kind=self.kind, low=self.low, high=self.high
                )
            )

    def apply(self, image: Tensor) -> Tensor:
        """Intensities ``(N, 1, D, H, W)`` -> channel of the same shape, float32."""
        image = image.float()
        flat = image.flatten(1)
        if self.kind == "zscore":
            mean, deviation = _per_scan(flat.mean(1)), _per_scan(flat.std(1))
            return (image - mean) / deviation.clamp_min(1e-6)
        if self.kind == "window":
            low, high = (constant(end, image) for end in (self.low, self.high) if end is not None)
        elif self.kind == "percentile":
            low, high = (_per_scan(percentile(flat, float(q))) for q in (self.low, self.high))  # type: ignore[arg-type]
        else:
            low, high = _per_scan(flat.amin(1)), _per_scan(flat.amax(1))
        return (image.clamp(low, high) - low) / (high - low).clamp_min(1e-6)


def percentile(flat: Tensor, percent: float) -> Tensor:
    """Nearest-rank percentile of each row of ``(N, n)``; torch.quantile refuses more than 2^24 voxels."""
    rank = 1 + round(percent / 100 * (flat.shape[1] - 1))
    return flat.kthvalue(rank, dim=1).values


def _per_scan(values: Tensor) -> Tensor:
    return values.reshape(-1, 1, 1, 1, 1)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured figure: what, on which data, before and after registration, and who measured it how."""

    measure: str
    value: float
    data: str
    before: float | None = None
    unit: str = ""
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """A trained registration model.

    Args:
        name: unique short name; also the name of its files.
        title: one line for people.
        network: name in the registry of networks.
        arguments: constructor arguments of the network.
        channels: the input channels, in order; each scan gives one image with these channels.
        spacing_mm: voxel spacing (x, y, z) that the network was trained at.
        weights_file: file name of the safetensors file beside the card.
        weights_sha256: its checksum, 64 hexadecimal digits.
        modality: e.g. ``"CT"``.
        anatomy: e.g. ``"liver"``.
        purpose: what to use the model for, and what not.
        outside: intensity that stands for "outside of the scan".
        minimum_size: smallest grid (x, y, z) in voxels that makes sense.
        maximum_size: largest grid that the model was tried on; it gets no larger one.
        labels: structures that the model was trained to align.
        training_data: one line per data set that the weights saw.
        training_command: the command that made the weights.
        figures: measured figures.
        license: of the weights.
        citation: what to cite.
        format_version: of the card.

    Raises:
        ModelInvalidError: if a value is not what it must be.
    """

    name: str
    title: str
    network: str
    arguments: Mapping[str, Any]
    channels: tuple[Channel, ...]
    spacing_mm: tuple[float, float, float]
    weights_file: str
    weights_sha256: str
    modality: str
    anatomy: str
    purpose: str
    license: str
    citation: str
    outside: float = 0.0
    minimum_size: tuple[int, int, int] = (32, 32, 32)
    maximum_size: tuple[int, int, int] = (256, 256, 256)
    labels: tuple[Label, ...] = ()
    training_data: tuple[str, ...] = ()
    training_command: str = ""
    figures: tuple[Figure, ...] = ()
    format_version: int = field(default=FORMAT_VERSION)

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise ModelInvalidError(
                _("The model card {name} cannot be used: {problem}").format(name=repr(self.name), problem=problem)
            )

    def _problem(self) -> str:
        if not isinstance(self.name, str) or not self.name or PurePath(self.name).name != self.name:
            return _("its name must be usable as a file name.")
        if self.network not in network_names():
            return _(
                "it needs the network {network}, which this version does not have ({networks}). Update the extension."
            ).format(network=repr(self.network), networks=", ".join(network_names()))
        if not self.channels:
            return _("it names no input channels.")
        if len(self.spacing_mm) != 3 or not all(_is_number(s) and s > 0 for s in self.spacing_mm):
            return _("its spacing {spacing_mm} is not three positive numbers of mm.").format(
                spacing_mm=self.spacing_mm
            )
        for size in (self.minimum_size, self.maximum_size):
            if len(size) != 3 or not all(isinstance(n, int) and n > 0 for n in size):
                return _("its grid size {size} is not three positive whole numbers.").format(size=size)
        if any(low > high for low, high in zip(self.minimum_size, self.maximum_size, strict=True)):
            return _("its smallest grid {minimum_size} is larger than its largest {maximum_size}.").format(
                minimum_size=self.minimum_size, maximum_size=self.maximum_size
            )
        if PurePath(self.weights_file).name != self.weights_file or not self.weights_file.endswith(".safetensors"):
            return _("its weights {weights_file} are not a .safetensors file beside the card.").format(
                weights_file=repr(self.weights_file)
            )
        digits = set("0123456789abcdef")
        if len(self.weights_sha256) != 64 or not set(self.weights_sha256) <= digits:
            return _("its SHA-256 checksum is not 64 hexadecimal digits.")
        return ""

    def to_json(self) -> str:
        """The card as JSON text; :meth:`from_json` reads it back."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Read a card.

        Raises:
            ModelInvalidError: if the text is no JSON object, of a newer format, or has missing, unknown or unusable
                entries; the message names them.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ModelInvalidError(_("The model card is not valid JSON; it is damaged."), str(error)) from error
        if not isinstance(data, dict):
            raise ModelInvalidError(_("The model card is not a JSON object; it is damaged or no model card."))
        _check_version(data)
        _check_keys(cls, data, _("model card"))
        try:
            values = dict(data)
            values["channels"] = tuple(_nested(Channel, item) for item in data["channels"])
            values["labels"] = tuple(_nested(Label, _with_color(item)) for item in data.get("labels", ()))
            values["figures"] = tuple(_nested(Figure, item) for item in data.get("figures", ()))
            for key in ("spacing_mm", "minimum_size", "maximum_size", "training_data"):
                if key in values:
                    values[key] = tuple(values[key])
            return cls(**values)
        except (TypeError, AttributeError, ValueError) as error:
            raise ModelInvalidError(
                _("The model card has an entry of the wrong type; it is damaged or written by hand."), str(error)
            ) from error


def _check_version(data: dict[str, Any]) -> None:
    version = data.get("format_version")
    if not isinstance(version, int) or version < 1:
        raise ModelInvalidError(_("The model card has no valid format_version; it is damaged or no model card."))
    if version > FORMAT_VERSION:
        raise ModelInvalidError(
            _(
                "The model card has format {version}, this version of the extension reads up to format "
                "{newest}. Update the extension to use the model."
            ).format(version=version, newest=FORMAT_VERSION)
        )


def _check_keys(kind: type, data: Mapping[str, Any], what: str) -> None:
    known = {item.name for item in fields(kind)}
    # A field without default has a class attribute only when it has a default value.
    required = {item.name for item in fields(kind) if not hasattr(kind, item.name)}
    unknown, missing = sorted(set(data) - known), sorted(required - set(data))
    if unknown:
        raise ModelInvalidError(
            _("The {what} has unknown entries: {unknown}.").format(what=what, unknown=", ".join(unknown))
        )
    if missing:
        raise ModelInvalidError(
            _("The {what} lacks the entries: {missing}.").format(what=what, missing=", ".join(missing))
        )


def _nested(kind: type, data: Any) -> Any:
    if not isinstance(data, dict):
        raise TypeError(f"{kind.__name__} must be an object")
    _check_keys(kind, data, _("model card's {part}").format(part=kind.__name__.lower()))
    return kind(**data)


def _with_color(data: Any) -> Any:
    if isinstance(data, dict) and data.get("color") is not None:
        return data | {"color": tuple(data["color"])}
    return data


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value
