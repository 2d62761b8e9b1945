"""The first use: what is installed, with consent, and what is said where it cannot be."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def dependencies(application: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, in an application that asks; what counts as installed is in ``dependencies.there``."""
    import qt
    from DeepLargeDeformRegLib.widgets import dependencies

    application.testing = False
    application.dialogs.answers.append(lambda dialog: qt.QMessageBox.Ok)
    monkeypatch.setattr(dependencies, "there", {"safetensors", "jinja2", "contourpy", "torch"}, raising=False)
    monkeypatch.setattr(dependencies, "versions", {"jinja2": "3.1.4", "contourpy": "1.3.0"}, raising=False)

    def version(name: str) -> str | None:
        return dependencies.versions.get(name, "2.6.0+cpu") if name in dependencies.there else None

    monkeypatch.setattr(dependencies, "_installed_version", version)
    return dependencies


def with_pytorch_extension(folder: Path, monkeypatch: pytest.MonkeyPatch, install: Any) -> list[dict[str, Any]]:
    """The extension PyTorch, which cannot be had here; returns what it was asked."""
    asked: list[dict[str, Any]] = []

    def install_torch(**choices: Any) -> Any:
        asked.append(choices)
        return install()

    (folder / "PyTorchUtils.py").write_text(
        "class PyTorchUtilsLogic:\n    def installTorch(self, **choices):\n        return install(**choices)\n",
        encoding="utf-8",
    )
    spec = importlib.util.spec_from_file_location("PyTorchUtils", folder / "PyTorchUtils.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.install = install_torch
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)
    return asked


def test_torch_comes_through_its_extension_alone(
    application: Any, dependencies: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer

    dependencies.there = set()

    def install() -> object:
        dependencies.there = {"torch", "safetensors", "jinja2", "contourpy"}
        return object()

    asked = with_pytorch_extension(tmp_path, monkeypatch, install)
    slicer.packaging.stand_in.asked.clear()
    dependencies.ensure()
    assert asked == [{"askConfirmation": False, "torchVersionRequirement": ">=2.4"}]
    dialog = application.dialogs.shown[-1]
    for name in ("PyTorch", "safetensors", "jinja2", "contourpy", "PyTorch extension"):
        assert name in dialog
    installed = " ".join(slicer.packaging.stand_in.asked)
    assert "safetensors" in installed
    assert "torch" not in installed
    assert "numpy" not in installed
    assert len(application.dialogs.shown) == 1, "one question for all"


@pytest.mark.parametrize(("version", "is_too_old"), [((5, 8), True), ((5, 10), False), ((6, 0), False)])
def test_the_least_slicer_is_checked(
    application: Any, monkeypatch: pytest.MonkeyPatch, version: tuple[int, int], is_too_old: bool
) -> None:
    from DeepLargeDeformRegLib.widgets import dependencies

    for name, number in zip(("majorVersion", "minorVersion"), version, strict=True):
        monkeypatch.setattr(type(application.slicer_app), name, number)
    assert ("5.10 or newer" in dependencies.slicer_too_old()) is is_too_old


def test_no_is_no(application: Any, dependencies: Any) -> None:
    import qt
    import slicer

    dependencies.there = set()
    application.dialogs.answers[:] = [lambda dialog: qt.QMessageBox.Cancel]
    slicer.packaging.stand_in.asked.clear()
    with pytest.raises(dependencies.DependenciesMissing, match="Nothing was installed"):
        dependencies.ensure()
    assert not slicer.packaging.stand_in.asked
    assert not application.slicer_app.extensions.asked


@pytest.mark.parametrize(("version", "is_missing"), [("2.3.1", True), ("2.4", False), ("2.10.0+cu128", False)])
def test_an_old_version_counts_as_missing(
    application: Any, dependencies: Any, version: str, is_missing: bool
) -> None:
    application.dialogs.answers.clear()
    dependencies.versions["torch"] = version
    assert dependencies.missing_packages() == (["torch"] if is_missing else [])


def test_torch_that_did_not_come(
    application: Any, dependencies: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dependencies.there.discard("torch")
    with_pytorch_extension(tmp_path, monkeypatch, lambda: None)
    with pytest.raises(dependencies.DependenciesMissing, match="PyTorch was not installed"):
        dependencies.ensure()


@pytest.mark.parametrize("online", [True, False])
def test_without_the_extension_it_is_offered(application: Any, dependencies: Any, online: bool) -> None:
    dependencies.there.discard("torch")
    application.slicer_app.extensions.online = online
    expected = "restart Slicer" if online else "extension PyTorch could not be downloaded"
    with pytest.raises(dependencies.DependenciesMissing, match=expected):
        dependencies.ensure()
    assert application.slicer_app.extensions.asked == ["PyTorch"]
    assert application.slicer_app.extensions.interactive, "the setting is the user's"


def test_offline_has_its_own_sentence(
    application: Any, dependencies: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import qt
    import slicer

    def unreachable() -> None:
        raise OSError("network is unreachable")

    dependencies.there.discard("torch")
    with_pytorch_extension(tmp_path, monkeypatch, unreachable)
    with pytest.raises(dependencies.DependenciesMissing, match=r"PyTorch could not be downloaded.*internet"):
        dependencies.ensure()
    dependencies.there = {"torch", "safetensors"}
    monkeypatch.setattr(slicer.packaging.stand_in, "fails_with", RuntimeError("no index"))
    application.dialogs.answers.append(lambda dialog: qt.QMessageBox.Ok)
    with pytest.raises(dependencies.DependenciesMissing, match=r"jinja2.*could not be downloaded"):
        dependencies.ensure()
