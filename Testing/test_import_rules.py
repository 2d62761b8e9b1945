"""Who may import whom (CONTRIBUTING.md): tables, checked on the source, and the check on itself."""

from __future__ import annotations

import ast
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "DeepLargeDeformRegLib"
REPOSITORY = Path(__file__).resolve().parents[1]

# Part of the library -> other parts that it may import, at any depth of its code.
ALLOWED = {
    "resources": set(),
    "core": {"resources"},
    "engine": {"core", "resources"},
    "report": {"core", "engine", "resources"},
    "cohort": {"core", "engine", "report", "worker", "resources"},
    "cli": {"core", "engine", "report", "cohort", "resources"},
    "worker": {"core"},
    "scene": {"core", "resources"},
    "widgets": {"core", "scene", "worker", "resources"},
}
# Files of the worker that run in its own process, and what they may import besides.
SERVER = {"worker/server.py", "worker/jobs.py", "worker/failures.py"}
SERVER_ALLOWED = {"engine", "report"}
MODULE = "DeepLargeDeformReg.py"
MODULE_ALLOWED = {"core", "scene", "widgets", "worker", "resources"}

CORE_PACKAGES = {"numpy", "SimpleITK", "scipy", "pydicom"}
SLICER_PACKAGES = CORE_PACKAGES | {"slicer", "vtk", "qt", "ctk"}
NOT_IN_ENGINE = {"slicer", "vtk", "qt", "ctk"}


def imports_of(path: Path, package: Path, everywhere: bool) -> Iterator[str]:
    """Absolute names that a file of a package imports, anywhere or at file scope only (type checking apart)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parts = (package.name, *path.relative_to(package).parts[:-1]) if package in path.parents else ()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module or "")))
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _may_import(place: str) -> set[str]:
    part = place.split("/")[0]
    return {part} | ALLOWED[part] | (SERVER_ALLOWED if place in SERVER else set())


def faults(folder: Path) -> list[str]:
    """All imports under the module's folder that break a rule, each as a sentence."""
    library = folder / PACKAGE
    found = []
    files = [path for path in sorted(library.rglob("*.py")) if path.parent != library]
    for path in [*files, folder / MODULE]:
        place = path.relative_to(library).as_posix() if path in files else MODULE
        allowed = MODULE_ALLOWED if place == MODULE else _may_import(place)
        for name in imports_of(path, library, everywhere=True):
            first, *rest = name.split(".")
            if (
                first == "training"
                or first == "Testing"
                or (first == PACKAGE and rest and (library / rest[0]).is_dir() and rest[0] not in allowed)
            ):
                found.append(f"{place} imports {name}")
            elif place.startswith("engine/") and first in NOT_IN_ENGINE:
                found.append(f"{place} imports {name}, which Slicer alone has")
            elif place.startswith("core/") and first not in CORE_PACKAGES | {PACKAGE} | sys.stdlib_module_names:
                found.append(f"{place} imports {name}, which the core may not need")
        if place == MODULE or (place.split("/")[0] in ("scene", "widgets", "worker") and place not in SERVER):
            for name in imports_of(path, library, everywhere=False):
                if name.split(".")[0] not in SLICER_PACKAGES | {PACKAGE} | sys.stdlib_module_names:
                    found.append(f"{place} imports {name} at file scope, which Slicer may not have")
    return found


def circles(package: Path) -> list[str]:
    """Modules of a package that import each other at file scope, as ``a -> b -> a``."""
    names = {}
    for path in package.rglob("*.py"):
        parts = (package.name, *path.relative_to(package).with_suffix("").parts)
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    graph: dict[str, set[str]] = {}
    for name, path in names.items():
        wanted = set(imports_of(path, package, everywhere=False))
        found = {one if one in names else one.rpartition(".")[0] for one in wanted}
        parent = name if path.name == "__init__.py" else name.rpartition(".")[0]
        graph[name] = {one for one in found if one in names and one not in (name, parent)}
    found_circles = []
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        if name in way:
            found_circles.append(" -> ".join((*way[way.index(name) :], name)))
        elif name not in done:
            for other in sorted(graph[name]):
                visit(other, (*way, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())
    return found_circles


def test_every_part_has_a_rule() -> None:
    library = REPOSITORY / "DeepLargeDeformReg" / PACKAGE
    parts = {path.parent.name for path in library.glob("*/__init__.py")}
    assert parts <= set(ALLOWED)


def test_parts_import_only_what_they_may() -> None:
    assert faults(REPOSITORY / "DeepLargeDeformReg") == []


@pytest.mark.parametrize("package", [f"DeepLargeDeformReg/{PACKAGE}", "training", "Testing"])
def test_no_module_imports_itself_through_others(package: str) -> None:
    assert circles(REPOSITORY / package) == []


WRONG = {
    f"{PACKAGE}/core/labels.py": "from ..engine import fields",
    f"{PACKAGE}/core/errors.py": "import torch",
    f"{PACKAGE}/engine/device.py": "from ..worker import protocol",
    f"{PACKAGE}/engine/job.py": "import slicer",
    f"{PACKAGE}/engine/evaluation.py": "from training import config",
    f"{PACKAGE}/scene/errors.py": "from ..engine.job import run_job",
    f"{PACKAGE}/scene/places.py": "import torch",
    f"{PACKAGE}/widgets/listeners.py": "def late():\n    from ..engine import job",
    f"{PACKAGE}/worker/client.py": "from ..engine import job",
    f"{PACKAGE}/worker/contract.py": "import torch",
    f"{PACKAGE}/report/colors.py": "from ..scene import places",
    MODULE: "import torch",
}


@pytest.mark.parametrize("place", sorted(WRONG))
def test_a_wrong_import_is_found(place: str, tmp_path: Path) -> None:
    copy = tmp_path / "DeepLargeDeformReg"
    shutil.copytree(REPOSITORY / "DeepLargeDeformReg", copy, ignore=lambda _, names: _all_but_sources(names))
    path = copy / place
    path.write_text(path.read_text(encoding="utf-8") + f"\n\n{WRONG[place]}\n", encoding="utf-8")
    (found,) = faults(copy)
    assert found.startswith(place.removeprefix(f"{PACKAGE}/") + " imports ")


def test_a_circle_is_found(tmp_path: Path) -> None:
    library = tmp_path / PACKAGE / "core"
    library.mkdir(parents=True)
    for name, line in (
        ("__init__", ""),
        ("a", "from .b import x"),
        ("b", "from . import c"),
        ("c", "from .a import y"),
    ):
        (library / f"{name}.py").write_text(line + "\n")
    core = f"{PACKAGE}.core"
    assert circles(library.parent) == [f"{core}.a -> {core}.b -> {core}.c -> {core}.a"]


def _all_but_sources(names: list[str]) -> list[str]:
    return [name for name in names if "." in name and not name.endswith(".py")]
