"""``python -m training.train CONFIG``: train a network; the same command again continues where it stopped."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from DeepLargeDeformRegLib.core.errors import BadInputError, RegistrationError
from lightning_fabric import Fabric
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from .config import ROOT, Config, find_config, load_config, smaller, with_batch
from .loop.checkpoint import latest, load_checkpoint
from .loop.trainer import Step, Trainer
from .pairs import sources
from .pairs.phantom import PhantomPairs
from .pairs.samples import PairSource, Sample
from .schema import build

_log = logging.getLogger("training")
LOG_SECONDS = 60.0  # between two lines of progress where there is no terminal to draw a bar on


def main(
    config: Annotated[Path, typer.Argument(help="A file of training/configs, or its name without .yaml.")],
    output: Annotated[Path, typer.Option(help="Folder of all runs.")] = ROOT / "runs",
    max_minutes: Annotated[float | None, typer.Option(help="Stop after this time with a usable checkpoint.")] = None,
    fill: Annotated[
        bool, typer.Option(help="Lengthen or shorten the schedule so that it just fills --max-minutes.")
    ] = False,
    restart: Annotated[bool, typer.Option(help="Throw the checkpoints of an earlier run away.")] = False,
    smoke: Annotated[bool, typer.Option(help="A few steps on small made-up scans, for tests.")] = False,
    batch: Annotated[
        int | None, typer.Option(help="Pairs a step over all processes; the configuration's by default.")
    ] = None,
    on_disk: Annotated[
        Path | None, typer.Option(help="Folder on a fast disk for the scans, if they do not fit into memory.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of the processor; all by default.")] = None,
    accelerator: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    tensorboard: Annotated[bool, typer.Option(help="Write curves for TensorBoard into the run's folder.")] = False,
) -> None:
    """Train one network as a configuration says.

    Several processors or machines: torchrun --nproc-per-node 8 -m training.train CONFIG. All processes share
    the configuration's batch, so the result does not depend on their number.
    """
    started = time.monotonic()
    rank = int(os.environ.get("RANK", "0"))
    console = Console(stderr=True)
    _log_to(console, rank)
    try:
        settings = load_config(find_config(config))
        settings = smaller(settings) if smoke else settings
        settings = settings if batch is None else with_batch(settings, batch)
        if fill and max_minutes is None:
            raise BadInputError("--fill needs --max-minutes: the time to fill.")
        torch.set_num_threads(threads or torch.get_num_threads())
        folder = output / settings.name
        fabric = make_fabric(accelerator, folder if tensorboard else None)
        deadline = None if max_minutes is None else started + 60 * max_minutes
        trainer, grown = _prepare(settings, folder, fabric, restart, deadline, smoke, on_disk)
        if fill and max_minutes is not None and (grown or trainer.progress.unplanned):
            trainer.plan(60 * max_minutes - (time.monotonic() - started))
        if not trainer.progress.finished:
            trainer.progress.commands.append(_command(fabric))
            trainer.progress.machine = describe_machine(trainer)
        done = _train(trainer, console, rank == 0)
        leave_processes()
    except RegistrationError as error:
        console.print(f"[bold red]{error.message}[/]", highlight=False)
        raise typer.Exit(error.exit_code) from error
    except (torch.OutOfMemoryError, MemoryError) as error:
        message = "The memory is too small for this batch and grid, or for the data; make training.batch smaller."
        console.print(f"[bold red]{message}[/]", highlight=False)
        raise typer.Exit(1) from error
    _log.info(
        "%s after %d steps and %.1f minutes in %s",
        "Finished" if done else "Stopped; the same command continues",
        trainer.progress.step,
        trainer.progress.seconds / 60,
        folder,
    )


def _log_to(console: Console, rank: int) -> None:
    handler = RichHandler(console=console, show_path=False)
    level = logging.INFO if rank == 0 else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", handlers=[handler])


def make_fabric(accelerator: str = "auto", logs: Path | None = None) -> Fabric:
    """Device and processes (as torchrun says) of a run."""
    world, local = int(os.environ.get("WORLD_SIZE", "1")), _processes_here()
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    loggers: list[Any] = []
    if logs is not None:
        from lightning_fabric.loggers import TensorBoardLogger

        loggers.append(TensorBoardLogger(logs, name="tensorboard", version=""))
    fabric = Fabric(
        accelerator=accelerator,
        devices=local,
        num_nodes=max(world // local, 1),
        strategy="ddp" if world > 1 else "auto",
        loggers=loggers,
    )
    fabric.launch()
    torch.backends.cudnn.benchmark = True  # all batches have one size
    return fabric


def leave_processes() -> None:
    """Close the connections to the other processes: gloo's threads, left running at exit, abort a finished run.

    At the end of a run only: who fails while others wait for it must not wait for them.
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _command(fabric: Fabric) -> str:
    """What was typed, for the card."""
    nodes, here = max(fabric.world_size // _processes_here(), 1), str(_processes_here())
    launcher = ["python"] if fabric.world_size == 1 else ["torchrun", "--nproc-per-node", here]
    launcher += ["--nnodes", str(nodes)] if nodes > 1 else []
    return shlex.join([*launcher, "-m", "training.train", *sys.argv[1:]])


def _processes_here() -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def describe_machine(trainer: Trainer) -> str:
    """One line on what trains, for the card."""
    fabric = trainer.fabric
    if fabric.device.type == "cuda":
        what = f"{fabric.world_size} x {torch.cuda.get_device_name(fabric.device)}"
    else:
        what = f"{fabric.world_size * torch.get_num_threads()} processor core(s)"
    return f"{what}, {'bfloat16' if trainer.bfloat16 else 'float32'}"


def _prepare(
    config: Config,
    folder: Path,
    fabric: Fabric,
    restart: bool,
    deadline: float | None,
    smoke: bool,
    on_disk: Path | None = None,
) -> tuple[Trainer, bool]:
    """A trainer that stands where its run stood, and whether the configuration has got further phases since then."""
    if restart and fabric.is_global_zero:
        for name in ("checkpoints", "ends"):
            shutil.rmtree(folder / name, ignore_errors=True)
        (folder / "log.jsonl").unlink(missing_ok=True)
    fabric.barrier()
    source: PairSource = PhantomPairs(config) if smoke else sources.training_source(config, fabric.device, on_disk)
    validation: list[Sample] = []
    if fabric.is_global_zero:
        validation = [source.draw(torch.Generator())] if smoke else sources.validation_samples(config)
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.append(number))
    trainer = Trainer(
        config, source, validation, folder, fabric, deadline=deadline, should_stop=lambda: bool(stopping)
    )
    grown = False
    if latest(folder) is not None:
        checkpoint = load_checkpoint(folder)
        if not config.continues(build(Config, checkpoint.config)):
            raise BadInputError(
                f"The run {folder.name} was started with another configuration or --batch; continue with that one, "
                "choose another --output, or throw the run away with --restart."
            )
        further = config.training.phases[len(checkpoint.progress.steps) :]
        grown = bool(further)
        if grown:
            checkpoint.progress.steps += [phase.steps for phase in further]
            checkpoint.progress.budget = 0.0  # was for the phases of then
        trainer.restore(checkpoint)
        _log.info("Continuing after %d steps", trainer.progress.step)
    return trainer, grown


def _train(trainer: Trainer, console: Console, visible: bool) -> bool:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=console, disable=not visible) as bars:
        total = sum(trainer.progress.steps)
        bar = bars.add_task("training", total=total, completed=trainer.progress.step, left="")

        logged = time.monotonic()

        def show(step: Step) -> None:
            nonlocal logged
            minutes, seconds = divmod(round(step.seconds_left), 60)
            left = f"{minutes}:{seconds:02d} left"
            bars.update(bar, completed=step.progress.step, left=left)
            if not step.losses:
                return
            shown = "  ".join(f"{name} {value:.4f}" for name, value in step.losses.items())
            text = f"phase {step.progress.phase + 1}  step {step.progress.step}/{step.total_steps}  {shown}"
            bars.update(bar, description=text)
            if not console.is_terminal and time.monotonic() - logged > LOG_SECONDS:
                logged = time.monotonic()
                _log.info("%s  %s", text, left)

        trainer.listener = show
        return trainer.run()


if __name__ == "__main__":
    typer.run(main)
