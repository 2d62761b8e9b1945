"""``slicer.ScriptedLoadableModule``, ``slicer.i18n``, ``slicer.packaging`` and ``SampleData``, stood in for.

Written from what these modules do in Slicer 5.11 (Base/Python/slicer/ScriptedLoadableModule.py, i18n.py,
packaging.py, Modules/Scripted/SampleData); only what an extension may call is here.
"""

from __future__ import annotations

import inspect
import logging
import string
import types
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from packaging.requirements import Requirement
from PySide6 import QtCore


def translate(context: str, text: str) -> str:
    """Translate by Qt's translators, as slicer.i18n.translate does; a test may install one."""
    return QtCore.QCoreApplication.translate(context, text)


def tr(text: str) -> str:
    """Translate in the context of the file that calls, as slicer.i18n.tr does.

    Raises:
        ValueError: where a placeholder has no name, which translators could not keep apart.
    """
    if not isinstance(text, str):
        raise TypeError(f"tr() takes the text itself, not {type(text).__name__}: lupdate reads it from the source.")
    for _, field, _, _ in string.Formatter().parse(text):
        if field is not None and (not field or field.isdigit()):
            raise ValueError(f"A translated text needs named placeholders: {text!r}")
    frame = inspect.currentframe()
    source = Path(frame.f_back.f_code.co_filename)  # type: ignore[union-attr]
    package = f"{source.parent.name}." if (source.parent / "__init__.py").is_file() else ""
    return translate(package + source.stem, text)


class ScriptedLoadableModule:
    """The module: its metadata go to ``parent``, a qSlicerScriptedLoadableModule."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title = ""
        parent.categories = []
        parent.dependencies = []
        parent.contributors = []
        parent.helpText = ""
        parent.acknowledgementText = ""
        for ending in (".svg", ".png"):
            icon = self.resourcePath(f"Icons/{self.moduleName}{ending}")
            if Path(icon).is_file():
                import qt

                parent.icon = qt.QIcon(icon)
                break
        if not hasattr(slicer, "selfTests"):
            slicer.selfTests = {}
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, filename: str) -> str:
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def runTest(self, msec: int = 100, **keywords: Any) -> None:
        test_class = getattr(inspect.getmodule(type(self)), self.moduleName + "Test")
        test = test_class()
        test.messageDelay = msec
        test.runTest(**keywords)


class ScriptedLoadableModuleWidget:
    """The panel: ``parent`` is the qSlicerScriptedLoadableModuleWidget that shows it."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        if parent is None:
            import qt

            self.parent = slicer.qMRMLWidget()
            self.parent.setLayout(qt.QVBoxLayout())
            self.parent.setMRMLScene(slicer.mrmlScene)
        else:
            self.parent = parent
        self.layout = self.parent.layout()
        if parent is None:
            self.setup()
            self.parent.show()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename: str) -> str:
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def setup(self) -> None:
        """Slicer adds the Reload & Test section here, in developer mode only."""

    def cleanup(self) -> None:
        """Called just before the module is unloaded."""

    def onReload(self) -> None:
        slicer.util.reloadScriptedModule(self.moduleName)

    def _onModuleAboutToBeUnloaded(self, module_name: str) -> None:
        if module_name == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)


class ScriptedLoadableModuleLogic:
    """The logic and its parameter node, a singleton of the scene unless said otherwise."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            if node is not None:
                # Closing the scene resets attributes of singletons.
                if node.GetAttribute("ModuleName") != self.moduleName:
                    node.SetAttribute("ModuleName", self.moduleName)
                return node
        else:
            existing = self.getAllParameterNodes()
            if existing:
                return existing[0]
        return slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self) -> list[Any]:
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self) -> Any:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The self-test; ``runTest`` runs every method with "test" in its name unless overridden."""

    messageDelay = 100

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        slicer.util.delayDisplay(message, self.messageDelay)

    def runTest(self) -> None:
        for name in (n for n in dir(self) if n.startswith("test") and callable(getattr(self, n))):
            self.setUp()
            logging.info("Running %s", name)
            getattr(self, name)()
            self.tearDown()


class Packaging:
    """``slicer.packaging``: what was asked to be installed is kept in ``asked``; nothing is installed."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fails_with: Exception | None = None

    def load_requirements(self, path: str | Path) -> list[Requirement]:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        kept = [line.split(" #")[0].strip() for line in lines]
        return [Requirement(line) for line in kept if line and not line.startswith(("#", "-"))]

    def pip_check(self, requirements: Any) -> bool:
        return self.fails_with is None

    def pip_ensure(
        self,
        requirements: Any,
        constraints: Any = None,
        skip_packages: list[str] | None = None,
        prompt_install: bool = True,
        prompt_restart: bool = True,
        requester: str | None = None,
        skip_in_testing: bool = True,
        show_progress: bool = True,
    ) -> None:
        """Skipped in testing mode, as in Slicer; else remembered, or failing as a test has said."""
        if slicer.app.testingEnabled() and skip_in_testing:
            return
        if prompt_install and not slicer.util.confirmOkCancelDisplay(f"Install {requirements}?"):
            raise RuntimeError("User declined package installation")
        self.pip_install(requirements)

    def pip_install(
        self,
        requirements: Any,
        constraints: Any = None,
        no_deps_requirements: Any = None,
        skip_packages: list[str] | None = None,
        blocking: bool = True,
        show_progress: bool = True,
        requester: str | None = None,
        logCallback: Callable[[str], None] | None = None,
        completedCallback: Callable[[int], None] | None = None,
    ) -> None:
        if self.fails_with is not None:
            raise self.fails_with
        self.asked.append(str(requirements))

    def isPipInstallInProgress(self) -> bool:
        return False


class SampleDataLogic:
    """The sources that modules registered with the Sample Data module."""

    categories: dict[str, str] = {}  # noqa: RUF012
    sources: list[dict[str, Any]] = []  # noqa: RUF012

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Callable[..., Any] | None = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: Any = None,
        loadFiles: Any = None,
        loadFileProperties: Any = None,
        checksums: Any = None,
        loadFileType: Any = None,
    ) -> None:
        SampleDataLogic.sources.append(dict(locals()))


def modules() -> dict[str, types.ModuleType]:
    """The modules that a scripted module imports, by the name that it imports them by."""
    base = types.ModuleType("slicer.ScriptedLoadableModule")
    shown = [
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    ]
    for shown_class in shown:
        setattr(base, shown_class.__name__, shown_class)
    base.__all__ = [shown_class.__name__ for shown_class in shown]  # type: ignore[attr-defined]
    language = types.ModuleType("slicer.i18n")
    language.tr, language.translate = tr, translate  # type: ignore[attr-defined]
    packaging = types.ModuleType("slicer.packaging")
    stand_in = Packaging()
    for name in ("load_requirements", "pip_check", "pip_ensure", "pip_install", "isPipInstallInProgress"):
        setattr(packaging, name, getattr(stand_in, name))
    packaging.stand_in = stand_in  # type: ignore[attr-defined]
    samples = types.ModuleType("SampleData")
    samples.SampleDataLogic = SampleDataLogic  # type: ignore[attr-defined]
    return {
        "slicer.ScriptedLoadableModule": base,
        "slicer.i18n": language,
        "slicer.packaging": packaging,
        "SampleData": samples,
    }
