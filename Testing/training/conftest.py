"""A run small enough for a test: LapIRN on made-up scans."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from training.config import ROOT, Config, LossConfig, NetworkConfig, PhaseConfig, load_config, smaller
from training.loop.trainer import Trainer
from training.pairs.phantom import PhantomPairs
from training.train import make_fabric

PAGE = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
BUILDS = sorted(set(re.findall(r"`build ([\w-]+)`", PAGE)))
CONFIGS = sorted((ROOT / "training" / "configs").glob("*.yaml"))


def tiny(**training: Any) -> Config:
    """Two phases of a narrow LapIRN on made-up scans; ``training`` replaces settings of the optimization."""
    config = smaller(load_config(ROOT / "training" / "configs" / "hippocampus-mr-lapirn.yaml"))
    network = replace(config.network, arguments={"start_channel": 2, "residual_blocks": 1})
    phases = (
        PhaseConfig(steps=4, learning_rate=1e-2, levels=2, warmup=1),
        PhaseConfig(steps=4, learning_rate=5e-3, decay="cosine", inherit=True),
    )
    settings = {"phases": phases, "batch": 2, "precision": "32", "channels_last": False} | training
    # Masks and structures of two scans have two sizes: a mean over the batch must not weigh scans by them.
    losses = (replace(config.losses[0], masked=True), *config.losses[1:])
    training_config = replace(config.training, **settings)
    # In 32 bits, what is published is what was trained, to the last digit.
    config = replace(config, name="tiny", mean_of_phases=1, stored_bits=32)
    return replace(config, network=network, losses=losses, training=training_config)


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., Trainer]:
    """``make_trainer(name, should_stop=..., network=..., losses=..., **settings of the optimization)``."""

    def make(
        name: str,
        should_stop: Callable[[], bool] = lambda: False,
        network: NetworkConfig | None = None,
        losses: tuple[LossConfig, ...] = (),
        **training: Any,
    ) -> Trainer:
        config = tiny(**training)
        config = replace(config, network=network or config.network, losses=losses or config.losses)
        source = PhantomPairs(config)
        return Trainer(config, source, [], tmp_path / name, make_fabric("cpu"), should_stop=should_stop)

    return make
