"""The stand-in application: ``slicer.app``, ``slicer.modules`` and the opening of a scripted module.

``Application`` is what tests use; what code under test sees of it is held to the real classes by ``api.Face``.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib.util
import shutil
import sys
import tempfile
import time
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6 import QtCore

from . import api, pythonqt, scripted, themes


class ModuleManager(api.Signals):
    """``slicer.app.moduleManager()``."""

    def __init__(self) -> None:
        super().__init__("moduleAboutToBeUnloaded(QString)", "moduleLoaded(QString)")
        self.modules: dict[str, Any] = {}

    def module(self, name: str) -> Any:
        return self.modules.get(name)

    def factoryManager(self) -> Any:
        return api.Face(self, "qSlicerModuleFactoryManager")

    def loadedModuleNames(self) -> list[str]:
        return list(self.modules)


class ExtensionsManagerModel:
    """``slicer.app.extensionsManagerModel()``: what was asked to be installed; nothing is installed."""

    interactive = True

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.online = True

    def installExtensionFromServer(self, name: str, restart: bool = True, update: bool = False) -> bool:
        import slicer

        if self.interactive and not slicer.util.confirmYesNoDisplay(f"Do you want to install '{name}' now?"):
            return False
        self.asked.append(name)
        return self.online


class DicomDatabase:
    """``slicer.dicomDatabase`` (``ctkDICOMDatabase``), as far as it is asked where the file of an instance is."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}

    def fileForInstance(self, instance: str) -> str:
        return self.files.get(instance, "")


class SlicerApp(api.Signals):
    """``slicer.app``."""

    applicationName = "Slicer"
    applicationVersion = "5.11.0"
    majorVersion, minorVersion = 5, 11
    revision = "stand-in"
    os = {"darwin": "macosx", "win32": "win"}.get(sys.platform, "linux")
    documentationBaseUrl = "https://slicer.readthedocs.io/en/latest/"

    def __init__(self, owner: Application) -> None:
        super().__init__(
            "startupCompleted()", "aboutToQuit()", "mrmlSceneChanged(vtkMRMLScene*)", "lastWindowClosed()"
        )
        self.owner = owner
        self.extensions = ExtensionsManagerModel()
        self.slicerHome = str(owner.home)
        self.temporaryPath = str(owner.home / "tmp")
        self.extensionsInstallPath = str(owner.home / "extensions")

    def processEvents(self, *arguments: Any) -> None:
        self.owner.qt_application.processEvents()

    def testingEnabled(self) -> bool:
        return self.owner.testing

    def applicationLogic(self) -> Any:
        return self.owner.core.application_logic

    def mrmlScene(self) -> Any:
        return self.owner.core.scene

    def layoutManager(self) -> Any:
        return api.Face(self.owner.layout, "qSlicerLayoutManager")

    def moduleManager(self) -> Any:
        return api.Face(self.owner.module_manager, "qSlicerModuleManager")

    def extensionsManagerModel(self) -> Any:
        return self.extensions

    def coreIOManager(self) -> Any:
        return api.Face(self.owner.io_manager, "qSlicerIOManager")

    def ioManager(self) -> Any:
        return api.Face(self.owner.io_manager, "qSlicerIOManager")

    def settings(self) -> Any:
        return self.owner.settings

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"{self.documentationBaseUrl}user_guide/modules/{name.lower()}.html"

    def translate(self, context: str, text: str) -> str:
        return QtCore.QCoreApplication.translate(context, text)

    def setRenderPaused(self, paused: bool) -> None:
        """Nothing is rendered but for pictures."""

    def pauseRender(self) -> None:
        """As above."""

    def resumeRender(self) -> None:
        """As above."""

    def __getattr__(self, name: str) -> Any:
        # What QApplication itself has: clipboard(), setOverrideCursor(), topLevelWidgets() ...
        if name.startswith("_") or name == "owner":
            raise AttributeError(name)
        return getattr(self.owner.qt_application, name)


class Application:
    """One per process: see ``Testing.slicer_app.start``.

    Attributes:
        core: scene and logics. layout: the views, ``picture()`` shows them. dialogs: who answers modal dialogs.
        errors: tracebacks of exceptions that handlers of Qt or VTK raised, which both would only print.
        qt_messages: what Qt warned of, such as a connection that it could not make.
        testing: what ``slicer.app.testingEnabled()`` says; set it to False to be asked by message boxes.
    """

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="slicer-app-"))
        atexit.register(shutil.rmtree, self.home, ignore_errors=True)
        for folder in ("tmp", "extensions"):
            (self.home / folder).mkdir()
        self.testing = True
        self.errors: list[str] = []
        self.qt_messages: list[str] = []
        sys.excepthook = self._remember_error
        self._start_qt()
        self._start_core()
        self.dialogs = pythonqt.dialogs
        atexit.register(self._quit)

    @staticmethod
    def _keep_none_alive() -> None:
        """PySide 6.12 gives back a reference to None with each void call, which Python before 3.12 counts."""
        if sys.version_info < (3, 12):
            ctypes.c_ssize_t.from_address(id(None)).value += 1 << 40

    def _start_qt(self) -> None:
        self._keep_none_alive()
        qt = pythonqt.qt_module()
        sys.modules["qt"] = qt
        qt.qInstallMessageHandler(self._remember_qt_message)
        self.qt_application = qt.QApplication.instance() or qt.QApplication(["Slicer"])
        self.qt_application.setApplicationName("Slicer")
        self.qt_application.setOrganizationName("stand-in")
        self.qt_application.setStyle("Fusion")
        self._light = self.qt_application.palette()
        qt.QSettings.setDefaultFormat(qt.QSettings.IniFormat)
        qt.QSettings.setPath(qt.QSettings.IniFormat, qt.QSettings.UserScope, str(self.home))
        self.settings = qt.QSettings()
        from . import ctk_widgets, ui_loader

        qt.QUiLoader = ui_loader.QUiLoader
        sys.modules["ctk"] = ctk_widgets.module()

    def _start_core(self) -> None:
        import slicer
        import slicer.util

        from . import core, io_manager, mrml_tables, mrml_widgets, parameter_node, subject_hierarchy, views
        from .module import qSlicerScriptedLoadableModule, qSlicerScriptedLoadableModuleWidget

        self.core = core.Core(self.home)
        self.scene = self.core.scene
        self.subject_hierarchy = subject_hierarchy.SubjectHierarchy(self.scene)
        self.module_manager = ModuleManager()
        self.io_manager = io_manager.IOManager(self.core)
        slicer.mrmlScene = self.scene
        slicer.dicomDatabase = DicomDatabase()
        slicer.modules = types.SimpleNamespace()
        for name, logic in self.core.logics.items():
            shown_module = types.SimpleNamespace(logic=lambda logic=logic: logic, name=name)
            setattr(slicer.modules, name.lower(), shown_module)
            self.module_manager.modules[name] = shown_module
        shown = [
            *mrml_widgets.CLASSES,
            *mrml_tables.CLASSES,
            qSlicerScriptedLoadableModule,
            qSlicerScriptedLoadableModuleWidget,
        ]
        for widget_class in shown:
            setattr(slicer, widget_class.__name__, widget_class)
        replaced = {**scripted.modules(), "slicer.parameterNodeWrapper": parameter_node.module()}
        for name, module in replaced.items():
            sys.modules[name] = module
            if name.startswith("slicer."):
                setattr(slicer, name.split(".")[1], module)
        self.slicer_app = SlicerApp(self)
        slicer.app = api.Face(self.slicer_app, "qSlicerApplication")
        self.layout = views.LayoutManager(self.scene, self.core.application_logic)

    def _remember_error(self, kind: Any, error: Any, trace: Any) -> None:
        text = "".join(traceback.format_exception(kind, error, trace))
        self.errors.append(text)
        sys.__stderr__.write(text)

    def _remember_qt_message(self, kind: Any, context: Any, message: str) -> None:
        # The off-screen platform says this of every window.
        if "propagateSizeHints" not in message:
            self.qt_messages.append(message)
            sys.__stderr__.write(f"Qt: {message}\n")

    def open_module(self, path: str | Path) -> Any:
        """Load a scripted module from its file and open its panel; return the module's widget (its Python object)."""
        module = self.load_module(path)
        widget = module.widgetRepresentation().self()
        self.enter(widget)
        return widget

    def load_module(self, path: str | Path) -> Any:
        """Do what Slicer does with a scripted module at startup: import it and make its module object."""
        import slicer

        from .module import qSlicerScriptedLoadableModule

        name = Path(path).stem
        if name in self.module_manager.modules:
            return self.module_manager.modules[name]
        folder = str(Path(path).parent)
        if folder not in sys.path:
            sys.path.insert(0, folder)
        module = qSlicerScriptedLoadableModule(str(path))
        setattr(slicer.modules, name.lower(), module)
        self.module_manager.modules[name] = module
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
        spec.loader.exec_module(sys.modules[name])  # type: ignore[union-attr]
        setattr(slicer.modules, name + "Instance", getattr(sys.modules[name], name)(module))
        return module

    def enter(self, widget: Any) -> None:
        """The user comes to the module."""
        widget.parent.enter()

    def leave(self, widget: Any) -> None:
        """The user goes to another module."""
        widget.parent.exit()

    def unload_module(self, name: str) -> None:
        """Quit Slicer, as far as the module sees it."""
        import slicer

        self.module_manager.emit("moduleAboutToBeUnloaded(QString)", name)
        module = self.module_manager.modules.pop(name)
        if module.made_widget is not None:
            module.made_widget.deleteLater()
            # Without an event loop below this one Qt keeps it until the end, and its selectors would go on listening.
            for child in QtCore.QObject.findChildren(module.made_widget, QtCore.QObject):
                if vars(child).get("_scene") is not None:
                    vars(child)["_scene"] = None
        for attribute in (name.lower(), name + "Widget", name + "Instance"):
            if hasattr(slicer.modules, attribute):
                delattr(slicer.modules, attribute)
        sys.modules.pop(name, None)

    def set_dark(self, dark: bool) -> None:
        """Take Slicer's dark theme, or the light one."""
        self.qt_application.setPalette(themes.dark_palette() if dark else self._light)
        self.qt_application.processEvents()

    def wait_until(self, condition: Callable[[], Any], seconds: float = 60.0, what: str = "the condition") -> Any:
        """Let events pass until a condition holds; TimeoutError where it never does, with the handlers' errors."""
        end = time.monotonic() + seconds
        while True:
            self.qt_application.processEvents()
            answer = condition()
            if answer:
                return answer
            if time.monotonic() > end:
                raise TimeoutError(f"{what} did not come within {seconds:g} s.\n" + "\n".join(self.errors))
            time.sleep(0.005)

    def quit_modules(self) -> None:
        """Quit Slicer as far as scripted modules see it: each is told, its panel goes, then the scene is closed."""
        self.slicer_app.emit("aboutToQuit()")
        for name in [n for n, m in self.module_manager.modules.items() if hasattr(m, "made_widget")]:
            self.unload_module(name)
        self.close_scene()

    def reset(self) -> None:
        """Back to how it started: no scripted module, an empty scene, nothing remembered."""
        self.quit_modules()
        self.layout.setLayout(self.layout.four_up)
        self.testing = True
        self.slicer_app.extensions = ExtensionsManagerModel()
        sys.modules["slicer"].dicomDatabase = DicomDatabase()
        self.dialogs.answers.clear()
        self.dialogs.shown.clear()
        self.errors.clear()
        self.qt_messages.clear()

    def close_scene(self) -> None:
        """File > Close scene."""
        self.scene.Clear(0)
        self.qt_application.processEvents()

    def _quit(self) -> None:
        """Take down in the order that neither Qt nor VTK objects to."""
        self.quit_modules()
