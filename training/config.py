"""What a training run is made of, as dataclasses; ``training/configs/*.yaml`` are their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.engine import networks
from DeepLargeDeformRegLib.engine.models import Channel
from DeepLargeDeformRegLib.engine.models.packing import STORED_BITS

from .optimization import LossConfig, PhaseConfig, TrainingConfig
from .schema import build, load_yaml, to_plain

__all__ = [
    "ALIGNMENTS",
    "KINDS",
    "ROOT",
    "AugmentationConfig",
    "CardConfig",
    "Config",
    "DataConfig",
    "GridConfig",
    "LossConfig",
    "MeasureConfig",
    "NetworkConfig",
    "PhaseConfig",
    "TrainingConfig",
    "find_config",
    "load_config",
    "smaller",
    "with_batch",
]

ROOT = Path(__file__).resolve().parents[1]
"""Relative paths in a configuration start at the repository's root."""

KINDS = ("subjects", "pairs", "synthetic")
ALIGNMENTS = ("centers", "labels", "masks", "boxes", "loaded")


@dataclass(frozen=True)
class NetworkConfig:
    """A network of the registry and the constructor arguments that differ from its own."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def of_one_pass(self) -> NetworkConfig:
        """The network without its number of passes in use, which decides nothing about the weights."""
        return replace(self, arguments={key: value for key, value in self.arguments.items() if key != "passes"})


@dataclass(frozen=True)
class GridConfig:
    """The lattice on which the network is trained.

    Args:
        size: voxels along (x, y, z).
        spacing_mm: mm along (x, y, z).
        outside: intensity where the grid reaches beyond a scan.
    """

    size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    outside: float = 0.0


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where pairs come from.

    Args:
        kind: ``subjects``: any two of the training subjects are a pair; ``pairs``: listed pairs of one patient each;
            ``synthetic``: drawn by a generator, see ``training/synthesis``.
        reader: name of a reader of ``training/data``.
        folder: the data set.
        train: file of names (one a line) or of pairs (CSV with the columns fixed and moving), or the name of one of
            the data set's own splits; all subjects by default.
        validation: likewise, pairs for validation during training; never test pairs. Names of shapes that training
            does not use, where pairs are synthetic.
        labels: values of the structures used for supervision.
        label_names: their names, in the same order.
        align: ``centers``: the middle of each scan is laid on the middle of the grid; ``labels`` or ``masks``: the
            middle of these; ``boxes``: the box around each mask is stretched to fill the grid along each axis, which
            aligns them linearly, as Hering et al. 2021 crop and resize lungs; ``loaded``: scans stay where they are,
            the grid is centered on the fixed one.
        masks: read the scans' masks, for losses that are taken within them.
        both_ways: use listed pairs in either direction.
        options: of the reader, or :class:`training.synthesis.SynthesisSettings`.
    """

    kind: str
    reader: str = ""
    folder: str = ""
    train: str = ""
    validation: str = ""
    labels: tuple[int, ...] = ()
    label_names: tuple[str, ...] = ()
    align: str = "centers"
    masks: bool = False
    both_ways: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BadInputError(f"data.kind must be one of {', '.join(KINDS)}, not {self.kind!r}.")
        if self.align not in ALIGNMENTS:
            raise BadInputError(f"data.align must be one of {', '.join(ALIGNMENTS)}, not {self.align!r}.")
        if len(self.label_names) != len(self.labels):
            raise BadInputError("data.label_names must name each of data.labels.")


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """Random affine and smooth maps of each scan by itself, and of intensities.

    Args:
        probability: share of scans that are moved.
        rotation_deg: largest rotation about each axis.
        translation: largest shift, as a share of the half extent of the grid.
        scale: largest change of scale along each axis, as a share.
        elastic_mm: standard deviation of a random displacement, smooth between nodes a quarter of the grid apart.
        gamma: largest exponent of intensities within 0..1 is ``1 + gamma``, smallest ``1 / (1 + gamma)``.
        bias: standard deviation of the logarithm of a smooth factor of the intensities, as a receive coil leaves it.
        noise: largest standard deviation of noise added to each voxel, in units of the network's input.
        shape: largest share of the way that a scan is moved to the shape of another scan of the training; only where
            pairs are any two subjects.
        blend: largest share of another scan, registered to it, that a scan's intensities and structures take up.
        shapes_by: name of the shipped model that registers the two for it.
    """

    probability: float = 0.0
    rotation_deg: float = 10.0
    translation: float = 0.05
    scale: float = 0.08
    elastic_mm: float = 0.0
    gamma: float = 0.0
    bias: float = 0.0
    noise: float = 0.0
    shape: float = 0.0
    blend: float = 0.0
    shapes_by: str = ""

    def __post_init__(self) -> None:
        if (max(self.shape, self.blend) > 0) != bool(self.shapes_by):
            raise BadInputError("augmentation.shapes_by needs augmentation.shape or augmentation.blend, and they it.")

    def weaker(self, share: float) -> AugmentationConfig:
        """A share of each random change; as many scans are moved, and they take on shapes of others as before."""
        kept = ("probability", "shape", "blend", "shapes_by")
        return replace(self, **{key: share * value for key, value in asdict(self).items() if key not in kept})


@dataclass(frozen=True)
class MeasureConfig:
    """On what ``training.release figures`` and ``build`` measure a model of the run.

    Args:
        pairs: as ``data.validation``, pairs of neither training nor validation.
        description: what they are, for the card.
        data: their data set, if it is another than that of the training.
    """

    pairs: str
    description: str
    data: DataConfig | None = None


@dataclass(frozen=True, kw_only=True)
class CardConfig:
    """What the published card says; see :class:`DeepLargeDeformRegLib.engine.models.ModelCard`."""

    title: str
    modality: str
    anatomy: str
    purpose: str
    license: str
    citation: str
    training_data: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Config:
    """A training run.

    ``mean_of_phases``: of how many of the last phases' weights, as they ended, the published ones are the mean;
    phases of fewer levels or of another part of the grid than the last do not count, and one more than there are
    takes in the weights that the run started from.
    ``stored_bits``: a number of the published weights takes, see :mod:`DeepLargeDeformRegLib.engine.models.packing`.
    """

    name: str
    network: NetworkConfig
    grid: GridConfig
    channels: tuple[Channel, ...]
    data: DataConfig
    losses: tuple[LossConfig, ...]
    training: TrainingConfig
    card: CardConfig
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    measure: MeasureConfig | None = None
    mean_of_phases: int = 1
    stored_bits: int = 32
    notes: str = ""

    def __post_init__(self) -> None:
        network = self.make_network(meta=True)
        if network.channels != len(self.channels):
            raise BadInputError(
                f"{self.name} describes {len(self.channels)} channels, its network has {network.channels}."
            )
        if self.stored_bits not in STORED_BITS:
            raise BadInputError(f"stored_bits of {self.name} must be 8, 16 or 32, not {self.stored_bits}.")
        alike = len(self.phases_like_the_last())
        if not 1 <= self.mean_of_phases <= alike + bool(self.training.start):
            raise BadInputError(
                f"{self.name} has {alike} phases of the levels and grid of its last one to take mean_of_phases from."
            )
        for phase in self.training.phases:
            if phase.levels > network.levels:
                raise BadInputError(f"{self.name} trains {phase.levels} levels, its network has {network.levels}.")
            unknown = set(phase.weights) - {loss.name for loss in self.losses}
            if phase.size is not None and any(a > b for a, b in zip(phase.size, self.grid.size, strict=True)):
                raise BadInputError(f"A phase of {self.name} has a size that its grid does not hold.")
            if unknown:
                raise BadInputError(
                    f"A phase of {self.name} weights the loss {unknown.pop()}, which the run has not."
                )
        for loss in self.losses:
            for length in (
                len(loss.weight) if isinstance(loss.weight, tuple) else network.levels,
                *map(len, loss.per_level.values()),
            ):
                if length != network.levels:
                    raise BadInputError(
                        f"The loss {loss.name} has values for {length} levels, the network has {network.levels}."
                    )

    def losses_in(self, phase: PhaseConfig) -> tuple[LossConfig, ...]:
        """The terms of the loss with a phase's own weights."""
        return tuple(replace(loss, weight=phase.weights.get(loss.name, loss.weight)) for loss in self.losses)

    def phases_like_the_last(self) -> list[int]:
        """Numbers of the phases, from 0, that train as many levels on the same part of the grid as the last."""
        phases = self.training.phases
        return [
            n for n, phase in enumerate(phases) if (phase.levels, phase.size) == (phases[-1].levels, phases[-1].size)
        ]

    def grid_in(self, phase: PhaseConfig) -> GridConfig:
        """The part of the grid that a phase trains on."""
        return self.grid if phase.size is None else replace(self.grid, size=phase.size)

    def continues(self, old: Config) -> bool:
        """Whether a run of the old configuration is the beginning of one of this: the same, or with more phases."""
        phases = self.training.phases[: len(old.training.phases)]
        return _essence(old) == _essence(replace(self, training=replace(self.training, phases=phases)))

    def make_network(self, meta: bool = False) -> networks.RegistrationNetwork:
        """The network with fresh weights; without any memory for them if ``meta``."""
        import torch

        try:
            with torch.device("meta" if meta else "cpu"):
                return networks.build(self.network.name, **self.network.arguments)
        except (ValueError, TypeError) as error:
            raise BadInputError(f"The network of {self.name} cannot be built: {error}") from error

    def to_plain(self) -> dict[str, Any]:
        """Values for YAML and JSON."""
        return to_plain(self)


def find_config(path: Path) -> Path:
    """A configuration's file; the bare name of one of ``training/configs`` will do."""
    shipped = ROOT / "training" / "configs" / f"{path.name}.yaml"
    return shipped if not path.exists() and shipped.is_file() else path


def load_config(path: Path) -> Config:
    """Read and check a configuration.

    ``extends: OTHER.yaml`` takes all settings of another file, relative to this one, that are not given here;
    mappings are merged, lists replaced as a whole.

    Raises:
        BadInputError: saying which setting is wrong, and how.
    """
    return build(Config, _extended(path, ()))


def _extended(path: Path, visited: tuple[Path, ...]) -> dict[str, Any]:
    data = load_yaml(path)
    base = data.pop("extends", None)
    if base is None:
        return data
    if not isinstance(base, str) or path in visited:
        raise BadInputError(f"{path.name} must extend another file, and not in a circle.")
    return _merged(_extended(path.parent / base, (*visited, path)), data)


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    both = {
        key: _merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in own.items()
    }
    return {**base, **both}


def _essence(config: Config) -> Config:
    """What decides about the weights; all else may be improved while a run is under way."""
    return replace(
        config,
        notes="",
        network=config.network.of_one_pass(),
        measure=None,
        mean_of_phases=1,
        stored_bits=32,
        card=CardConfig(title="", modality="", anatomy="", purpose="", license="", citation=""),
    )


def smaller(config: Config) -> Config:
    """The same run at a size that a test can afford, under another name: a step a phase, one pair, coarse voxels."""
    x, y, z = (max(16, n // 8) for n in config.grid.size)
    size = (x, y, z)
    u, v, w = (s * n / m for s, n, m in zip(config.grid.spacing_mm, config.grid.size, size, strict=True))
    phases = tuple(
        replace(phase, steps=1, warmup=0, freeze_coarser=min(phase.freeze_coarser, 1), size=phase.size and size)
        for phase in config.training.phases
    )
    # From fresh weights: those to start from may lie beside the repository, as data do.
    training = replace(config.training, phases=phases, batch=1, start="", validate_every=0, log_every=1)
    grid = replace(config.grid, size=size, spacing_mm=(u, v, w))
    count = min(config.mean_of_phases, len(config.phases_like_the_last()))
    return replace(config, name=f"{config.name}-smoke", grid=grid, training=training, mean_of_phases=count)


def with_batch(config: Config, batch: int) -> Config:
    """The same run with another number of pairs a step, e.g. for more processes than the configuration has pairs.

    Raises:
        BadInputError: if it is not a positive number.
    """
    if batch < 1:
        raise BadInputError(f"A batch has one pair at least, not {batch}.")
    return replace(config, training=replace(config.training, batch=batch))
