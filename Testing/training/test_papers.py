"""Each command of docs/papers.md names a configuration that is there, and options that its command has."""

from __future__ import annotations

import importlib
import re
import shlex
from itertools import pairwise
from pathlib import Path

import click
import pytest
import typer

from training.config import ROOT, find_config, load_config
from training.data import READERS
from training.evaluation.__main__ import app as evaluation
from training.evaluation.challenges import CHALLENGES
from training.evaluation.peers import PEERS
from training.release.__main__ import app as release

PAGE = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
BUILDS = sorted(set(re.findall(r"`build ([\w-]+)`", PAGE)))
APPS = {"training.evaluation": evaluation, "training.release": release}
PAPERS = ("Schumacher", "Hering et al. 2019", "Hering et al. 2021", "Mok and Chung 2020", "Sun and Du 2023")


@pytest.mark.parametrize("name", BUILDS)
def test_a_command_names_a_configuration_that_loads(name: str) -> None:
    config = load_config(find_config(Path(name)))
    assert config.name == name


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
