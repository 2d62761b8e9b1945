"""Configurations train, on made-up scans of reduced size, and their runs continue."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import typer

from training.config import ROOT, load_config, smaller
from training.loop.checkpoint import load_checkpoint
from training.loop.trainer import Trainer
from training.pairs.phantom import PhantomPairs
from training.train import _prepare, make_fabric
from training.train import main as train

from .conftest import BUILDS, CONFIGS

# Those of docs/papers.md are built to their end in test_papers.py.
OTHERS = [path for path in CONFIGS if path.stem not in BUILDS]


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.stem)
def test_every_other_configuration_takes_a_step(path: Path, tmp_path: Path) -> None:
    config = smaller(load_config(path))
    # In bfloat16, on so few voxels, ha2020 has no usable gradient now and then, and then takes no step.
    config = replace(config, training=replace(config.training, precision="32"))
    trainer = Trainer(config, PhantomPairs(config), [], tmp_path, make_fabric("cpu"))
    phase = config.training.phases[-1]
    trainer._open_phase(phase)
    model, optimizer = trainer._set_up(phase)
    losses = config.losses_in(phase)
    before = [parameter.clone() for parameter in trainer.network.parameters()]
    level = (phase.levels or trainer.network.levels) - 1
    values = trainer._step(model, optimizer, trainer._objective(phase), phase.learning_rate)
    assert {loss.name for loss in losses if loss.weight_at(level)} <= set(values)
    assert bool(torch.isfinite(values["total"]))
    after = list(trainer.network.parameters())
    assert all(bool(torch.isfinite(parameter).all()) for parameter in after)
    assert any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_the_command_trains_and_continues(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.train", "hippocampus-mr-lapirn", "--smoke", "--threads", "1"]
    command += ["--accelerator", "cpu", "--max-minutes", "2", "--tensorboard", "--output", str(tmp_path)]
    steps = len(load_config(ROOT / "training" / "configs" / "hippocampus-mr-lapirn.yaml").training.phases)
    for message in (f"Finished after {steps} steps", f"Continuing after {steps} steps"):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=900)
        assert done.returncode == 0, done.stderr[-2000:]
        assert message in " ".join(done.stderr.split())
    folder = tmp_path / "hippocampus-mr-lapirn-smoke"
    checkpoint = load_checkpoint(folder)
    assert checkpoint.progress.finished
    assert checkpoint.progress.commands[0].startswith("python -m training.train hippocampus-mr-lapirn --smoke")
    assert list((folder / "tensorboard").glob("events*"))


def test_a_run_is_not_continued_with_another_configuration_but_with_further_phases(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = tmp_path / "changed.yaml"
    text = (ROOT / "training" / "configs" / "hippocampus-mr-ldgnet.yaml").read_text(encoding="utf-8")
    text = text.replace("bases/", f"{ROOT / 'training' / 'configs' / 'bases'}/")
    phases = len(load_config(ROOT / "training" / "configs" / "hippocampus-mr-ldgnet.yaml").training.phases)
    more = text.replace("card:", "    - {steps: 500, learning_rate: 1.0e-5}\ncard:")

    def run(configuration: str) -> int:
        changed.write_text(configuration, encoding="utf-8")
        train(changed, output=tmp_path / "runs", smoke=True, accelerator="cpu")
        return load_checkpoint(tmp_path / "runs" / "hippocampus-mr-ldgnet-smoke").progress.step

    assert run(text) == phases
    with pytest.raises(typer.Exit) as refused:
        run(text.replace("1.0e-3", "7.0e-4"))
    assert refused.value.exit_code == 2
    assert "was started with another configuration" in " ".join(capsys.readouterr().err.split())
    assert run(more) == phases + 1


def test_a_run_that_its_time_limit_stopped_gets_further_phases(tmp_path: Path) -> None:
    config = smaller(load_config(ROOT / "training" / "configs" / "hippocampus-mr-ldgnet.yaml"))
    config = replace(config, training=replace(config.training, phases=config.training.phases[:1]))
    fabric = make_fabric("cpu")
    late, early = time.monotonic(), None
    for more, deadline, expected in ((0, late, (1, False)), (1, early, (2, True))):
        phases = config.training.phases + config.training.phases[-1:] * more
        longer = replace(config, training=replace(config.training, phases=phases))
        trainer, grown = _prepare(longer, tmp_path, fabric, False, deadline, smoke=True)
        assert grown == bool(more)
        assert trainer.progress.budget == 0
        trainer.run()
        trainer.progress.budget = 1e-3  # of --fill: spent, and no plan for phases to come
        trainer.save()
        assert (trainer.progress.step, trainer.progress.finished) == expected
