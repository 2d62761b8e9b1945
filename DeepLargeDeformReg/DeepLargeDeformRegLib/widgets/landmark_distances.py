"""How far corresponding landmarks lie apart, as loaded and registered, while the user places them."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from ..scene import markups, places
from ..scene.errors import SceneError
from ..scene.results import RunResult


class LandmarkDistances(VTKObservationMixin):
    """Fills a table with the distance of each pair, in mm, and keeps it right; a click on a row jumps there.

    Args:
        table: the QTableWidget. label: says the means, or why there are no pairs.
    """

    def __init__(self, table: Any, label: Any) -> None:
        VTKObservationMixin.__init__(self)
        self._table, self._label = table, label
        self._nodes: tuple[Any, Any] = (None, None)
        self._run: RunResult | None = None
        self._points: list[Any] = []
        table.setColumnCount(3)
        table.setHorizontalHeaderLabels([_("Landmark"), _("As loaded (mm)"), _("Registered (mm)")])
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        table.verticalHeader().setVisible(False)
        table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        table.connect("cellClicked(int,int)", self._jump)
        self._measure()  # an empty table is not shown

    def show(self, fixed: Any, moving: Any, run: RunResult | None) -> None:
        """Follow two markups nodes (or None); ``run`` is the result whose transform is measured, if any."""
        same_run = (run.node if run else None) is (self._run.node if self._run else None)
        if (fixed, moving) == self._nodes and same_run:
            return
        self.removeObservers()
        self._nodes, self._run = (fixed, moving), run
        if fixed is not None and moving is not None:
            markup = slicer.vtkMRMLMarkupsNode
            for node in (fixed, moving):
                for event in (
                    markup.PointModifiedEvent,
                    markup.PointRemovedEvent,
                    markup.PointPositionDefinedEvent,
                    markup.PointPositionUndefinedEvent,
                ):
                    self.addObserver(node, event, self._measure)
        self._measure()

    def close(self) -> None:
        """Follow nothing any more."""
        self.removeObservers()
        self._nodes = (None, None)

    def _measure(self, caller: Any = None, event: Any = None) -> None:
        fixed, moving = self._nodes
        rows: list[markups.LandmarkDistance] = []
        text = ""
        if fixed is not None and moving is not None:
            try:
                rows = markups.landmark_distances(fixed, moving, self._transform())
                text = _summary(rows)
            except SceneError as error:
                text = str(error)
        self._points = [row.point_lps for row in rows]
        self._table.setRowCount(len(rows))
        for number, row in enumerate(rows):
            after = "" if row.registered_mm is None else f"{row.registered_mm:.1f}"
            for column, cell in enumerate((row.name, f"{row.loaded_mm:.1f}", after)):
                self._table.setItem(number, column, qt.QTableWidgetItem(cell))
        self._table.setVisible(bool(rows))
        self._label.setText(text)
        self._label.setVisible(bool(text))

    def _transform(self) -> Any:
        """The transform of the result, where it registers the scans of these landmarks."""
        run = self._run
        pair = (run.get("fixed_landmarks"), run.get("moving_landmarks")) if run is not None else ()
        return run.get("transform") if run is not None and pair == self._nodes else None

    def _jump(self, row: int, column: int) -> None:
        if 0 <= row < len(self._points):
            places.jump_to(self._points[row])


def _summary(rows: list[markups.LandmarkDistance]) -> str:
    """The means of all pairs, in a line."""
    loaded = sum(row.loaded_mm for row in rows) / len(rows)
    registered = [row.registered_mm for row in rows if row.registered_mm is not None]
    if not registered:
        return _("{count} pairs, {loaded:.1f} mm apart on average as loaded.").format(count=len(rows), loaded=loaded)
    return _("{count} pairs, {loaded:.1f} mm apart on average as loaded, {after:.1f} mm registered.").format(
        count=len(rows), loaded=loaded, after=sum(registered) / len(registered)
    )
