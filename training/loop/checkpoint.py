"""Checkpoints that resume exactly: safetensors and JSON, written whole or not at all.

No random state is kept since there is none: each sample has numbers of its own (``samples.draw_batch``), and no
network of ours draws any.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from DeepLargeDeformRegLib.core.errors import BadInputError, OutputError
from DeepLargeDeformRegLib.engine.models.packing import unpacked
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..config import ROOT

_KEPT = 2
_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Progress:
    """Where a run stands.

    Attributes:
        phase: index of the phase in progress.
        phase_step: steps done in it.
        step: steps done in all.
        seconds: time spent training, over all sessions.
        budget: seconds of training that the steps are planned for; 0 where they are the configuration's.
        steps: planned steps of each phase.
        validations: one entry per validation.
        commands: the commands that made the run, in order.
        machine: what it ran on.
    """

    steps: list[int]
    phase: int = 0
    phase_step: int = 0
    step: int = 0
    seconds: float = 0.0
    budget: float = 0.0
    validations: list[dict[str, Any]] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    machine: str = ""

    @property
    def finished(self) -> bool:
        """True once every phase is done."""
        return self.phase >= len(self.steps)

    @property
    def unplanned(self) -> bool:
        """True for a new run."""
        return self.step == 0


@dataclass(frozen=True, eq=False, kw_only=True)
class Checkpoint:
    """What :func:`load_checkpoint` returns.

    Attributes:
        config: plain values of the configuration.
        progress: where the run stood.
        network: the weights.
        average: their moving average; the weights themselves where the run keeps none.
        optimizer: its state per parameter.
        folder: where it was read from.
    """

    config: dict[str, Any]
    progress: Progress
    network: dict[str, Tensor]
    average: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    folder: Path


def save_checkpoint(
    folder: Path,
    config: dict[str, Any],
    progress: Progress,
    network: nn.Module,
    average: nn.Module,
    optimizer: Mapping[str, Tensor],
) -> Path:
    """Write a checkpoint into the run's folder and remove all but the newest two.

    Raises:
        OutputError: if it cannot be written.
    """
    target = folder / f"step-{progress.step:08d}"
    aside = target.with_name(f"{target.name}-before")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for cut_off in folder.glob(".saving-*"):  # by a power cut
            shutil.rmtree(cut_off, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(dir=folder, prefix=".saving-"))
        save_file(_portable(network.state_dict()), scratch / "network.safetensors")
        save_file(_portable(average.state_dict()), scratch / "average.safetensors")
        save_file(_portable(optimizer), scratch / "optimizer.safetensors")
        state = {"format": 1, "config": config, "progress": asdict(progress), "torch": torch.__version__}
        (scratch / "state.json").write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
        for path in scratch.iterdir():  # a power cut must not leave the new name on empty files
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        if target.exists():  # aside, under a name that is still a checkpoint's, until the new one has its place
            shutil.rmtree(aside, ignore_errors=True)
            target.rename(aside)
        scratch.rename(target)
        shutil.rmtree(aside, ignore_errors=True)
        for old in _all(folder)[:-_KEPT]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise OutputError(
            "The checkpoint could not be written; check that the folder is writable and the disk not full.",
            str(error),
        ) from error
    return target


def save_end_of_phase(run: Path, phase: int, average: nn.Module) -> None:
    """Keep the averaged weights that a phase, counted from 0, ended with."""
    path = _end_of_phase(run, phase)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".saving")
        save_file(_portable(average.state_dict()), scratch)
        scratch.replace(path)
    except OSError as error:
        raise OutputError(
            "The weights could not be written; check that the folder is writable and the disk not full.", str(error)
        ) from error


def start_weights(start: str) -> dict[str, Tensor]:
    """The weights that ``training.start`` names, also those of a published model in 8 bits a number.

    Raises:
        OSError, SafetensorError: if they cannot be read.
    """
    return unpacked(load_file(ROOT / start))  # which is the start itself where that is absolute


def mean_over_phases(checkpoint: Checkpoint, phases: Sequence[int], start: str = "") -> dict[str, Tensor]:
    """Mean of the averaged weights that the last phases of a finished run ended with (Izmailov et al. 2018).

    Phases that end at different compromises lie around a mean that is better than each. The weights of a run that did
    not reach its end are those it has.

    Args:
        checkpoint: the last of a run.
        phases: their numbers; the last of the run is one of them.
        start: weights that the run started from, if they count as well.

    Raises:
        BadInputError: if the weights of a phase, or those of the start, are not there.
    """
    if (len(phases) == 1 and not start) or not checkpoint.progress.finished:
        return checkpoint.average
    run = checkpoint.folder.parent.parent
    try:
        ends = [load_file(_end_of_phase(run, phase)) for phase in phases[:-1]]
        ends += [checkpoint.average] + ([start_weights(start)] if start else [])
        return {
            name: torch.stack([end[name].float() for end in ends]).mean(dim=0).to(value)
            for name, value in checkpoint.average.items()
        }
    except (OSError, KeyError, RuntimeError, SafetensorError) as error:
        raise BadInputError(
            f"The weights that the last phases of {run.name} started from or ended with are not all there; "
            "train it again with --restart, or set mean_of_phases to 1.",
            str(error),
        ) from error


def _end_of_phase(run: Path, phase: int) -> Path:
    return run / "ends" / f"phase-{phase:02d}.safetensors"


def latest(folder: Path) -> Path | None:
    """The newest checkpoint of a run's folder, or the folder itself if it is a checkpoint; None without any."""
    if (folder / "state.json").is_file():
        return folder
    found = _all(folder) or _all(folder / "checkpoints")
    return found[-1] if found else None


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a run's newest checkpoint, or the one before where the newest is damaged.

    Raises:
        BadInputError: if there is none, or all are damaged.
    """
    newest = latest(folder)
    if newest is None:
        raise BadInputError(f"There is no checkpoint in {folder.name}; name the folder of a run of training.train.")
    older = [] if newest == folder else [path for path in _all(newest.parent) if path != newest]
    for path, next_one in zip((newest, *reversed(older)), (*reversed(older), None), strict=True):
        try:
            return _read(path)
        except BadInputError as error:
            if next_one is None:
                raise
            _log.warning("%s The one before, %s, is taken.", error.message, next_one.name)
    raise AssertionError("the last checkpoint returns or raises")


def _read(path: Path) -> Checkpoint:
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        network, average, optimizer = (
            load_file(path / f"{name}.safetensors") for name in ("network", "average", "optimizer")
        )
        return Checkpoint(
            config=state["config"],
            progress=Progress(**state["progress"]),
            network=network,
            average=average,
            optimizer=optimizer,
            folder=path,
        )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise BadInputError(f"The checkpoint {path.name} is damaged.", str(error)) from error


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> dict[str, Tensor]:
    """State of an optimizer as ``parameter|entry`` -> tensor; ``names`` maps ``id(parameter)`` to its name."""
    return {
        f"{names[id(parameter)]}|{entry}": torch.as_tensor(value)
        for parameter, entries in optimizer.state.items()
        for entry, value in entries.items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, names: Mapping[int, str], tensors: Mapping[str, Tensor]
) -> None:
    """The reverse of :func:`optimizer_tensors`."""
    entries: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, entry = key.rsplit("|", 1)
        entries.setdefault(name, {})[entry] = value
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            for entry, value in entries.get(names[id(parameter)], {}).items():
                like = parameter if entry != "step" else value
                moved = value.clone().to(like.device)
                if moved.dim() == 5 and entry != "step":
                    moved = torch.empty_like(parameter, dtype=moved.dtype).copy_(moved)
                optimizer.state[parameter][entry] = moved


def _portable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # A clone: tensors that share storage, or that the next step overwrites, must not meet in one file.
    return {
        key: value.detach().cpu().contiguous().clone(memory_format=torch.contiguous_format)
        for key, value in tensors.items()
    }


def _all(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("step-*") if (path / "state.json").is_file()]
    # What a power cut left aside is older than what took its place.
    return sorted(found, key=lambda path: (path.name.removesuffix("-before"), not path.name.endswith("-before")))
