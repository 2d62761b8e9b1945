"""The part of a configuration that says what is minimized, and how: losses, phases, optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.engine import losses

RESOLUTIONS = ("level", "full", "downsampled")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """One term of the loss.

    Args:
        name: of :data:`DeepLargeDeformRegLib.engine.losses.LOSSES`.
        weight: one number, or one for each level of the network, coarsest first.
        at: ``level``: images and field at the resolution of the level in training; ``full``: at that of the input;
            ``downsampled``: as ``level``, but the moving image is warped at the resolution of the input and then
            downsampled (Hering et al. 2021, figure 3).
        arguments: of the loss.
        per_level: arguments with one value for each level, coarsest first.
        masked: restrict it to the fixed scan's mask, or else its structures.
        divide_by: of a masked term: ``mask``: the mean within the mask; ``grid``: the integral over the mask, divided
            by the volume of the whole grid: the weight that it has in a paper whose terms are integrals.
        pairs: ``all``, or ``same_patient``: intensities and points correspond only there.
    """

    name: str
    weight: float | tuple[float, ...] = 1.0
    at: str = "level"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    per_level: Mapping[str, Any] = field(default_factory=dict)
    masked: bool = False
    divide_by: str = "mask"
    pairs: str = "all"

    def __post_init__(self) -> None:
        if self.name not in losses.LOSSES:
            raise BadInputError(f"There is no loss {self.name!r}; there are {', '.join(losses.LOSSES)}.")
        if self.at not in RESOLUTIONS:
            raise BadInputError(f"The loss {self.name} can be taken at {', '.join(RESOLUTIONS)}, not {self.at!r}.")
        if self.divide_by not in ("mask", "grid") or (self.divide_by == "grid" and not self.masked):
            raise BadInputError(f"The loss {self.name} is divided by mask or, where it is masked, by grid.")
        if self.pairs not in ("all", "same_patient"):
            raise BadInputError(f"The loss {self.name} is of pairs: all or same_patient, not {self.pairs!r}.")
        for key, values in self.per_level.items():
            if not isinstance(values, (list, tuple)):
                raise BadInputError(f"The loss {self.name} needs a list under per_level.{key}, not {values!r}.")

    def weight_at(self, level: int) -> float:
        """Weight on a level, 0 being the coarsest."""
        return self.weight if isinstance(self.weight, float) else self.weight[level]

    def arguments_at(self, level: int) -> dict[str, Any]:
        """Constructor arguments on a level."""
        return {**self.arguments, **{key: values[level] for key, values in self.per_level.items()}}


@dataclass(frozen=True, kw_only=True)
class PhaseConfig:
    """A stretch of the training.

    Args:
        levels: how many levels run, from the coarsest; 0 for all.
        steps: optimizer steps.
        learning_rate: at its start.
        decay: ``constant`` or ``cosine`` (to zero at its end).
        warmup: steps of linear rise to the learning rate.
        train: ``all`` active levels, or the ``finest`` active one with the coarser ones frozen.
        inherit: start the finest active level from the weights of the next coarser one.
        freeze_coarser: so many steps at the start of the phase leave the coarser levels as they are, as the published
            code of LapIRN does for 2000; where the phase is lengthened to fill a time, in proportion.
        weights: weights of losses, by name, that differ from the run's in this phase.
        size: voxels along (x, y, z) of the middle of the grid, all that this phase trains on; the whole grid by
            default. Where the middle holds what matters, steps cost less, and the weights fit the whole.
        augmentation: share of the run's augmentation, of how far scans are moved and their intensities changed: the
            pairs that a network is used on are not augmented, so the last steps may do with less.
        passes: how often the network registers a pair in this phase, see ``passes`` of ``RegistrationNetwork``; once
            by default, which costs the least. The last phases need those of use: without, maps are less even.
    """

    steps: int
    learning_rate: float
    levels: int = 0
    decay: str = "constant"
    warmup: int = 0
    train: str = "all"
    inherit: bool = False
    freeze_coarser: int = 0
    weights: Mapping[str, float] = field(default_factory=dict)
    size: tuple[int, int, int] | None = None
    augmentation: float = 1.0
    passes: int = 1

    def __post_init__(self) -> None:
        if self.decay not in ("constant", "cosine"):
            raise BadInputError(f"A phase's decay is constant or cosine, not {self.decay!r}.")
        if self.train not in ("all", "finest"):
            raise BadInputError(f"A phase trains all or finest, not {self.train!r}.")
        if self.passes < 1:
            raise BadInputError(f"A phase has at least one pass, not {self.passes}.")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The optimization.

    Args:
        phases: one after the other; progressive training has one a level.
        batch: pairs per step, over all processes together.
        start: safetensors weights of the same network to start from; fresh ones by default.
        optimizer: ``adam`` or ``adamw``.
        weight_decay: of adamw.
        clip_norm: largest norm of the gradient; 0 for no limit.
        ema: decay of the moving average of the weights that validation and publishing use; 0 for none.
        channels_last: keep the channels of a voxel together in memory; faster for some networks.
        precision: ``auto`` (bfloat16 where the processor computes in it, else float32), ``32`` or ``bf16``.
        seed: of all that is drawn.
        validate_every: steps between two validations; 0 for none but the last.
        checkpoint_minutes: time between two checkpoints.
        log_every: steps between two entries of the log.
    """

    phases: tuple[PhaseConfig, ...]
    batch: int = 1
    start: str = ""
    optimizer: str = "adam"
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    ema: float = 0.999
    channels_last: bool = False
    precision: str = "auto"
    seed: int = 0
    validate_every: int = 1000
    checkpoint_minutes: float = 5.0
    log_every: int = 20

    def __post_init__(self) -> None:
        if self.precision not in ("auto", "32", "bf16"):
            raise BadInputError(f"training.precision is auto, 32 or bf16, not {self.precision!r}.")
        if self.optimizer not in ("adam", "adamw"):
            raise BadInputError(f"training.optimizer is adam or adamw, not {self.optimizer!r}.")
        if not self.phases or self.batch < 1:
            raise BadInputError("training needs at least one phase and a batch of at least one pair.")
        if self.log_every < 1:
            raise BadInputError("training.log_every is a number of steps, at least 1.")
