"""A stand-in for the 3D Slicer application, to run the module and its scene code in tests without it.

Real parts: MRML scene, application and module logics, displayable managers and ``slicer.util`` (``slicer-core``).
Stood in for: the Qt side (PySide6 with the manners of PythonQt), which refuses each class, property, signal and
method that real Slicer does not have (``api.json``, read from Slicer's and CTK's headers).

``start()`` answers the one application of this process::

    from Testing.slicer_app import start
    application = start()
    widget = application.open_module("/…/DeepLargeDeformReg.py")
"""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .application import Application

# Both are read when vtk and Qt are first imported: no display is needed then.
os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkOSOpenGLRenderWindow")
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

_application: Application | None = None


def missing_packages() -> list[str]:
    """Return the packages that the stand-in application needs and this Python does not have."""
    needed = {"slicer_core": "slicer-core", "PySide6": "PySide6-Essentials"}
    return [package for module, package in needed.items() if importlib.util.find_spec(module) is None]


def start() -> Application:
    """Return the application of this process, started at the first call.

    Raises:
        RuntimeError: where ``slicer-core`` or ``PySide6-Essentials`` is not installed.
    """
    global _application
    if _application is None:
        missing = missing_packages()
        if missing:
            raise RuntimeError(f"The stand-in application needs {', '.join(missing)}: pip install '.[test]'.")
        if "vtkmodules.vtkRenderingOpenGL2" in sys.modules and "vtkOSOpenGL" not in os.environ.get(
            "VTK_DEFAULT_OPENGL_WINDOW", ""
        ):
            raise RuntimeError("vtk was imported before Testing.slicer_app and would want a display.")
        from .application import Application

        _application = Application()
    return _application
