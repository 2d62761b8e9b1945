"""The table in which fixed and moving segments are matched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from ..scene.segmentations import match_by_name, segment_names


class SegmentMatching:
    """Fills a QTableWidget: one row a fixed segment, its moving segment chosen in a combo box.

    Args:
        table: the QTableWidget.
        on_changed: called with the pairs (fixed id, moving id) when the user changes one.
    """

    def __init__(self, table: Any, on_changed: Callable[[list[tuple[str, str]]], None]) -> None:
        self._table, self._on_changed = table, on_changed
        self._shown: tuple[Any, ...] = ()
        self._boxes: list[tuple[str, Any, list[str]]] = []
        table.setColumnCount(2)
        table.setHorizontalHeaderLabels([_("Fixed segment"), _("Moving segment")])
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        table.verticalHeader().setVisible(False)

    def show(self, fixed: Any, moving: Any, pairs: list[tuple[str, str]] | None) -> None:
        """Show the segments of two nodes; ``pairs`` None matches them by name."""
        fixed_names, moving_names = segment_names(fixed), segment_names(moving)
        shown = (tuple(fixed_names.items()), tuple(moving_names.items()), tuple(pairs or ()), pairs is None)
        if shown == self._shown:
            return
        self._shown = shown
        matched = dict(match_by_name(fixed, moving) if pairs is None else pairs)
        self._boxes = []
        self._table.setRowCount(len(fixed_names) if moving_names else 0)
        self._table.setVisible(bool(fixed_names and moving_names))
        for row, (identifier, name) in enumerate(fixed_names.items() if moving_names else ()):
            self._table.setItem(row, 0, qt.QTableWidgetItem(name))
            box = qt.QComboBox()
            others = ["", *moving_names]
            box.addItem(_("(not used)"))
            for other in moving_names.values():
                box.addItem(other)
            other = matched.get(identifier, "")
            box.currentIndex = others.index(other) if other in others else 0
            box.connect("currentIndexChanged(int)", self._changed)
            self._table.setCellWidget(row, 1, box)
            self._boxes.append((identifier, box, others))

    def pairs(self) -> list[tuple[str, str]]:
        """Pairs as the table shows them; a moving segment serves once."""
        taken: dict[str, str] = {}
        for identifier, box, others in self._boxes:
            other = others[box.currentIndex]
            if other and other not in taken.values():
                taken[identifier] = other
        return list(taken.items())

    def _changed(self) -> None:
        self._on_changed(self.pairs())
