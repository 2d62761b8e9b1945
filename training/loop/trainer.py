"""The training loop: one for all networks, schedules and machines."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from DeepLargeDeformRegLib.core.errors import BadInputError, RegistrationError
from DeepLargeDeformRegLib.engine.networks import NetworkOutput, RegistrationNetwork
from lightning_fabric import Fabric
from safetensors import SafetensorError

from ..config import Config, PhaseConfig
from ..pairs.phases import pairs_in_phase
from ..pairs.samples import PairSource, Sample, draw_batch, training_grid
from .average import MovingAverage
from .checkpoint import (
    Checkpoint,
    Progress,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
    save_end_of_phase,
    start_weights,
)
from .objective import Objective
from .schedule import Speed, learning_rate, uses_bfloat16
from .validate import validate

_log = logging.getLogger(__name__)
_AGREE_EVERY = 10  # steps between two questions to all processes, for which each waits for its GPU
_MOST_UNUSABLE = 20  # steps without a usable gradient, one after the other, that end a run
_TRAINING_SHARE = 0.93  # of a run's time; validation and checkpoints take the rest


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a listener is told after each optimizer step.

    Attributes:
        progress: where the run stands.
        total_steps: of all phases.
        losses: means over all processes, or empty between two entries of the log.
        learning_rate: of this step.
        seconds_left: estimated from the recent speed and the limit of time.
    """

    progress: Progress
    total_steps: int
    losses: dict[str, float]
    learning_rate: float
    seconds_left: float


Listener = Callable[[Step], None]


class Trainer:
    """Trains a network to the end of its phases or of its time.

    Args:
        config: the run.
        source: pairs to train on.
        validation: pairs to validate on.
        folder: where checkpoints and the log go.
        fabric: device and processes, in single precision; where it pays, the network computes in bfloat16.
        listener: is told of each step, on the first process.
        deadline: ``time.monotonic()`` at which to stop; None for no limit.
        should_stop: asked after each step, e.g. whether the machine is about to be taken away.
    """

    def __init__(
        self,
        config: Config,
        source: PairSource,
        validation: Sequence[Sample],
        folder: Path,
        fabric: Fabric,
        listener: Listener | None = None,
        deadline: float | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        if config.training.batch % fabric.world_size:
            raise BadInputError(
                f"A batch of {config.training.batch} pairs cannot be shared by {fabric.world_size} processes; "
                "choose a multiple in training.batch or with --batch."
            )
        self.config, self.source, self.validation, self.folder = config, source, validation, folder
        self.fabric, self.listener, self.deadline, self.should_stop = fabric, listener, deadline, should_stop
        self.grid = training_grid(config.grid)
        torch.manual_seed(config.training.seed)
        self.network: RegistrationNetwork = config.make_network()
        for phase in config.training.phases:  # what a loss does not take is refused now, not when its phase begins
            self._objective(phase)
        if config.training.start:
            _start_from(self.network, config.training.start)
        self.bfloat16 = uses_bfloat16(config.training.precision, fabric.device.type)
        if fabric.world_size > 1 and fabric.device.type == "cuda":
            # Batch norm over the whole batch, as one process has it; there is no such module for processors.
            self.network = torch.nn.SyncBatchNorm.convert_sync_batchnorm(self.network)
        fabric.to_device(self.network)
        if config.training.channels_last:
            self.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.average = MovingAverage(self.network, config.training.ema)
        self.progress = Progress(steps=[phase.steps for phase in config.training.phases])
        self._optimizer: torch.optim.Optimizer | None = None
        self._optimizer_state: dict[str, torch.Tensor] = {}
        self._names = {id(parameter): name for name, parameter in self.network.named_parameters()}
        self._saved = time.monotonic()
        self._validated = -1
        self._phase = config.training.phases[0]
        self._pairs = source
        self._unusable = torch.zeros((), dtype=torch.int64, device=fabric.device)  # steps, one after the other
        self._speeds: dict[int, float] = {}  # seconds per step of phases to come, where they were measured

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue where a checkpoint of the same configuration ended."""
        self.network.load_state_dict(checkpoint.network)
        self.average.network.load_state_dict(checkpoint.average)
        self.progress = checkpoint.progress
        self._validated = max((entry["step"] for entry in checkpoint.progress.validations), default=-1)
        self._optimizer_state = checkpoint.optimizer
        if self.fabric.is_global_zero:
            _cut_log(self.log_file, self.progress.step)

    @property
    def log_file(self) -> Path:
        """One JSON object per line: step, phase, learning rate and the terms of the loss."""
        return self.folder / "log.jsonl"

    def plan(self, seconds: float) -> None:
        """Scale the steps of all phases to begin so that they take about this long, by the measured speed of each.

        The time is part of the checkpoint, so a run that is continued keeps it. Before each phase the steps are
        fitted to what is left of it: what was slow at first, as painting patients is, must not cost the run its end.
        """
        self.progress.budget = self.progress.seconds + _TRAINING_SHARE * max(seconds, 0.0)
        self._fit()

    def _fit(self) -> None:
        progress, phases = self.progress, self.config.training.phases
        seconds = progress.budget - progress.seconds
        first = progress.phase + (progress.phase_step > 0)
        if first > progress.phase:  # a phase that has begun keeps its plan
            rest = progress.steps[progress.phase] - progress.phase_step
            seconds -= rest * self._seconds_per_step(phases[progress.phase])
        phases = phases[first:]
        speeds = [self._seconds_per_step(phase) for phase in phases]
        self._speeds = dict(enumerate(speeds, first))
        expected = sum(phase.steps * speed for phase, speed in zip(phases, speeds, strict=True))
        factor = self.fabric.broadcast(max(seconds, 0.0) / expected)
        self.progress.steps[first:] = [max(1, round(phase.steps * factor)) for phase in phases]
        _log.info("seconds per step %s, steps %s", [round(s, 4) for s in speeds], self.progress.steps)

    def run(self) -> bool:
        """Train; returns whether all phases are done. A checkpoint lies in the folder in any case."""
        progress = self.progress
        done = progress.finished
        while not progress.finished:
            if progress.budget and progress.step and progress.phase_step == 0:
                self._fit()
            if not self._run_phase(self.config.training.phases[progress.phase]):
                break
            if self.fabric.is_global_zero:
                save_end_of_phase(self.folder, progress.phase, self.average.network)
            progress.phase, progress.phase_step = progress.phase + 1, 0
            self._optimizer, self._optimizer_state = None, {}
            done = progress.finished
        self.save()  # first: who asked for the end may not wait for a validation
        if self._validated != progress.step:
            self._validate()
            self.save()
        return done

    def save(self) -> None:
        """Write a checkpoint now."""
        if self.fabric.is_global_zero:
            if not all(bool(torch.isfinite(value).all()) for value in self.network.state_dict().values()):
                raise RegistrationError("The weights are no longer numbers; the last checkpoint is left as it is.")
            state = optimizer_tensors(self._optimizer, self._names) if self._optimizer else self._optimizer_state
            folder = self.folder / "checkpoints"
            save_checkpoint(folder, self.config.to_plain(), self.progress, self.network, self.average.network, state)
        self.fabric.barrier()
        self._saved = time.monotonic()

    def _run_phase(self, phase: PhaseConfig) -> bool:
        progress, training = self.progress, self.config.training
        self._open_phase(phase)
        model, optimizer = self._set_up(phase)
        objective = self._objective(phase)
        steps = progress.steps[progress.phase]
        if steps == 0:
            return True
        begun = clock = time.monotonic()
        recent = Speed()
        while progress.phase_step < steps:
            rate = learning_rate(phase, progress.phase_step, steps)
            values = self._step(model, optimizer, objective, rate)
            self.average.update(self.network, progress.phase_step)
            progress.phase_step += 1
            progress.step += 1
            now = time.monotonic()
            progress.seconds += now - clock
            recent.note(now - begun)
            clock = now
            self._tell(values, rate, recent.seconds)
            if training.validate_every and progress.step % training.validate_every == 0:
                self._validate()
            if self._must_stop():
                return False
            if self._agree(now - self._saved > 60 * training.checkpoint_minutes):
                self.save()
            begun = time.monotonic()  # validations and checkpoints are time of the run, but of no step
        return True

    def _objective(self, phase: PhaseConfig) -> Objective:
        finest = (phase.levels or self.network.levels) - 1
        grid = training_grid(self.config.grid_in(phase))
        return Objective(self.config.losses_in(phase), finest, grid).to(self.fabric.device)

    def _open_phase(self, phase: PhaseConfig) -> None:
        """Activate the phase's levels and passes, and draw pairs of its size."""
        self._pairs = pairs_in_phase(self.source, phase, self.config.grid)
        self._phase, levels = phase, phase.levels or self.network.levels
        for network in (self.network, self.average.network):
            network.active_levels = levels
        self.network.passes = phase.passes  # the average, which is validated, keeps those of use
        if self.progress.phase_step == 0 and self.progress.step > 0:
            self.average.start_phase(self.network, levels - 1 if phase.inherit and levels > 1 else None)
        trained = range(levels) if phase.train == "all" else range(levels - 1, levels)
        self.network.requires_grad_(False)
        for level in trained:
            for parameter in self.network.parameters_of_level(level):
                parameter.requires_grad_(True)

    def _frozen_levels(self) -> range:
        """Levels that this step leaves as they are."""
        phase, progress = self._phase, self.progress
        coarser = range((phase.levels or self.network.levels) - 1)
        if phase.train == "finest":
            return coarser
        stretched = progress.steps[progress.phase] / max(phase.steps, 1)
        return coarser if progress.phase_step < phase.freeze_coarser * stretched else range(0)

    def _set_up(self, phase: PhaseConfig) -> tuple[Any, Any]:
        parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        training = self.config.training
        kind = torch.optim.AdamW if training.optimizer == "adamw" else torch.optim.Adam
        optimizer = kind(parameters, lr=phase.learning_rate, weight_decay=training.weight_decay)
        restore_optimizer(optimizer, self._names, self._optimizer_state)
        self._optimizer = optimizer
        # Set up anew for each phase: DDP synchronizes what wants gradients at this moment.
        model, wrapped = self.fabric.setup(self.network, optimizer)
        model.mark_forward_method("forward_levels")
        return model, wrapped

    def _step(self, model: Any, optimizer: Any, objective: Objective, rate: float) -> dict[str, torch.Tensor]:
        training, fabric = self.config.training, self.fabric
        share = training.batch // fabric.world_size
        first = self.progress.step * training.batch + fabric.global_rank * share
        batch = draw_batch(self._pairs, range(first, first + share), training.seed, fabric.device)
        model.train()
        frozen = [self.network.level_module(level) for level in self._frozen_levels()]
        for module in frozen:
            module.eval()  # nor may the statistics of its batch norm change
        statistics = [(buffer, buffer.clone()) for buffer in self.network.buffers()]  # of batch norm
        # Not Fabric's own mixed precision: it casts the images, too, and on one device only within forward().
        with torch.autocast(fabric.device.type, dtype=torch.bfloat16, enabled=self.bfloat16):
            output: NetworkOutput = model.forward_levels(batch.fixed, batch.moving)
        values = objective(output, batch)
        optimizer.zero_grad()
        fabric.backward(values["total"])
        for parameter in (parameter for module in frozen for parameter in module.parameters()):
            parameter.grad = None  # which Adam passes over; they keep requires_grad, as DDP was set up with it
        limit = training.clip_norm if training.clip_norm > 0 else math.inf
        norm: Any = fabric.clip_gradients(model, optimizer, max_norm=limit, error_if_nonfinite=False)
        usable = norm.isfinite()
        # Asked of the device, which must not be waited for: a batch without a usable gradient adds none.
        for buffer, before in statistics:
            buffer.copy_(torch.where(usable, buffer, before))
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad.copy_(torch.where(usable, parameter.grad, 0.0))
        self._unusable = torch.where(usable, 0, self._unusable + 1)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        return values

    def _tell(self, values: dict[str, torch.Tensor], rate: float, seconds_per_step: float) -> None:
        progress, total = self.progress, sum(self.progress.steps)
        means: dict[str, float] = {}
        if progress.step % self.config.training.log_every == 0 or progress.step == total:
            means = {name: self._reduce(value.detach().float(), "mean") for name, value in values.items()}
            if int(self._unusable) >= _MOST_UNUSABLE:
                raise RegistrationError(
                    f"The loss or its gradient is no longer a number since {int(self._unusable)} steps, at step "
                    f"{progress.step}; lower the learning rate or clip_norm and start again, or continue from the "
                    "last checkpoint."
                )
            entry = {"step": progress.step, "phase": progress.phase, "learning_rate": rate, **means}
            self._append(entry)
        if self.listener and self.fabric.is_global_zero:
            left = seconds_per_step * (progress.steps[progress.phase] - progress.phase_step)
            for phase in range(progress.phase + 1, len(progress.steps)):
                left += self._speeds.get(phase, seconds_per_step) * progress.steps[phase]
            if self.deadline is not None:
                left = min(left, self.deadline - time.monotonic())
            self.listener(
                Step(
                    progress=progress,
                    total_steps=total,
                    losses=means,
                    learning_rate=rate,
                    seconds_left=max(left, 0.0),
                )
            )

    def _validate(self) -> None:
        self._validated = self.progress.step
        if self.validation and self.fabric.is_global_zero:
            values = validate(self.average.network, self.validation, self.grid)
            entry = {"step": self.progress.step, "phase": self.progress.phase, **values}
            self.progress.validations.append(entry)
            _log.info("validation %s", json.dumps({key: round(value, 5) for key, value in entry.items()}))
            for name, value in values.items():
                for logger in self.fabric.loggers:
                    logger.log_metrics({f"validation/{name}": value}, self.progress.step)
        self.fabric.barrier()

    def _append(self, entry: dict[str, Any]) -> None:
        if not self.fabric.is_global_zero:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        for logger in self.fabric.loggers:
            logger.log_metrics({f"train/{key}": value for key, value in entry.items()}, self.progress.step)

    def _must_stop(self) -> bool:
        late = self.deadline is not None and time.monotonic() >= self.deadline
        return self._agree(late or self.should_stop())

    def _agree(self, mine: bool) -> bool:
        """True on all processes if it is true on one; several are asked at some steps only."""
        if self.fabric.world_size == 1:
            return mine
        if self.progress.step % _AGREE_EVERY:
            return False
        return self._reduce(torch.tensor(float(mine), device=self.fabric.device), "sum") > 0

    def _reduce(self, value: torch.Tensor, operation: str) -> float:
        """A scalar over all processes."""
        reduced: Any = self.fabric.all_reduce(value, reduce_op=operation)
        return float(reduced)

    def _seconds_per_step(self, phase: PhaseConfig) -> float:
        """Of a phase, measured with a copy that is thrown away."""
        twin = Trainer(self.config, self.source, (), self.folder, self.fabric)
        twin.progress.steps = [1]
        twin._open_phase(phase)
        model, optimizer = twin._set_up(phase)
        objective = twin._objective(phase)
        times = []
        for _ in range(5):
            start = time.perf_counter()
            twin._step(model, optimizer, objective, 0.0)
            twin.progress.step += 1  # other pairs each time
            if self.fabric.device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        return sorted(times)[len(times) // 2]


def _start_from(network: RegistrationNetwork, start: str) -> None:
    try:
        network.load_state_dict(start_weights(start))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise BadInputError(
            f"The weights {Path(start).name} to start from are missing or not those of this network.", str(error)
        ) from error


def _cut_log(path: Path, step: int) -> None:
    """Forget what an interrupted run logged after its last checkpoint; it will be logged again."""
    if not path.is_file():
        return
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    kept = [line for line in lines if json.loads(line)["step"] <= step]
    scratch = path.with_suffix(".part")
    scratch.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    scratch.replace(path)
