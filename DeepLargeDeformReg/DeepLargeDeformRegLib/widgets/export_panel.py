"""Export: outputs as files, the report in the browser, other nodes through the transform."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..scene import apply, dicom, export, results
from ..scene.errors import SceneError
from ..scene.results import RunResult


class ExportPanel:
    """Binds the widgets of Export and the report's button to a run."""

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._run: RunResult | None = None
        self._names: list[str] = []
        self._report_folder: Path | None = None
        ui.exportDirectory.directory = str(Path.home())
        ui.exportAllButton.connect("clicked(bool)", self._export_all)
        ui.exportOneButton.connect("clicked(bool)", self._export_one)
        ui.openReportButton.connect("clicked(bool)", self._open_report)
        ui.applyButton.connect("clicked(bool)", self._apply)

    def show(self, run: RunResult | None) -> None:
        """Offer what a run has."""
        self._run = run
        self._names = export.available(run) if run is not None else []
        chosen = self._ui.exportWhatBox.currentText
        titles = [export.EXPORTS[name].title for name in self._names]
        titles += [_("DICOM (radiotherapy)")] if run is not None and run.get("transform") is not None else []
        self._ui.exportWhatBox.clear()
        for title in titles:
            self._ui.exportWhatBox.addItem(title)
        if chosen in titles:
            self._ui.exportWhatBox.currentIndex = titles.index(chosen)
        self._ui.exportButtonsBox.setEnabled(run is not None)
        self._ui.openReportButton.setEnabled(bool(run is not None and run.report))
        self._ui.exportLabel.setText("")

    def close(self) -> None:
        """Remove the copy of the report that the browser was given."""
        if self._report_folder is not None:
            shutil.rmtree(self._report_folder, ignore_errors=True)
            self._report_folder = None

    def _say(self, sentence: str) -> None:
        self._ui.exportLabel.setText(sentence)

    def _export_all(self) -> None:
        if self._run is None:
            return
        try:
            folder = Path(str(self._ui.exportDirectory.directory))
            files = export.save_all(self._run, folder, self._ui.exportFormatBox.currentText)
            self._say(_("{count} files written to {folder}.").format(count=len(files), folder=folder.name))
        except SceneError as error:
            self._say(str(error))

    def _export_one(self) -> None:
        index = self._ui.exportWhatBox.currentIndex
        if self._run is not None and index == len(self._names):
            self._export_dicom(self._run)
            return
        if self._run is None or not 0 <= index < len(self._names):
            return
        name = self._names[index]
        what = export.EXPORTS[name]
        ending = self._ui.exportFormatBox.currentText if what.endings is export.TRANSFORM_ENDINGS else ""
        suggested = Path(str(self._ui.exportDirectory.directory)) / export.file_name(self._run, name, ending)
        endings = " ".join(f"*{ending}" for ending in what.endings)
        caption = _("Save {title}").format(title=what.title)
        chosen = qt.QFileDialog.getSaveFileName(
            self._ui.exportOneButton, caption, str(suggested), f"{what.title} ({endings})"
        )
        if not chosen:
            return
        try:
            path = export.save(self._run, name, Path(chosen))
            self._say(_("{name} written.").format(name=path.name))
        except SceneError as error:
            self._say(str(error))

    def _export_dicom(self, run: RunResult) -> None:
        """Into a new folder within the chosen one: DICOM objects keep their names."""
        folder, number = Path(str(self._ui.exportDirectory.directory)), 1
        while (folder / export.dicom_folder(run, number)).exists():
            number += 1
        try:
            files = dicom.save_dicom(run, folder / export.dicom_folder(run, number))
            names = ", ".join(path.name for path in files)
            self._say(_("{names} written to {folder}.").format(names=names, folder=files[0].parent.name))
        except SceneError as error:
            self._say(str(error))

    def _open_report(self) -> None:
        if self._run is None or not self._run.report:
            return
        if self._report_folder is None:
            self._report_folder = Path(tempfile.mkdtemp(prefix="report-", dir=slicer.app.temporaryPath))
        path = self._report_folder / export.file_name(self._run, "report")
        export.save_report(self._run, path)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(path)))

    def _apply(self) -> None:
        run, nodes = self._run, list(self._ui.applySelector.checkedNodes())
        if run is None or run.get("transform") is None:
            return
        if not nodes:
            self._say(_("Check the nodes to transform first."))
            return
        names = ", ".join(node.GetName() for node in nodes)
        try:
            if self._ui.applyCopyBox.checked:
                made = apply.copies(nodes, run)
                results.into_folder(run.name, made)
                self._say(_("Made: {names}.").format(names=", ".join(node.GetName() for node in made)))
            else:
                apply.apply_to(nodes, run.get("transform"))
                self._say(_("Under the transform: {names}.").format(names=names))
        except SceneError as error:
            self._say(str(error))
