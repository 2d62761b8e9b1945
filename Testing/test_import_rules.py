"""Who may import whom (CONTRIBUTING.md): a table, checked on the source."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "DeepLargeDeformRegLib"
LIBRARY = Path(__file__).resolve().parents[1] / "DeepLargeDeformReg" / PACKAGE

# Part of the library -> parts that it must never import, at any depth of its code.
FORBIDDEN = {
    "core": {"engine", "worker", "scene", "widgets", "report", "cli"},
    "engine": {"worker", "scene", "widgets", "report", "cli"},
    "report": {"worker", "scene", "widgets", "cli"},
    "scene": {"engine", "worker", "widgets", "report", "cli"},
    "widgets": {"engine", "report", "cli"},
    "worker": {"scene", "widgets", "cli"},
}
NOT_IN_SLICER = {"torch", "safetensors", "jinja2", "contourpy", "matplotlib", "rich", "typer"}


def imports_of(path: Path, everywhere: bool) -> Iterator[str]:
    """Absolute names that a file imports, anywhere or at file scope only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parts = (PACKAGE, *path.relative_to(LIBRARY).parts[:-1])
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module or "")))
            yield from (f"{module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("part", sorted(FORBIDDEN))
def test_parts_import_only_what_they_may(part: str) -> None:
    files = list((LIBRARY / part).rglob("*.py"))
    assert files
    for path in files:
        for name in imports_of(path, everywhere=True):
            if name.startswith(PACKAGE + "."):
                assert name.split(".")[1] not in FORBIDDEN[part], f"{path.name} imports {name}"
            assert name.split(".")[0] != "training", f"{path.name} imports training"


def test_what_all_parts_share_needs_only_numpy() -> None:
    names = {name.split(".")[0] for name in imports_of(LIBRARY / "core" / "raw_nrrd.py", everywhere=True)}
    assert names - sys.stdlib_module_names == {"numpy"}


def test_what_slicer_loads_needs_no_package_that_slicer_lacks() -> None:
    loaded = [*(LIBRARY / "scene").rglob("*.py"), *(LIBRARY / "widgets").rglob("*.py")]
    loaded += [LIBRARY / "worker" / name for name in ("client.py", "protocol.py", "job_folder.py", "contract.py")]
    loaded.append(LIBRARY.parent / "DeepLargeDeformReg.py")
    for path in loaded[:-1]:
        for name in imports_of(path, everywhere=False):
            assert name.split(".")[0] not in NOT_IN_SLICER, f"{path.name} imports {name} at file scope"
