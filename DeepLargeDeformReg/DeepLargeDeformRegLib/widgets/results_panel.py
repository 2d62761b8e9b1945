"""Results: which run, its verdict, the views, the table, the folds, the export."""

from __future__ import annotations

import html
import tempfile
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..scene import export, layouts, markups, results, transforms
from ..scene.errors import SceneError
from ..scene.results import RunResult

LEVELS = {
    "accept": ("#1b7f3b", "#e6f4ea", "\u2713"),
    "look": ("#8a5a00", "#fff4e0", "\u26a0"),
    "reject": ("#b00020", "#fdecea", "\u2717"),
}
FLICKER_MILLISECONDS = 500


def verdict_html(run: RunResult) -> str:
    """The verdict of a run with its reasons; a sentence where it was not judged."""
    verdict = run.verdict
    if not verdict:
        return _("This run was not judged; look at the numbers.")
    color, _background, sign = LEVELS.get(verdict.get("level", "look"), LEVELS["look"])
    reasons = "".join(f"<li>{html.escape(str(reason.get('text', '')))}</li>" for reason in verdict.get("reasons", ()))
    items = f"<ul style='margin: 2px 0 0 -22px'>{reasons}</ul>" if reasons else ""
    return f"<b style='color: {color}'>{sign} {html.escape(str(verdict.get('title', '')))}</b>{items}"


def view_legend(view: str) -> str:
    """What the views show, in a line of HTML with the colors that they use."""
    fixed, moving = (
        "<span style='color: rgb({}, {}, {})'>\u25a0</span>".format(*(round(255 * part) for part in color))
        for color in (layouts.FIXED_COLOR, layouts.MOVING_COLOR)
    )
    return {
        "fade": _("Fixed scan, and over it the registered one."),
        "outlines": fixed + _(" fixed segments, ") + moving + _(" propagated ones; in 3D too."),
        "checkerboard": _("Fixed and registered scan in turns: edges must go on across the squares."),
        "difference": _("Fixed minus registered scan: gray where they agree."),
        "jacobian": _("Volume change det J: white is 1, 0 and less are folds; the moving scan is larger above 1."),
        "grid": _("The registered scan, and how the transform bends a regular grid."),
        "before": _("Fixed scan, and over it the moving one as loaded."),
    }[view]


class ResultsPanel:
    """Binds the widgets of Results, Quality and Export to the runs in the scene."""

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._runs: list[RunResult] = []
        self._comparison: layouts.Comparison | None = None
        self._flicker = qt.QTimer()
        self._flicker.setInterval(FLICKER_MILLISECONDS)
        self._flicker.connect("timeout()", self._turn)
        self._view_tips = {view: getattr(ui, f"{view}Button").toolTip for view in layouts.VIEWS}
        self._view_buttons = {view: getattr(ui, f"{view}Button") for view in layouts.VIEWS}
        for view, button in self._view_buttons.items():
            button.connect("clicked(bool)", lambda checked=False, view=view: self.show_view(view))
        ui.resultBox.connect("currentIndexChanged(int)", self._selected)
        ui.removeResultButton.connect("clicked(bool)", self._remove)
        ui.fadeSlider.connect("valueChanged(double)", layouts.set_fade)
        ui.flickerButton.connect("toggled(bool)", self._set_flicker)
        ui.beforeAfterButton.connect("toggled(bool)", self._before)
        ui.foldList.connect("currentRowChanged(int)", self._jump)
        ui.exportAllButton.connect("clicked(bool)", self._export_all)
        ui.openReportButton.connect("clicked(bool)", self._open_report)
        ui.applyButton.connect("clicked(bool)", self._apply)
        ui.metricsView.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        ui.metricsView.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        ui.metricsView.verticalHeader().setVisible(False)
        ui.metricsView.setWordWrap(False)
        self.refresh()

    @property
    def current(self) -> RunResult | None:
        """The run that is shown."""
        index = self._ui.resultBox.currentIndex
        return self._runs[index] if 0 <= index < len(self._runs) else None

    def refresh(self, newest: bool = False) -> None:
        """Read the runs of the scene again; ``newest`` selects the last."""
        index = self._ui.resultBox.currentIndex
        self._runs = results.list_results()
        self._ui.resultBox.blockSignals(True)
        self._ui.resultBox.clear()
        for run in self._runs:
            fixed, moving = run.get("fixed"), run.get("moving")
            between = f": {moving.GetName()} \u2192 {fixed.GetName()}" if fixed and moving else ""
            self._ui.resultBox.addItem(run.name + between)
        last = len(self._runs) - 1
        self._ui.resultBox.currentIndex = last if newest or not 0 <= index <= last else index
        self._ui.resultBox.blockSignals(False)
        self._selected()

    def show_view(self, view: str, fit: bool = False) -> None:
        """Arrange the views for the current run; ``fit`` also brings the fixed volume into their middle."""
        self._ui.flickerButton.checked = False
        if self._comparison is None:
            return
        try:
            self._comparison.show(view, self._ui.fadeSlider.value)
            self._ui.viewLabel.setText(view_legend(view))
            if fit:
                layouts.fit_views()
        except ValueError as error:
            slicer.util.showStatusMessage(str(error), 5000)

    def stop(self) -> None:
        """Nothing moves any more: the panel is left or closed."""
        self._flicker.stop()

    def _selected(self) -> None:
        run = self.current
        self._ui.flickerButton.checked = False
        self._comparison = None
        for widget in (self._ui.viewBox, self._ui.removeResultButton, self._ui.exportButtonsBox, self._ui.qualityBox):
            widget.setEnabled(run is not None)
        self._show_quality(run)
        if run is None:
            return
        self._comparison = layouts.Comparison(
            run.get("fixed"),
            run.get("moving"),
            run.get("warped"),
            run.get("jacobian"),
            run.get("transform"),
            run.get("fixed_segmentation"),
            run.get("segmentation"),
            [run.get(role) for role in ("moving_segmentation", "moving_landmarks", "landmarks")],
        )
        for view, button in self._view_buttons.items():
            reason = self._comparison.missing(view)
            button.setEnabled(not reason)
            button.setToolTip(reason or self._view_tips[view])

    def _show_quality(self, run: RunResult | None) -> None:
        self._ui.verdictLabel.setText(_("No result yet.") if run is None else verdict_html(run))
        level = run.verdict.get("level", "") if run is not None else ""
        color, background, _sign = LEVELS.get(level, ("#888888", "transparent", ""))
        self._ui.verdictLabel.setStyleSheet(
            f"background: {background}; border-left: 4px solid {color}; padding: 6px;"
            + (" color: #202020;" if level else "")
        )
        table = run.get("table") if run is not None else None
        self._ui.metricsView.setMRMLTableNode(table)
        self._ui.metricsView.setVisible(table is not None)
        self._ui.foldList.clear()
        for fold in run.folds if run is not None else ():
            where = fold.get("structure") or _("outside the structures")
            self._ui.foldList.addItem(
                f"{where}: {fold.get('volume_mm3', 0):.1f} mm\u00b3, det J {fold.get('worst', 0):.2f}"
            )
        self._ui.foldList.setVisible(bool(run is not None and run.folds))
        self._ui.openReportButton.setEnabled(bool(run is not None and run.report))

    def _remove(self) -> None:
        run = self.current
        if run is not None:
            results.remove_result(run)
            self.refresh()

    def _set_flicker(self, on: bool) -> None:
        if on:
            self._flicker.start()
        else:
            self._flicker.stop()
            layouts.set_fade(self._ui.fadeSlider.value)

    def _turn(self) -> None:
        shown = [composite.GetForegroundOpacity() for composite in layouts.composites()]
        layouts.set_fade(0.0 if shown and shown[0] > 0.5 else 1.0)

    def _before(self, before: bool) -> None:
        self._ui.beforeAfterButton.setText(_("Show after") if before else _("Show before"))
        if self._comparison is not None:
            self._comparison.before_after(after=not before)
            self._ui.viewLabel.setText(view_legend("before" if before else "fade"))

    def _jump(self, row: int) -> None:
        run = self.current
        if run is not None and 0 <= row < len(run.folds):
            markups.jump_to(run.folds[row]["point_lps"])

    def _export_all(self) -> None:
        run = self.current
        if run is None:
            return
        try:
            folder = Path(str(self._ui.exportDirectory.directory))
            files = export.save_all(run, folder, self._ui.exportFormatBox.currentText)
            self._ui.exportLabel.setText(_("{count} files written.").format(count=len(files)))
        except SceneError as error:
            self._ui.exportLabel.setText(str(error))

    def _open_report(self) -> None:
        run = self.current
        if run is None or not run.report:
            return
        folder = Path(tempfile.mkdtemp(prefix="report-", dir=slicer.app.temporaryPath))
        path = folder / "report.html"
        export.save_report(run, path)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(path)))

    def _apply(self) -> None:
        run, node = self.current, self._ui.applySelector.currentNode()
        if run is None or node is None or run.get("transform") is None:
            return
        try:
            transforms.apply_to([node], run.get("transform"))
            self._ui.exportLabel.setText(_("{name} is under the transform.").format(name=node.GetName()))
        except SceneError as error:
            self._ui.exportLabel.setText(str(error))
