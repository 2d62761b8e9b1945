"""Run by ``test_translation.py`` in a process of its own, with a .qm file: the panel in that language.

What is translated when a file is imported stays so, and a worker is needed: hence the process. The panel registers a
pair (which is doubted, as nothing independent is known), fails with another, and shows a run that is accepted and one
that is refused. Prints a line for each text: state, widget, text.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from PySide6 import QtCore

from Testing.end_to_end.cases import click_and_wait, select
from Testing.slicer_app import start


def visible_texts(panel: Any) -> Iterator[tuple[str, str]]:
    """Name and text of all that the panel writes, tooltips and entries of boxes, lists and tables included."""
    import qt
    import slicer

    for widget in panel.findChildren(qt.QWidget):
        texts = [widget.toolTip]
        if isinstance(widget, (qt.QLabel, qt.QAbstractButton)):
            texts.append(widget.text)
        if isinstance(widget, qt.QGroupBox):
            texts.append(widget.title)
        if isinstance(widget, qt.QComboBox):
            texts += [widget.itemText(index) for index in range(widget.count)]
        if isinstance(widget, qt.QListWidget):
            texts += [widget.item(index).text() for index in range(widget.count)]
        if isinstance(widget, qt.QTableWidget):
            texts += [widget.horizontalHeaderItem(column).text() for column in range(widget.columnCount)]
        yield from ((widget.name, text) for text in texts if text)
    for node in slicer.util.getNodesByClass("vtkMRMLTableNode"):
        for column in range(node.GetNumberOfColumns()):
            yield node.GetName(), node.GetColumnName(column)
            yield from ((node.GetName(), node.GetCellText(row, column)) for row in range(node.GetNumberOfRows()))


def judged(good: bool) -> dict[str, Any]:
    """Metrics with all that can be measured, their verdict and warnings, as they come from the worker."""
    from dataclasses import replace

    from DeepLargeDeformRegLib.core.errors import CancelledError
    from DeepLargeDeformRegLib.core.metrics import Metrics
    from DeepLargeDeformRegLib.engine.metrics import judge

    far = 0.5 if good else 30.0
    overlap = {"before": 0.5, "after": 0.95 if good else 0.1}
    jacobian = {"min": 0.5 if good else -2.0, "p1": 0.6 if good else 0.01, "p99": 1.5 if good else 60.0, "max": 70.0}
    metrics = Metrics.from_json(
        {
            "jacobian": jacobian | {"fold_percent": 0.0 if good else 20.0, "std": 0.2, "sdlogj": 0.3},
            "jacobian_in_mask": jacobian | {"fold_percent": 0.0 if good else 9.0},
            "folds": [] if good else [{"volume_mm3": 3.0, "worst": -0.2, "point_lps": [4.0, 5.0, 6.0]}],
            "fold_count": 0 if good else 3,
            "displacement_mm": {"mean": 5.0, "p95": 9.0, "max": 12.0},
            "inverse_consistency_mm": {"mean": far, "p95": far, "max": far, "source": "backward run"},
            "dice": {"L1": overlap, "L2": overlap},
            "asd_mm": {"L1": {"before": 9.0, "after": far}},
            "hd95_mm": {"L1": {"before": 9.0, "after": far}},
            "hd_mm": {"L1": {"before": 9.0, "after": far}},
            "tre_mm": {
                "before": {"mean": 9.0, "max": 12.0},
                "after": {"mean": far, "p95": far, "max": far},
                "landmarks": [
                    {"name": f"P{n}", "before": 9.0, "after": far, "point_lps": [0.0, 0.0, float(n)]}
                    for n in range(4)
                ],
            },
            "similarity": {
                "local_ncc": {"before": 0.5, "after": 0.9 if good else 0.1},
                "mutual_information": {"before": 0.5, "after": 0.9 if good else 0.1},
            },
            "in_place_percent": 99.0 if good else 3.0,
            "overlap_percent": {"before": 90.0, "after": 95.0},
            "uncertainty_mm": {"mean": far, "p95": far, "max": far},
            "worst_places": [
                {"measure": key, "value": 9.0, "point_lps": [1.0, 2.0, 3.0]}
                for key in ("hd_mm", "jacobian.min", "uncertainty_mm.max")
            ],
            "found_organs": {"L3": 0.2} if not good else {},
        }
    )
    metrics = replace(metrics, verdict=judge(metrics)).with_warning(CancelledError().message)
    assert metrics.verdict is not None
    assert metrics.verdict.level == ("accept" if good else "reject"), metrics.verdict
    return json.loads(json.dumps(metrics.to_json()))


def volumes() -> dict[str, Any]:
    """A pair that registers in a second, and a scan that holds nothing."""
    import slicer

    position = (np.indices((24, 24, 24)) - 12.0) * 4.0
    texture = np.random.default_rng(3).normal(0.0, 3.0, (24, 24, 24))
    arrays = {"F1": 0.0, "M1": 6.0, "C1": None}
    made = {}
    for name, shift in arrays.items():
        distance = np.sqrt(position[0] ** 2 + position[1] ** 2 + (position[2] - (shift or 0.0)) ** 2)
        array = 100.0 / (1.0 + np.exp((distance - 24.0) / 4.0)) + texture
        array = array if shift is not None else np.zeros_like(array)
        made[name] = slicer.util.addVolumeFromArray(array.astype(np.float32), name=name)
        made[name].SetSpacing(4.0, 4.0, 4.0)
    return made


def main() -> None:
    application = start()
    translator = QtCore.QTranslator()
    assert translator.load(sys.argv[1])
    application.qt_application.installTranslator(translator)
    from . import nodes

    scans = volumes()
    widget = application.open_module(nodes.MODULE)
    said: list[str] = []
    say, log = widget.progress.say, widget.progress.log

    def tell(state: str) -> None:
        shown = [*visible_texts(widget.ui.inputsSection.parent()), *(("progress", text) for text in said)]
        for name, text in dict.fromkeys(shown):
            print(state, name, text.replace("\n", " "), sep="\t")  # noqa: T201
        said.clear()

    def remember(sentence: str, error: bool = False) -> None:
        said.append(sentence)
        say(sentence, error)

    widget.progress.say = remember
    select(widget, {"fixedVolume": scans["F1"], "movingVolume": scans["M1"]})
    widget.ui.iterationsBox.value = 2
    tell("ready")
    run = click_and_wait(application, widget, 120.0)
    assert run.error is None, f"{run.error} {run.error.detail}"
    said += run.result.metrics.warnings and [widget.ui.logText.toPlainText().splitlines()[-1]]
    tell("doubted")
    select(widget, {"movingVolume": scans["C1"]})
    run = click_and_wait(application, widget, 120.0)
    assert run.error is not None
    tell("failed")
    for state in ("accepted", "refused"):
        nodes.add_result(scans["F1"], scans["M1"], judged(good=state == "accepted"))
        widget.results.refresh(newest=True)
        widget.ui.differenceButton.click()
        tell(state)
    widget.progress.say, widget.progress.log = say, log
    application.qt_application.removeTranslator(translator)
    application.quit_modules()


if __name__ == "__main__":
    main()
