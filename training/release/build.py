"""``python -m training.release build CONFIG``: train, publish, measure, publish with the figures, unattended.

Each part is a command of its own (``training.train``, ``training.release publish``, ``training.release figures``) and
is run as one. What is measured is a model in the run's own folder; an older one of its name stays in place until it
has figures. The same command again continues where it stopped, and neither trains nor measures again what is done.
"""

from __future__ import annotations

import json
import logging
import shlex
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from DeepLargeDeformRegLib.core.errors import RegistrationError
from DeepLargeDeformRegLib.engine.models import find_model
from DeepLargeDeformRegLib.resources import MODELS
from rich.console import Console
from rich.logging import RichHandler

from ..config import ROOT, Config, find_config, load_config, smaller, with_batch
from ..loop.checkpoint import latest, load_checkpoint
from ..schema import build as from_plain
from .figures import measured_on

_log = logging.getLogger("training")
_MEASURED = "measured.txt"  # in the run's folder: what its figures are of


def main(
    config: Annotated[Path, typer.Argument(help="A file of training/configs, or its name without .yaml.")],
    max_minutes: Annotated[
        float | None, typer.Option(help="Time for training; its schedule is made to fill it.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder of all runs.")] = ROOT / "runs",
    models: Annotated[
        Path | None, typer.Option(help="Folder of models; the extension's by default, with --smoke the run's.")
    ] = None,
    devices: Annotated[int | None, typer.Option(help="GPUs to train on, one process each; all by default.")] = None,
    batch: Annotated[
        int | None, typer.Option(help="Pairs a step over all GPUs; the configuration's by default.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of the processor; all by default.")] = None,
    restart: Annotated[bool, typer.Option(help="Throw an earlier run of this name away.")] = False,
    smoke: Annotated[
        bool, typer.Option(help="A few steps on small made-up scans, measured on such a pair, for tests; no data.")
    ] = False,
) -> None:
    """Train a network and publish it with figures measured on the configuration's test pairs."""
    console = Console(stderr=True)
    logging.basicConfig(
        level=logging.INFO, format="%(message)s", handlers=[RichHandler(console=console, show_path=False)]
    )
    try:
        settings = load_config(find_config(config))
        settings = smaller(settings) if smoke else settings
        settings = settings if batch is None else with_batch(settings, batch)
        run = Run(config=config, settings=settings, output=output, models=models, smoke=smoke, batch=batch)
        made = build(run, max_minutes, devices, threads, restart)
    except RegistrationError as error:
        console.print(f"[bold red]{error.message}[/]", highlight=False)
        raise typer.Exit(error.exit_code) from error
    except subprocess.CalledProcessError as error:
        what = shlex.join(error.cmd[1:])
        console.print(f"[bold red]This part failed; the same command continues from here:[/] {what}", highlight=False)
        raise typer.Exit(error.returncode if error.returncode > 0 else 1) from error
    if not made:
        console.print("The training was stopped before its end; the same command continues.")
        raise typer.Exit(3)


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is built, and where."""

    config: Path
    settings: Config
    output: Path
    models: Path | None = None
    smoke: bool = False
    batch: int | None = None

    @property
    def folder(self) -> Path:
        """Of the run."""
        return self.output / self.settings.name

    @property
    def own_models(self) -> Path:
        """Where it is published to be measured."""
        return self.folder / "models"

    @property
    def target(self) -> Path:
        """Where it is published with its figures."""
        return self.models or (self.own_models if self.smoke else MODELS)

    @property
    def figures(self) -> Path:
        """What was measured."""
        return self.folder / "figures.json"


def build(
    run: Run, max_minutes: float | None, devices: int | None, threads: int | None, restart: bool = False
) -> bool:
    """Train, publish, measure, publish; False if the training was asked to stop.

    A training that ``max_minutes`` ended before its last step is published, too; the card tells the steps.

    Raises:
        BadInputError: if the pairs to measure on are not there.
        subprocess.CalledProcessError: if a part fails.
    """
    if restart or not _trained(run):
        if run.settings.measure is not None and not run.smoke:
            measured_on(run.settings)  # pairs that are missing are to be found before hours of training, not after
        command = _training_command(run, max_minutes, devices, threads)
        if _run([*command, "--restart"] if restart else command):
            return False
    name = run.settings.name
    publish = ["training.release", "publish", str(run.folder), "--output"]
    newest = ["--config", str(run.config)]  # its texts may be better than those that the run was begun with
    if run.settings.measure is None and not run.smoke:
        _log.warning("%s names no pairs to measure on (measure), so its card has no figures.", name)
        _run([*publish, str(run.target), *newest])
        return True
    _run([*publish, str(run.own_models), *newest])
    wanted = _to_be_measured(run)
    if not run.figures.is_file() or _measured(run) != wanted:
        command = ["training.release", "figures", name, "--config", str(run.config), "--models", str(run.own_models)]
        command += ["--output", str(run.figures), *_threads(threads)]
        _run([*command, "--smoke"] if run.smoke else command)
        (run.folder / _MEASURED).write_text(wanted, encoding="utf-8")
    _run([*publish, str(run.target), *newest, "--figures", str(run.figures)])
    return True


def _training_command(run: Run, max_minutes: float | None, devices: int | None, threads: int | None) -> list[str]:
    count = torch.cuda.device_count() if devices is None else devices
    # A batch is divided among the processes.
    size = run.settings.training.batch
    used = max(n for n in range(1, max(count, 1) + 1) if size % n == 0)
    if used < count:
        _log.warning("Of %d GPUs %d are used: a step has %d pairs (--batch).", count, used, size)
    count = used
    command = ["training.train", str(run.config), "--output", str(run.output), *_threads(threads)]
    command += ["--max-minutes", str(max_minutes), "--fill"] if max_minutes is not None else []
    command += ["--smoke"] if run.smoke else []
    command += ["--batch", str(run.batch)] if run.batch is not None else []
    if count > 1:
        command = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(count), "-m", *command]
    return command


def _threads(threads: int | None) -> list[str]:
    return [] if threads is None else ["--threads", str(threads)]


def _run(arguments: list[str]) -> bool:
    """Run a part; returns whether it was asked to stop, which a training takes as a wish."""
    _log.info("%s", shlex.join(["python", "-m", *arguments]))
    process = subprocess.Popen([sys.executable, "-m", *arguments])
    stopping: list[int] = []

    def stop(number: int, frame: object) -> None:
        stopping.append(number)
        process.terminate()

    # Asked to end, the training leaves a checkpoint.
    before = signal.signal(signal.SIGTERM, stop)
    try:
        code = process.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
    if code:
        raise subprocess.CalledProcessError(code, process.args)
    return bool(stopping)


def _trained(run: Run) -> bool:
    """Whether there is nothing left to train. A run of another configuration is the training's to refuse."""
    if latest(run.folder) is None:
        return False
    checkpoint = load_checkpoint(run.folder)
    progress = checkpoint.progress
    same = run.settings.continues(from_plain(Config, checkpoint.config))
    return same and progress.finished and len(progress.steps) >= len(run.settings.training.phases)


def _to_be_measured(run: Run) -> str:
    """What figures would be of: the weights, by their checksum, and the pairs that the configuration names."""
    weights = find_model(run.settings.name, [run.own_models]).weights_sha256
    return json.dumps({"weights": weights, "measure": asdict(run.settings)["measure"]}, indent=1, default=str) + "\n"


def _measured(run: Run) -> str:
    """What the figures are of."""
    note = run.folder / _MEASURED
    return note.read_text(encoding="utf-8") if note.is_file() else ""
