"""What Slicer loads of the worker needs the standard library alone, and the server says hello without torch."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from .conftest import REPOSITORY

HEAVY = ("torch", "numpy", "SimpleITK", "scipy")


@pytest.mark.parametrize("module", ["protocol", "contract", "client", "process", "windows", "job_folder"])
def test_the_client_side_needs_the_standard_library_alone(module: str) -> None:
    """``-S`` hides all installed packages."""
    code = f"import sys; sys.path.insert(0, sys.argv[1]); import DeepLargeDeformRegLib.worker.{module}"
    folder = str(REPOSITORY / "DeepLargeDeformReg")
    subprocess.run([sys.executable, "-S", "-I", "-c", code, folder], check=True)


def test_no_sockets_and_nothing_that_runs_what_it_reads() -> None:
    """Neither pickle nor ``torch.load`` (which unpickles): messages are JSON, volumes NRRD, weights safetensors."""
    library = REPOSITORY / "DeepLargeDeformReg" / "DeepLargeDeformRegLib"
    forbidden = re.compile(
        r"\b(pickle|marshal|shelve|dill|cloudpickle|socket|socketserver|torch\.load|allow_pickle)\b"
    )
    for path in library.rglob("*.py"):
        used = [line for line in path.read_text(encoding="utf-8").splitlines() if forbidden.search(line)]
        assert not used, (path.name, used)


def test_the_server_imports_nothing_heavy_before_hello() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import DeepLargeDeformRegLib.worker.server, "
        f"DeepLargeDeformRegLib.worker.jobs; sys.exit(any(name in sys.modules for name in {HEAVY}))"
    )
    folder = str(REPOSITORY / "DeepLargeDeformReg")
    subprocess.run([sys.executable, "-c", code, folder], check=True)
