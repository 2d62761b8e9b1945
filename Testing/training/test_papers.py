"""Each row of docs/papers.md is built at smoke size, and each command in the text has the options that it names."""

from __future__ import annotations

import importlib
import json
import re
import shlex
from itertools import pairwise
from math import isfinite
from pathlib import Path

import click
import pytest
import typer
from DeepLargeDeformRegLib.engine.models import load_model
from typer.testing import CliRunner

from training.config import find_config, load_config, smaller
from training.data import READERS
from training.evaluation.__main__ import app as evaluation
from training.evaluation.challenges import CHALLENGES
from training.evaluation.peers import PEERS
from training.loop.checkpoint import load_checkpoint
from training.release import build as building
from training.release.__main__ import app as release

from .conftest import BUILDS, PAGE

APPS = {"training.evaluation": evaluation, "training.release": release}
PAPERS = ("Schumacher", "Hering et al. 2019", "Hering et al. 2021", "Mok and Chung 2020", "Sun and Du 2023")


def in_this_process(arguments: list[str]) -> bool:
    """A part of a build without a process of its own, which takes seconds to start."""
    module, *words = arguments
    app = release if module == "training.release" else typer.Typer()
    if app is not release:
        app.command()(importlib.import_module(module).main)
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return False


@pytest.mark.parametrize("name", BUILDS)
def test_a_row_is_built_and_measured_at_smoke_size(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "_run", in_this_process)
    command = ["build", name, "--smoke", "--threads", "1", "--output", str(tmp_path)]
    done = CliRunner().invoke(release, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    config = smaller(load_config(find_config(Path(name))))
    assert config.name == f"{name}-smoke"
    folder = tmp_path / config.name
    assert load_checkpoint(folder).progress.finished
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(entries) == len(config.training.phases)
    finest = config.make_network(meta=True).levels - 1
    assert {loss.name for loss in config.losses if loss.weight_at(finest)} <= set(entries[-1])
    assert all(isfinite(value) for entry in entries for value in entry.values())
    model = load_model(config.name, "cpu", [folder / "models"])
    assert {"folds (det J <= 0)", "time of the network"} <= {figure.measure for figure in model.card.figures}


def test_all_five_papers_have_their_tables() -> None:
    assert all(f"## {paper}" in PAGE for paper in PAPERS)
    assert len(BUILDS) >= 25


def _parameters(module: str, name: str) -> dict[str, click.Parameter]:
    """The parameters of a command by their options; ``name`` is that of a command of a group."""
    if module in APPS:
        command = typer.main.get_command(APPS[module]).commands[name]  # type: ignore[attr-defined]
    else:
        app = typer.Typer()
        app.command()(importlib.import_module(module).main)
        command = typer.main.get_command(app)
    return {option: parameter for parameter in command.params for option in parameter.opts}


def test_commands_in_the_text_are_parsed() -> None:
    found = re.findall(r"python -m (training[\w.]+) ([^`]*)", PAGE)
    assert len(found) >= 6
    for module, rest in found:
        words = shlex.split(rest.replace("\\\n", " "))
        known = _parameters(module, words[0])
        options = {word for word in words if word.startswith("--")}
        assert options <= set(known), (module, options - set(known))
        for option, value in pairwise(words):
            if option == "--methods":
                assert set(value.split(",")) - {"ours"} <= set(PEERS), value
            elif option == "--challenge":
                assert value in CHALLENGES
            elif option == "--reader":
                assert value in READERS
            elif option == "--network-alone" and value.islower():
                load_config(find_config(Path(value)))
