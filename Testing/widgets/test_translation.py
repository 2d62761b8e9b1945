"""Every string that a user sees can be translated, also what the engine says from its own process."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import language_files
from .nodes import MODULE

LIBRARY = MODULE.parent / "DeepLargeDeformRegLib"
TRANSLATES = ("_", "translate", "say")
# Two words, or one that begins a sentence and ends it.
WORDS = re.compile(r"[A-Za-z]{2,}[,:]? [a-zA-Z(]|^ [a-z]|[a-z] $|^[A-Z][a-z]+\.$")
# What is not for people, or has no words of a language.
NOT_SPOKEN = (
    *("Segmentation category and type", "<", "border-", "background: ", "color: ", "; "),
    *("hardened copy", "reference grid", "taking the result", "There is no view", "Unknown output", "The self-test"),
)
# Sentences of the engine, which begin with a capital or a value and end with a period.
SENTENCE = re.compile(r"^([A-Z{]|[a-z]+:? ).* .*[a-z0-9)}']\.$", re.DOTALL)
NOT_SHOWN = ("_log", "logger", "parser", "warnings")
OF_PROGRAMS = (
    "ValueError",
    "TypeError",
    "KeyError",
    "IndexError",
    "ProtocolError",
    "OSError",
    "RuntimeError",
    "EOFError",
)
# What is shown and not said: words of a file, units, names of nodes and structures.
OF_THE_USER = re.compile(
    r"<[^<>]*>|&\w+;|\b(?:mm|ml|nats|MB|GB|CPU|[FMCLP]\d|warped \d|metrics)\b|(?<!\w)\.[a-z.\d]+\b|^"
    + re.escape(str(Path.home()))
)


def sources() -> list[Path]:
    return [MODULE, *sorted((LIBRARY / "scene").glob("*.py")), *sorted((LIBRARY / "widgets").glob("*.py"))]


def untranslated(text: str) -> Iterator[str]:
    """String constants with words of a language that nothing translates, as ``line: string``."""
    tree = ast.parse(text)
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):  # docstrings
            skipped.add(id(node.value))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in TRANSLATES:
            skipped.update(id(part) for part in ast.walk(node))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in skipped:
            continue
        if WORDS.search(node.value) and not node.value.strip().startswith(NOT_SPOKEN):
            yield f"{node.lineno}: {node.value}"


def sources_of_the_engine() -> list[Path]:
    return [
        path for room in ("core", "engine", "worker", "cohort") for path in sorted((LIBRARY / room).rglob("*.py"))
    ]


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .ts file of all that can be translated."""
    forms = MODULE.parent.glob("Resources/UI/*.ui")
    return language_files.collect([*sources(), *sources_of_the_engine(), *forms], tmp_path_factory.mktemp("texts"))


@pytest.mark.parametrize("path", sources(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_sentences_are_translated_where_they_stand(path: Path) -> None:
    assert list(untranslated(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("line", ['raise E("No result yet.")', 'f"{name} has no segments."', 'return "Ready."'])
def test_untranslated_sentence_is_found(line: str) -> None:
    assert list(untranslated(line))


def test_translated_sentence_is_not_found() -> None:
    assert not list(untranslated('_("No result yet.")\nsay("Local similarity")\nget("outputVolume")'))


def unmarked(tree: ast.AST) -> Iterator[str]:
    """Sentences for people that are not marked, as ``line: sentence``."""
    skipped: set[int] = set()
    for node in ast.walk(tree):
        called = node.func if isinstance(node, ast.Call) else None
        owner = called.value if isinstance(called, ast.Attribute) else called
        name = owner.id if isinstance(owner, ast.Name) else ""
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):  # docstrings
            skipped.add(id(node.value))
        elif name == "_" or name in OF_PROGRAMS or (name in NOT_SHOWN and isinstance(called, ast.Attribute)):
            skipped.update(id(part) for part in ast.walk(node))
        elif isinstance(node, ast.Call) and name.endswith("Error") and node.args:
            first = ast.unparse(node.args[0])
            if isinstance(node.args[0], ast.Constant | ast.JoinedStr) and " " in first:
                yield f"{node.lineno}: {first}"
        elif isinstance(called, ast.Attribute) and called.attr == "report" and isinstance(node, ast.Call):
            yield from (f"{node.lineno}: {one.value}" for one in node.args[2:] if isinstance(one, ast.Constant))
    for node in ast.walk(tree):
        if id(node) in skipped or not isinstance(node, ast.Constant | ast.JoinedStr):
            continue
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        skipped.update(id(part) for part in parts)
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)
        if SENTENCE.match(text):
            yield f"{node.lineno}: {text}"


def test_sentences_of_the_engine_are_marked() -> None:
    found = {
        f"{path.relative_to(LIBRARY)}:{text}"
        for path in sources_of_the_engine()
        for text in unmarked(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == set()


@pytest.mark.parametrize(
    "line",
    [
        'raise BadInputError(f"{name} is empty")',
        'return "The disk is full."',
        'monitor.report("read", 0.5, "Reading")',
    ],
)
def test_unmarked_sentence_is_found(line: str) -> None:
    assert list(unmarked(ast.parse(line)))


def test_slicers_tool_finds_every_text(collected: Path) -> None:
    expected = set().union(*(language_files.marked_texts(path) for path in [*sources(), *sources_of_the_engine()]))
    assert len(expected) > 500
    assert expected - language_files.texts_in(collected) == set()


def test_panel_speaks_the_language_of_the_application(collected: Path) -> None:
    """After a run that is doubted, one that fails, one that is accepted and one that is refused."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(MODULE.parent), str(MODULE.parents[1])])}
    language = language_files.pretended(collected)
    command = [sys.executable, "-m", "Testing.widgets.pretended_language", str(language)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shown = [line.split("\t", 2) for line in done.stdout.splitlines()]
    assert {state for state, _name, _text in shown} == {"ready", "doubted", "failed", "accepted", "refused"}
    assert len(shown) > 500
    assert [line for line in shown if re.search("[A-Za-z]{2}", OF_THE_USER.sub("", line[2]))] == []
