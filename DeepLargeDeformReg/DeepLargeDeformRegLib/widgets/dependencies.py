"""What the worker needs beside Slicer's own Python packages: asked for, and installed with consent."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from ..core.display import TITLE
from ..core.errors import RegistrationError

REQUIREMENTS = Path(__file__).resolve().parents[2] / "Resources" / "requirements.txt"
TORCH_REQUIREMENT = ">=2.4"
LEAST_SLICER = (5, 10)


class DependenciesMissing(RegistrationError):  # noqa: N818 - it is an outcome, and reads so
    """What registration needs is not installed; the message says why and what to do."""


def required_packages(path: Path = REQUIREMENTS) -> list[str]:
    """Requirements of the file, one a line."""
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def _name(requirement: str) -> str:
    for sign in "<>=!~[; ":
        requirement = requirement.split(sign)[0]
    return requirement


def slicer_too_old() -> str:
    """Why this Slicer cannot run the module, in a sentence; empty if it can."""
    version = (int(slicer.app.majorVersion), int(slicer.app.minorVersion))
    if version >= LEAST_SLICER:
        return ""
    return _("This module needs Slicer {least} or newer; this is {found}. Install a newer Slicer.").format(
        least=".".join(map(str, LEAST_SLICER)), found=slicer.app.applicationVersion
    )


def _release(version: str) -> tuple[int, ...]:
    """The numbers of a version: (2, 4, 1) of "2.4.1+cpu"."""
    numbers = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in numbers.group().split(".")) if numbers else ()


def _installed_version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _is_installed(requirement: str) -> bool:
    """True if a package is there, in the version that a requirement such as "torch>=2.4" asks for at least."""
    version = _installed_version(_name(requirement))
    least = requirement.partition(">=")[2]
    return version is not None and (not least or _release(version) >= _release(least))


def missing_packages() -> list[str]:
    """Names of what is not there or too old, torch first; looks nothing up on the network and imports nothing."""
    requirements = (f"torch{TORCH_REQUIREMENT}", *required_packages())
    return [_name(requirement) for requirement in requirements if not _is_installed(requirement)]


def ensure(ask: bool = True) -> None:
    """Install what is missing, after the user agreed.

    Args:
        ask: show the consent dialog; in testing mode nothing is asked or installed.

    Raises:
        DependenciesMissing: if something is missing still; the sentence says why.
    """
    missing = missing_packages()
    if not missing:
        return
    names = ", ".join("PyTorch" if name == "torch" else name for name in missing)
    if slicer.app.testingEnabled():
        raise DependenciesMissing(_("Registration needs {names}.").format(names=names))
    question = _(
        "Registration needs Python packages that are not installed yet: {names}.\n\n"
        "They are downloaded from the internet into this Slicer (PyTorch: up to 3 GB, by the PyTorch extension). "
        "Everything else of the module works without them.\n\nInstall them now?"
    ).format(names=names)
    if ask and not slicer.util.confirmOkCancelDisplay(question, windowTitle=TITLE):
        raise DependenciesMissing(
            _("Nothing was installed. Viewing results still works; press Register again to be asked anew.")
        )
    if "torch" in missing:
        _install_torch()
    if missing != ["torch"]:
        _install_requirements()
    missing = missing_packages()
    if missing:
        raise DependenciesMissing(
            _(
                "{names} could not be installed, or an older version is still there. Restart Slicer and try again; "
                "the module PyTorch Utils can take an old PyTorch out."
            ).format(names=", ".join(missing))
        )


def _install_torch() -> None:
    if importlib.util.find_spec("PyTorchUtils") is None:
        _install_torch_extension()
        raise DependenciesMissing(
            _(
                "PyTorch comes with the extension PyTorch. See that the Extensions Manager lists it as installed, "
                "restart Slicer, and press Register again."
            )
        )
    import PyTorchUtils

    try:
        torch = PyTorchUtils.PyTorchUtilsLogic().installTorch(
            askConfirmation=False, torchVersionRequirement=TORCH_REQUIREMENT
        )
    except Exception as error:
        raise _offline("PyTorch") from error
    if torch is None:
        raise DependenciesMissing(
            _("PyTorch was not installed. Viewing results still works; press Register again to be asked anew.")
        )


def _install_torch_extension() -> None:
    model = getattr(slicer.app, "extensionsManagerModel", None)
    if model is None:
        return
    manager = model()
    asks = manager.interactive
    manager.interactive = False  # the user has agreed already
    try:
        installed = manager.installExtensionFromServer("PyTorch", False)
    finally:
        manager.interactive = asks
    if not installed:
        raise _offline(_("the extension PyTorch"))


def _install_requirements() -> None:
    try:
        packaging = importlib.import_module("slicer.packaging")
    except ImportError:  # Slicer 5.10 and before
        packaging = None
    try:
        if packaging is not None:
            requirements = packaging.load_requirements(REQUIREMENTS)
            packaging.pip_ensure(requirements, requester=TITLE, prompt_install=False)
        else:
            slicer.util.pip_install(required_packages())
    except Exception as error:
        raise _offline(", ".join(map(_name, required_packages()))) from error


def _offline(what: str) -> DependenciesMissing:
    return DependenciesMissing(
        _(
            "{what} could not be downloaded. Check the internet connection or the proxy, or ask the administrator "
            "to install it; then press Register again."
        ).format(what=what)
    )
