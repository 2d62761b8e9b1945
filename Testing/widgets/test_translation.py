"""Every string that a user sees can be translated."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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


@pytest.mark.parametrize("path", sources(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_sentences_are_translated_where_they_stand(path: Path) -> None:
    assert list(untranslated(path.read_text(encoding="utf-8"))) == []


def test_texts_stand_in_the_source() -> None:
    """The tool that collects them reads the source: a variable is no text."""
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
                (argument,) = node.args
                assert isinstance(argument, ast.Constant), f"{path.name}:{node.lineno}"


@pytest.mark.parametrize("line", ['raise E("No result yet.")', 'f"{name} has no segments."', 'return "Ready."'])
def test_untranslated_sentence_is_found(line: str) -> None:
    assert list(untranslated(line))


def test_translated_sentence_is_not_found() -> None:
    assert not list(untranslated('_("No result yet.")\nsay("Local similarity")\nget("outputVolume")'))


def visible_texts(panel: Any) -> Iterator[tuple[str, str]]:
    """Name and text of all that the panel writes, tooltips and entries of boxes included."""
    import qt

    for widget in panel.findChildren(qt.QWidget):
        texts = [widget.toolTip]
        if isinstance(widget, (qt.QLabel, qt.QAbstractButton)):
            texts.append(widget.text)
        if isinstance(widget, qt.QGroupBox):
            texts.append(widget.title)
        if isinstance(widget, qt.QComboBox):
            texts += [widget.itemText(index) for index in range(widget.count)]
        if isinstance(widget, qt.QTableWidget):
            texts += [widget.horizontalHeaderItem(column).text() for column in range(widget.columnCount)]
        yield from ((widget.name, text) for text in texts if text)


SPEAKING = """
from PySide6 import QtCore
from Testing.slicer_app import start
from Testing.widgets import nodes, test_translation

class Brackets(QtCore.QTranslator):
    def translate(self, context, text, disambiguation=None, n=-1):
        return f"[{text}]"

application = start()
translator = Brackets()
application.qt_application.installTranslator(translator)
fixed, moving = nodes.add_volumes("first", "second")
widget = application.open_module(nodes.MODULE)
nodes.add_result(fixed, moving, {"dice": {"liver": {"before": 0.5, "after": 0.9}}})
widget.results.refresh(newest=True)
widget.ui.differenceButton.click()
for name, text in dict.fromkeys(test_translation.visible_texts(widget.ui.inputsSection.parent())):
    print(name, text, sep="\\t")
application.qt_application.removeTranslator(translator)
application.quit_modules()
"""
OF_THE_USER = {"CPU", "first", "second", "warped 1", "metrics", "liver", str(Path.home())}


def test_panel_speaks_the_language_of_the_application() -> None:
    """In a process of its own, as what is translated when it is imported stays so."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(MODULE.parent), str(MODULE.parents[1])])}
    done = subprocess.run([sys.executable, "-c", SPEAKING], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = [line.partition("\t") for line in done.stdout.splitlines() if "\t" in line]
    open_texts = [
        (name, text)
        for name, _tab, text in found
        if not re.match(r"^(<[^>]+>)*\[", text) and re.search("[A-Za-z]{2}", text)
        if text not in OF_THE_USER and not text.startswith(".") and "[Run 1]" not in text
    ]
    assert len(found) > 100
    assert open_texts == []
