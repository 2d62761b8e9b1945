"""Batch: many pairs registered in the background, their table, and the result of a row in the scene."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..core.errors import RegistrationError
from ..scene import cohort, results
from ..scene.errors import SceneError
from ..scene.volumes import remove_node
from ..scene.words import say, say_error, say_json
from ..worker import process
from . import dependencies
from .progress_panel import time_left
from .transport import QProcessTransport, python_executable

OUTPUTS = "transform,volume,segmentation,jacobian,report"
TABLE, FOLDERS = range(2)
_MOST_LOG_LINES = 50
_VERDICT_COLUMN = 1


class BatchPanel:
    """Binds the widgets of Batch to a process that registers a cohort (``python -m DeepLargeDeformRegLib.cohort``).

    The process can be killed at any moment; the next one in the same folder goes on where it was.

    Args:
        ui: widgets of the panel.
        settings: the settings that the panel shows, as the engine reads them.
        on_opened: called with the result of a pair that the user has opened.
    """

    def __init__(
        self, ui: Any, settings: Callable[[], dict[str, Any]], on_opened: Callable[[results.RunResult], None]
    ) -> None:
        self._ui, self._settings, self._on_opened = ui, settings, on_opened
        self._transport: QProcessTransport | None = None
        self._process: int | None = None
        self._unread = b""
        self._log: list[str] = []
        self._done = ""
        self._folder = Path()
        self._cases: list[cohort.CohortCase] = []
        self._written = 0.0
        self._table: Any = None
        for title in (_("A table of pairs"), _("Two folders, by file name")):
            ui.batchSourceBox.addItem(title)
        for button in (ui.batchFixedDirectory, ui.batchMovingDirectory, ui.batchOutputDirectory):
            button.directory = str(Path.home())
        ui.batchPairsPath.nameFilters = [_("Tables of pairs") + " (*.csv *.tsv *.json)"]
        ui.batchSourceBox.connect("currentIndexChanged(int)", self._choose_source)
        ui.batchButton.connect("clicked(bool)", self._start_or_cancel)
        ui.batchShowButton.connect("clicked(bool)", self._show_folder)
        ui.batchPageButton.connect("clicked(bool)", self._open_page)
        ui.batchView.connect("activated(QModelIndex)", self._open_row)
        ui.batchView.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        ui.batchView.setSelectionMode(qt.QAbstractItemView.SingleSelection)
        ui.batchView.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        ui.batchView.verticalHeader().setVisible(False)
        ui.batchView.setWordWrap(False)
        self._choose_source(TABLE)
        self._idle("")
        self._show_cases()

    @property
    def is_running(self) -> bool:
        """True while pairs are registered."""
        return self._transport is not None

    def close(self) -> None:
        """The panel goes: what is running ends, what is finished stays on the disk."""
        self._stop()
        remove_node(self._table)
        self._table = None

    def scene_closed(self) -> None:
        """The table went with its scene; the batch itself goes on."""
        self._table, self._cases = None, []
        self._show_cases()

    # What the user does

    def _choose_source(self, index: int) -> None:
        for widget in (self._ui.batchPairsLabel, self._ui.batchPairsPath):
            widget.setVisible(index == TABLE)
        for side in ("Fixed", "Moving"):
            for kind in ("Label", "Directory"):
                getattr(self._ui, f"batch{side}{kind}").setVisible(index == FOLDERS)

    def _start_or_cancel(self) -> None:
        if self.is_running:
            self._stop()
            sentences = (_("Cancelled."), self._done, _("Start takes the batch up there."))
            self._idle(" ".join(filter(None, sentences)))
            return
        with slicer.util.tryWithErrorDisplay(_("The batch could not be started."), waitCursor=True):
            self._start()

    def _start(self) -> None:
        pairs = self._pairs()
        if not pairs:
            self._idle(_("Choose a table of pairs first."), error=True)
            return
        try:
            dependencies.ensure()
            python = python_executable()
        except (RegistrationError, OSError) as error:
            self._idle(say_error(error), error=True)
            return
        self._folder = Path(str(self._ui.batchOutputDirectory.directory))
        settings = json.dumps(self._settings())
        arguments = [*pairs, "--output", str(self._folder), "--outputs", OUTPUTS, "--settings", settings]
        if self._ui.batchRetryBox.checked:
            arguments.append("--retry-failed")
        self._unread, self._log, self._done, self._process = b"", [], "", None
        self._transport = QProcessTransport()
        self._ui.batchButton.setText(_("Cancel"))
        self._ui.batchBar.setVisible(True)
        self._ui.batchBar.setRange(0, 0)  # busy, until it is known how many pairs there are
        self._say(_("Reading the pairs"))
        self._transport.start(
            [python, "-m", "DeepLargeDeformRegLib.cohort", *arguments],
            process.server_environment(),
            self._take_output,
            self._take_log,
            self._ended,
        )

    def _pairs(self) -> list[str]:
        """Arguments that name the pairs; none where the user has chosen none."""
        if self._ui.batchSourceBox.currentIndex == FOLDERS:
            fixed, moving = (
                str(button.directory) for button in (self._ui.batchFixedDirectory, self._ui.batchMovingDirectory)
            )
            return [fixed, "--moving", moving]
        table = str(self._ui.batchPairsPath.currentPath)
        return [table] if table else []

    def _show_folder(self) -> None:
        self._folder = Path(str(self._ui.batchOutputDirectory.directory))
        self._refresh(say=True)

    def _open_page(self) -> None:
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self._folder / cohort.PAGE)))

    def _open_row(self) -> None:
        row = self._ui.batchView.currentIndex().row()
        if not 0 <= row < len(self._cases):
            return
        case = self._cases[row]
        if case.error:
            self._say(f"{case.name}: {case.error}", error=True)
            return
        slicer.app.setOverrideCursor(qt.Qt.WaitCursor)
        try:
            run = cohort.open_pair(self._folder, case.name)
        except SceneError as error:
            self._say(str(error), error=True)
        else:
            self._say(_("{name} is open; see Results.").format(name=case.name))
            self._on_opened(run)
        finally:
            slicer.app.restoreOverrideCursor()

    # What the process says

    def _take_output(self, data: bytes) -> None:
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if isinstance(message, dict):
                self._hear(message)

    def _hear(self, message: dict[str, Any]) -> None:
        if "process" in message:
            self._process = message["process"]
        elif "say" in message:
            self._say(say_json(message["say"]))
        elif "done" in message:
            self._progress(message)
        elif "error" in message:
            self._stop()
            self._idle(say_json(message["error"]), error=True)
        elif "finished" in message:
            self._stop()
            failed = message["failed"]
            text = _("{count} pairs are finished.").format(count=message["finished"] - failed)
            text += " " + _("{count} failed; the table says why.").format(count=failed) if failed else ""
            self._idle(text)
            self._refresh()

    def _progress(self, message: dict[str, Any]) -> None:
        done, total = message["done"], message["total"]
        self._ui.batchBar.setRange(0, total)
        self._ui.batchBar.setValue(done)
        self._done = _("{done} of {total} pairs are finished.").format(done=done, total=total)
        failed = _("{count} failed").format(count=message["failed"]) if message["failed"] else ""
        parts = [_("{done} of {total}").format(done=done, total=total), failed, time_left(message["seconds_left"])]
        self._say(" · ".join(part for part in parts if part))
        self._refresh()

    def _take_log(self, data: bytes) -> None:
        self._log = [*self._log, *data.decode("utf-8", "replace").splitlines()][-_MOST_LOG_LINES:]

    def _ended(self, code: int, crashed: bool) -> None:
        """The process ended without a last word."""
        self._transport = None
        _kind, sentence = process.describe_exit(code, crashed, self._log)
        self._idle(_("{reason} Start takes the batch up where it was.").format(reason=say(sentence)), error=True)

    def _stop(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.kill_tree(self._process)

    # What is shown

    def _say(self, sentence: str, error: bool = False) -> None:
        self._ui.batchLabel.setText(sentence)
        self._ui.batchLabel.setVisible(bool(sentence))
        self._ui.batchLabel.setStyleSheet("color: #b00020;" if error else "")

    def _idle(self, sentence: str, error: bool = False) -> None:
        self._ui.batchButton.setText(_("Start"))
        self._ui.batchBar.setVisible(False)
        self._say(sentence, error)

    def _refresh(self, say: bool = False) -> None:
        """Show the table of the cohort if it was written anew."""
        table = self._folder / "cohort.csv"
        written = table.stat().st_mtime if table.is_file() else 0.0
        if written == self._written and self._table is not None and not say:
            return
        try:
            self._cases = cohort.read_cohort(self._folder)
        except SceneError as error:
            self._cases = []
            if say:
                self._say(str(error), error=True)
        else:
            self._written = written
            title = _("Cohort {name}").format(name=self._folder.name)
            self._table = cohort.cohort_table(self._cases, title, self._table)
        self._show_cases()

    def _show_cases(self) -> None:
        view = self._ui.batchView
        view.setMRMLTableNode(self._table if self._cases else None)
        view.setVisible(bool(self._cases))
        if self._cases:  # all columns as wide as they need, but for reasons, which are sentences
            view.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
            view.horizontalHeader().setSectionResizeMode(_VERDICT_COLUMN, qt.QHeaderView.Interactive)
        self._ui.batchHintLabel.setVisible(bool(self._cases))
        self._ui.batchPageButton.setEnabled(bool(self._cases))
