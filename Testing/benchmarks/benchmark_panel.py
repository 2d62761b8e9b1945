"""Time to open the module's panel for the first time in a session, in the stand-in application.

    python -m Testing.benchmarks.benchmark_panel --repeats 5

Each repeat is a fresh process; times are those of the processor, so that other work on the machine counts little. The
stand-in makes Qt's and Slicer's widgets in Python, which takes most of the time here and little in Slicer; so the
times stand beside that of loading the panel's .ui alone and of opening a module that has one selector and one button.
Neither torch nor SimpleITK may be imported by any of it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MODULE = Path(__file__).resolve().parents[2] / "DeepLargeDeformReg" / "DeepLargeDeformReg.py"
MINIMAL = """
import slicer
from slicer.ScriptedLoadableModule import *

class MinimalModule(ScriptedLoadableModule):
    pass

class MinimalModuleWidget(ScriptedLoadableModuleWidget):
    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/MinimalModule.ui"))
        self.layout.addWidget(panel)
        panel.setMRMLScene(slicer.mrmlScene)
"""
MINIMAL_UI = """<ui version="4.0"><class>M</class><widget class="qMRMLWidget" name="M">
<layout class="QVBoxLayout" name="l">
<item><widget class="qMRMLNodeComboBox" name="selector"><property name="nodeTypes"><stringlist>
<string>vtkMRMLScalarVolumeNode</string></stringlist></property></widget></item>
<item><widget class="QPushButton" name="button"/></item></layout></widget>
<connections><connection><sender>M</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
<receiver>selector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>"""


def measure_here() -> dict[str, float]:
    """Milliseconds of each part, in this process."""
    from Testing.slicer_app import start

    application = start()
    import slicer

    def milliseconds(action: object) -> float:
        started = time.process_time()
        action()  # type: ignore[operator]
        return 1000 * (time.process_time() - started)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "MinimalModule.py"
        path.write_text(MINIMAL, encoding="utf-8")
        ui = path.parent / "Resources" / "UI" / "MinimalModule.ui"
        ui.parent.mkdir(parents=True)
        ui.write_text(MINIMAL_UI, encoding="utf-8")
        application.load_module(path)
        application.open_module(path)  # what is done once in a session, for whichever module comes first
        application.unload_module("MinimalModule")
        times = {"a module with one selector and one button": milliseconds(lambda: application.open_module(path))}
    times["start of Slicer (import of the module)"] = milliseconds(lambda: application.load_module(MODULE))
    ui = MODULE.parent / "Resources" / "UI" / "DeepLargeDeformReg.ui"
    times["the panel's .ui alone"] = milliseconds(lambda: slicer.util.loadUI(str(ui)))
    times["opening the panel"] = milliseconds(lambda: application.open_module(MODULE))
    heavy = [name for name in ("torch", "SimpleITK", "scipy") if name in sys.modules]
    if heavy:
        raise RuntimeError(f"Opening the panel imported {', '.join(heavy)}.")
    return times


def main() -> int:
    """Measure in fresh processes and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        sys.stdout.write(json.dumps(measure_here()) + "\n")
        return 0
    command = [sys.executable, "-m", "Testing.benchmarks.benchmark_panel", "--here"]
    lines = [
        subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
        for _ in range(given.repeats)
    ]
    found = [json.loads(line) for line in lines]
    medians = {name: statistics.median(times[name] for times in found) for name in found[0]}
    opening = medians["opening the panel"]
    for name, value in medians.items():
        sys.stdout.write(f"{name:45} {value:7.1f} ms   opening / this {opening / value:6.2f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
