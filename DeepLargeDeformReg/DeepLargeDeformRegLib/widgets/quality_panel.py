"""Quality: the verdict with its reasons, the table of metrics, the folds; a click on a row jumps there."""

from __future__ import annotations

import html
from typing import Any

import qt
from slicer.i18n import tr as _

from ..scene import places, tables
from ..scene.results import RunResult
from ..scene.volumes import remove_node

LEVELS = {
    "accept": ("#1b7f3b", "#e6f4ea", "\u2713"),
    "look": ("#8a5a00", "#fff4e0", "\u26a0"),
    "reject": ("#b00020", "#fdecea", "\u2717"),
}


def verdict_html(run: RunResult) -> str:
    """The verdict of a run with its reasons; a sentence where it was not judged."""
    verdict = run.verdict
    if not verdict:
        return _("This run was not judged; look at the numbers.")
    color, _background, sign = LEVELS.get(verdict.get("level", "look"), LEVELS["look"])
    reasons = "".join(f"<li>{html.escape(str(reason.get('text', '')))}</li>" for reason in verdict.get("reasons", ()))
    items = f"<ul style='margin: 2px 0 0 -22px'>{reasons}</ul>" if reasons else ""
    return f"<b style='color: {color}'>{sign} {html.escape(str(verdict.get('title', '')))}</b>{items}"


class QualityPanel:
    """Shows the quality of a run, beside that of another one if there is one to compare with."""

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._run: RunResult | None = None
        self._rows: list[tables.MetricRow] = []
        self._comparison: Any = None
        ui.foldList.connect("currentRowChanged(int)", self._jump_to_fold)
        ui.metricsView.connect("clicked(QModelIndex)", self._jump_to_row)
        ui.metricsView.connect("selectionChanged()", self._jump_to_row)
        ui.metricsView.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        ui.metricsView.setSelectionMode(qt.QAbstractItemView.SingleSelection)
        ui.metricsView.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        ui.metricsView.verticalHeader().setVisible(False)
        ui.metricsView.setWordWrap(False)

    def show(self, run: RunResult | None, other: RunResult | None = None) -> None:
        """Show a run, or that there is none."""
        self._run = run
        self._rows = tables.metric_rows(run.metrics) if run is not None else []
        self._ui.verdictLabel.setText(_("No result yet.") if run is None else verdict_html(run))
        level = run.verdict.get("level", "") if run is not None else ""
        color, background, _sign = LEVELS.get(level, ("#888888", "transparent", ""))
        self._ui.verdictLabel.setStyleSheet(
            f"background: {background}; border-left: 4px solid {color}; padding: 6px;"
            + (" color: #202020;" if level else "")
        )
        self._show_table(run, other)
        self._ui.foldList.clear()
        for fold in run.folds if run is not None else ():
            where = fold.get("structure") or _("outside the structures")
            self._ui.foldList.addItem(
                f"{where}: {fold.get('volume_mm3', 0):.1f} mm\u00b3, det J {fold.get('worst', 0):.2f}"
            )
        self._ui.foldList.setVisible(bool(run is not None and run.folds))

    def forget(self) -> None:
        """Remove the table that was made to compare runs."""
        remove_node(self._comparison)
        self._comparison = None

    def _show_table(self, run: RunResult | None, other: RunResult | None) -> None:
        table = run.get("table") if run is not None else None
        if run is not None and other is not None:
            if self._comparison is not None and self._comparison.GetScene() is None:
                self._comparison = None
            metrics = {one.name: one.metrics for one in (run, other)}
            table = self._comparison = tables.comparison_table(metrics, _("Comparison of runs"), self._comparison)
            table.SetSaveWithScene(False)
        else:
            self.forget()
        view = self._ui.metricsView
        view.setMRMLTableNode(table)
        view.setVisible(table is not None)
        if table is not None:
            # The first column gives way, so that the unit at the end is seen.
            header = view.horizontalHeader()
            header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
            header.setSectionResizeMode(0, qt.QHeaderView.Stretch)

    def _jump_to_row(self) -> None:
        row = self._ui.metricsView.currentIndex().row()
        if self._run is None or not 0 <= row < len(self._rows):
            return
        point = places.place_of(self._run, self._rows[row])
        if point is not None:
            places.jump_to(point)

    def _jump_to_fold(self, row: int) -> None:
        if self._run is not None and 0 <= row < len(self._run.folds):
            places.jump_to(self._run.folds[row]["point_lps"])
