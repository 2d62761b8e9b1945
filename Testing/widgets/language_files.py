"""A language file as Slicer's workflow makes it: collected by Qt's lupdate, translated, compiled by lrelease."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import pytest

LETTER = "\u0436"
# Places, tags and entities are no words of a language.
_KEPT = re.compile(r"(\{[^{}]*\}|<[^<>]*>|&\w+;)|[A-Za-z]")
_MARKED = re.compile(r"(?<!\w)_\((\s*\".+?\"\s*)\)", re.DOTALL)


def context_of(path: Path) -> str:
    """The context that Slicer gives the texts of a file: its folder, where that is a package, and its name."""
    return f"{path.parent.name}.{path.stem}" if (path.parent / "__init__.py").is_file() else path.stem


def tool(name: str) -> Path:
    """A tool of Qt; skips where PySide6 does not bring it."""
    found = Path(pytest.importorskip("PySide6").__file__).parent / name
    if not found.is_file():
        pytest.skip(f"PySide6 has no {name} here.")
    return found


def collect(sources: Iterable[Path], folder: Path) -> Path:
    """The texts of Python files and forms as a .ts file.

    As in Slicer's ``update_translations.py``, ``_("...")`` becomes ``translate("context", "...")`` before lupdate
    reads the file; it finds a call by the quotes, and not by the grammar.
    """
    names = []
    for number, path in enumerate(sources):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".py":
            text = _MARKED.sub(rf'translate("{context_of(path)}", \1)', text)
        names.append(f"{number}{path.suffix}")
        (folder / names[-1]).write_text(text, encoding="utf-8")
    _run([str(tool("lupdate")), *names, "-ts", "texts.ts"], folder)
    return folder / "texts.ts"


def texts_in(path: Path) -> set[tuple[str, str]]:
    """Context and text of each entry of a .ts file."""
    return {
        (context.findtext("name", ""), message.findtext("source", ""))
        for context in ElementTree.parse(path).iter("context")
        for message in context.iter("message")
    }


def marked_texts(path: Path) -> set[tuple[str, str]]:
    """Context and text of each ``_("...")`` of a Python file; fails where a variable takes the place of the text."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
            (argument,) = node.args
            assert isinstance(argument, ast.Constant), (
                f"{path.name}:{node.lineno}: lupdate reads texts, not variables"
            )
            found.add((context_of(path), str(argument.value)))
    return found


def pretended(path: Path) -> Path:
    """A .qm file of a language whose only letter English does not have, made of the texts of a .ts file."""
    tree = ElementTree.parse(path)
    for message in tree.iter("message"):
        translation = message.find("translation")
        assert translation is not None
        translation.attrib.pop("type", None)
        translation.text = _KEPT.sub(lambda found: found[1] or LETTER, message.findtext("source", ""))
    tree.write(path, encoding="utf-8", xml_declaration=True)
    _run([str(tool("lrelease")), path.name, "-qm", "texts.qm"], path.parent)
    return path.with_name("texts.qm")


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
