"""Quality: the verdict with its reasons, the table of metrics, the folds; a click on a row jumps there."""

from __future__ import annotations

import html
from typing import Any

import qt
from slicer.i18n import tr as _

from ..core.display import LEVELS
from ..core.measures import Point
from ..core.rows import MetricRow, metric_rows, place_text, single_places_text
from ..scene import places, tables
from ..scene.results import RunResult
from ..scene.volumes import remove_node
from ..scene.words import say
from .theme import level_color, level_style

MOST_PLACES_IN_SIGHT = 5


def verdict_html(run: RunResult, color: str) -> str:
    """The verdict of a run with its reasons and notes, its title in a color; a sentence where it was not judged."""
    verdict = run.verdict
    if verdict is None:
        return _("This run was not judged; look at the numbers.")
    level = LEVELS.get(verdict.level, LEVELS["look"])
    reasons = "".join(f"<li>{html.escape(say(reason.text))}</li>" for reason in verdict.reasons)
    items = f"<ul style='margin: 2px 0 0 -22px'>{reasons}</ul>" if reasons else ""
    title = html.escape(say(level.title))
    places = html.escape(say(single_places_text(run.metrics)))
    return f"<b style='color: {color}'>{level.mark} {title}</b>{items}{places}{_notes_html(run)}"


def _notes_html(run: RunResult) -> str:
    """What the user should know of a run beside its verdict, a paragraph each."""
    notes = (_("Note: {text}").format(text=say(warning)) for warning in run.metrics.warnings)
    return "".join(f"<p style='margin: 4px 0 0 0'>{html.escape(note)}</p>" for note in notes)


class QualityPanel:
    """Shows the quality of a run, beside that of another one if there is one to compare with."""

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._run: RunResult | None = None
        self._rows: list[MetricRow] = []
        self._places: list[Point] = []
        self._comparison: Any = None
        self._filling = False
        ui.foldList.connect("currentRowChanged(int)", self._jump_to_place)
        ui.metricsView.connect("clicked(QModelIndex)", self._jump_to_row)
        ui.metricsView.connect("selectionChanged()", self._jump_to_row)
        ui.metricsView.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        ui.metricsView.setSelectionMode(qt.QAbstractItemView.SingleSelection)
        ui.metricsView.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        ui.metricsView.verticalHeader().setVisible(False)
        ui.metricsView.setWordWrap(True)

    def show(self, run: RunResult | None, other: RunResult | None = None) -> None:
        """Show a run, or that there is none."""
        self._run = run
        self._rows = metric_rows(run.metrics) if run is not None else []
        self._show_verdict(run)
        self._show_table(run, other)
        self._show_places(run)

    def _show_verdict(self, run: RunResult | None) -> None:
        label = self._ui.verdictLabel
        if run is None or run.verdict is None:
            label.setText(_("No result yet.") if run is None else verdict_html(run, ""))
            label.setStyleSheet("border-left: 4px solid #888888; padding: 6px;")
            return
        level = run.verdict.level if run.verdict.level in LEVELS else "look"
        label.setText(verdict_html(run, level_color(self._ui.qualityBox, level)))
        label.setStyleSheet(level_style(self._ui.qualityBox, level))

    def _show_places(self, run: RunResult | None) -> None:
        """List where the run is at its worst, and where it folds; a click jumps there."""
        entries = [(say(place_text(place)), place.point_lps) for place in run.metrics.worst_places] if run else []
        for fold in run.folds if run is not None else ():
            where = fold.structure or _("outside the structures")
            text = _("Fold, {where}: {volume:.1f} mm\u00b3, volume change (det J) {worst:.2f}")
            entries.append((text.format(where=where, volume=fold.volume_mm3, worst=fold.worst), fold.point_lps))
        self._places = [point for _text, point in entries]
        self._ui.foldList.clear()
        for text, _point in entries:
            self._ui.foldList.addItem(text)
        self._ui.foldList.setVisible(bool(entries))
        rows = min(len(entries), MOST_PLACES_IN_SIGHT)
        self._ui.foldList.setFixedHeight(
            rows * self._ui.foldList.sizeHintForRow(0) + 2 * self._ui.foldList.frameWidth
        )

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
        self._filling = True  # Slicer's table says that the selection changed when it is given another node
        view.setMRMLTableNode(table)
        view.clearSelection()
        self._filling = False
        view.setVisible(table is not None)
        if table is not None:
            # The first column gives way, so that the unit at the end is seen.
            header = view.horizontalHeader()
            header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
            header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
            header.setSectionResizeMode(1, qt.QHeaderView.Interactive)
            header.resizeSection(1, round(1.3 * header.sectionSizeHint(1)))

    def _jump_to_row(self) -> None:
        row = self._ui.metricsView.currentIndex().row()
        if self._filling or self._run is None or not 0 <= row < len(self._rows):
            return
        point = places.place_of(self._run, self._rows[row])
        if point is not None:
            places.jump_to(point)

    def _jump_to_place(self, row: int) -> None:
        if 0 <= row < len(self._places):
            places.jump_to(self._places[row])
