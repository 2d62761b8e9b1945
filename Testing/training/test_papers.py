"""Each command of docs/papers.md names a configuration that is there, and options that its command has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from training.config import ROOT, find_config, load_config
from training.evaluation.__main__ import app as evaluation
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


def test_options_in_the_text_exist() -> None:
    found = re.findall(r"python -m (training\.\w+) (\w+)([^`]*)", PAGE)
    assert len(found) >= 2
    for module, name, rest in found:
        group = typer.main.get_command(APPS[module])
        command = group.commands[name]  # type: ignore[attr-defined]
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"--[\w-]+", rest)) <= known
