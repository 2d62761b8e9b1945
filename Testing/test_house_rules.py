"""Rules of CONTRIBUTING.md that a reader of the source can check: sizes, and records that are built by keywords."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDERS = ("DeepLargeDeformReg", "Resources", "Testing", "training")
MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 60
MOST_FIELDS_BY_POSITION = 4


def faults(path: Path) -> Iterator[str]:
    """What breaks a rule in a file, each as a sentence."""
    text = path.read_text(encoding="utf-8")
    lines = len(text.splitlines())
    if lines > MOST_LINES_OF_A_FILE:
        yield f"{path.name} has {lines} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            if lines > MOST_LINES_OF_A_FUNCTION:
                yield f"{path.name}: {node.name} has {lines} lines"
        elif isinstance(node, ast.ClassDef):
            count = _fields_by_position(node)
            if count > MOST_FIELDS_BY_POSITION:
                yield f"{path.name}: the {count} fields of {node.name} are not keyword-only"


def _fields_by_position(record: ast.ClassDef) -> int:
    """Fields of a dataclass that its constructor takes by position; 0 for other classes."""
    decorators = [ast.unparse(one) for one in record.decorator_list]
    if not any(one.startswith(("dataclass", "dataclasses.dataclass")) for one in decorators):
        return 0
    if any("kw_only=True" in one for one in decorators):
        return 0
    annotations = [ast.unparse(one.annotation) for one in record.body if isinstance(one, ast.AnnAssign)]
    until = next((index for index, one in enumerate(annotations) if one.endswith("KW_ONLY")), None)
    return sum("ClassVar" not in one for one in annotations[:until])


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_file_breaks_a_rule(folder: str) -> None:
    assert [fault for path in sorted((REPOSITORY / folder).rglob("*.py")) for fault in faults(path)] == []


def test_each_rule_finds_what_breaks_it(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    fields = "".join(f"    {name}: int\n" for name in "abcde")
    wrong.write_text(
        f"@dataclass(frozen=True)\nclass Long:\n{fields}\n"
        f"@dataclass(kw_only=True)\nclass Named:\n{fields}\n"
        f"@dataclass\nclass Partly:\n    z: int\n    _: KW_ONLY\n{fields}\n"
        "def much():\n" + "    pass\n" * 61 + "x = 1\n" * 320
    )
    assert list(faults(wrong)) == [
        f"wrong.py has {len(wrong.read_text().splitlines())} lines",
        "wrong.py: the 5 fields of Long are not keyword-only",
        "wrong.py: much has 62 lines",
    ]


def test_the_files_that_a_change_touches_are_where_contributing_says() -> None:
    page = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = page[page.index("## Four changes") : page.index("## House rules")]
    named = re.findall(r"`([\w./]+\.(?:py|md))`", table)
    library = REPOSITORY / "DeepLargeDeformReg" / "DeepLargeDeformRegLib"
    places = (REPOSITORY, library, library / "core" / "files")
    assert len(named) > 12
    assert [name for name in named if not any((place / name).is_file() for place in places)] == []
