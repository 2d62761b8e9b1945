"""The wheel, built from the sdist and installed where no source lies, registers.

Its packages come from the environment of the tests, so that nothing of gigabytes is installed. The library itself can
come from the wheel alone: the environment's own (editable) installation is found through files that Python reads in
its own folder of packages only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

pytest.importorskip("build", reason="needs the package 'build', which the extra 'test' installs")
pytest.importorskip("twine", reason="needs the package 'twine', which the extra 'test' installs")


def run(command: list[str | Path], folder: Path) -> str:
    """Output of a command that must succeed, away from the repository."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def distributions(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the sdist, and the wheel built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, repository], folder)
    return folder


@pytest.fixture(scope="module")
def installed(distributions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the programs of an environment that holds the wheel."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    (wheel,) = distributions.glob("*.whl")
    python = programs / Path(sys.executable).name
    if not python.exists():
        python = programs / "python"
    install = ["install", "--quiet", "--no-deps", "--no-index", wheel]
    run([sys.executable, "-m", "pip", "--python", python, *install], folder)
    packages = run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder).strip()
    (Path(packages) / "packages_of_the_tests.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    where = run([python, "-c", "import DeepLargeDeformRegLib as library; print(library.__file__)"], folder)
    assert Path(where.strip()).is_relative_to(folder)
    return programs


def test_what_is_uploaded_passes_the_checks_of_the_index(distributions: Path) -> None:
    files = sorted(distributions.iterdir())
    assert [path.suffix for path in files] == [".whl", ".gz"]
    run([sys.executable, "-m", "twine", "check", "--strict", *files], distributions)


def test_wheel_holds_every_file_of_the_library(distributions: Path, repository: Path) -> None:
    (wheel,) = distributions.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    listed = subprocess.run(
        ["git", "ls-files", "DeepLargeDeformRegLib"],
        cwd=repository / "DeepLargeDeformReg",
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout.split()
    slicer_only = ("DeepLargeDeformRegLib/scene/", "DeepLargeDeformRegLib/widgets/")
    assert packed == {name for name in listed if not name.startswith(slicer_only)}


def test_the_installed_command_finds_its_models(installed: Path, tmp_path: Path) -> None:
    cards = json.loads(run([installed / "deeplargedeformreg", "models", "--json"], tmp_path))
    assert {"liver-ct", "hippocampus-mr-lapirn"} <= {card["name"] for card in cards}


@pytest.mark.parametrize("preset", ["mr-hippocampus", "any"])
def test_the_installed_command_registers(installed: Path, tmp_path: Path, preset: str) -> None:
    """A blob that lies 3 mm aside comes to lie on the other, with a network that ships and without one."""
    z, y, x = np.mgrid[:24, :24, :24]
    for name, center in (("fixed", 12), ("moving", 15)):
        blob = 100 * np.exp(-((x - center) ** 2 + (y - 12) ** 2 + (z - 12) ** 2) / 40)
        sitk.WriteImage(sitk.GetImageFromArray(blob.astype(np.float32)), str(tmp_path / f"{name}.nrrd"))
    command: list[str | Path] = [installed / "deeplargedeformreg", "register", "fixed.nrrd", "moving.nrrd"]
    outputs: list[str | Path] = ["--output-volume", "warped.nrrd", "--metrics", "metrics.json", "--report", "r.html"]
    run([*command, "--preset", preset, "--device", "cpu", *outputs], tmp_path)
    fixed, moving, warped = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"{name}.nrrd")))
        for name in ("fixed", "moving", "warped")
    )
    # Half of the difference is far from what either preset leaves (a tenth), on any processor.
    assert np.abs(fixed - warped).mean() < 0.5 * np.abs(fixed - moving).mean()
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    # Whether the network's prediction is the better initial field is the pair's matter; its weights were read.
    assert (metrics["provenance"]["model_sha256"] is not None) == (preset == "mr-hippocampus")
    assert metrics["jacobian"]["fold_percent"] == 0
    assert (tmp_path / "r.html").stat().st_size > 10_000
