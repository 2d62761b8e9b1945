"""The table in which segments are chosen, and fixed and moving ones matched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import qt
from slicer.i18n import tr as _

from ..scene.segmentations import match_by_name, segment_names

MOST_HEIGHT = 140
"""Pixels; more rows are scrolled."""


@dataclass
class _Row:
    """A segment's row: where it comes from, its check mark and, for a moving one, the box with fixed segments."""

    side: str
    identifier: str
    item: Any
    box: Any = None


class SegmentMatching:
    """Fills a QTableWidget: one row a segment with a check mark, moving ones with their fixed counterpart.

    Fixed segments that no moving one is matched to follow at the end.

    Args:
        table: the QTableWidget.
        on_changed: called when the user changes something, with the pairs (fixed id, moving id) and the segments
            (side, id) that are left out.
    """

    def __init__(
        self, table: Any, on_changed: Callable[[list[tuple[str, str]], list[tuple[str, str]]], None]
    ) -> None:
        self._table, self._on_changed = table, on_changed
        self._shown: tuple[Any, ...] = ()
        self._rows: list[_Row] = []
        self._fixed_ids: list[str] = []
        self._filling = False
        table.setColumnCount(2)
        table.setHorizontalHeaderLabels([_("Moving segment"), _("Fixed segment")])
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        table.verticalHeader().setVisible(False)
        table.connect("itemChanged(QTableWidgetItem*)", self._changed)

    def show(
        self, fixed: Any, moving: Any, pairs: list[tuple[str, str]] | None, unused: list[tuple[str, str]]
    ) -> None:
        """Show the segments of two nodes.

        Args:
            fixed, moving: segmentation nodes, or None.
            pairs: (fixed id, moving id); None matches by name.
            unused: segments (side, id) without a check mark.
        """
        names = {"fixed": segment_names(fixed), "moving": segment_names(moving)}
        matched = match_by_name(fixed, moving) if pairs is None else pairs
        shown = (*(tuple(found.items()) for found in names.values()), tuple(matched), tuple(unused))
        if shown == self._shown:
            return
        self._shown = shown
        self._filling = True
        self._fixed_ids = list(names["fixed"])
        counterpart = {other: identifier for identifier, other in matched}
        alone = [identifier for identifier in names["fixed"] if identifier not in dict(matched)]
        self._rows = []
        self._table.setRowCount(len(names["moving"]) + len(alone))
        self._table.setVisible(self._table.rowCount > 0)
        for identifier, name in names["moving"].items():
            row = self._add("moving", identifier, name, unused, 0)
            if names["fixed"]:
                row.box = self._box(list(names["fixed"].values()), counterpart.get(identifier))
                self._table.setCellWidget(len(self._rows) - 1, 1, row.box)
        for identifier in alone:
            self._add("fixed", identifier, names["fixed"][identifier], unused, 1)
        rows = self._table.verticalHeader().length() + self._table.horizontalHeader().height
        self._table.setFixedHeight(min(rows + 2 * self._table.frameWidth, MOST_HEIGHT))
        self._filling = False

    def _add(self, side: str, identifier: str, name: str, unused: list[tuple[str, str]], column: int) -> _Row:
        item = qt.QTableWidgetItem(name)
        item.setFlags(qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled)
        item.setCheckState(qt.Qt.Unchecked if (side, identifier) in unused else qt.Qt.Checked)
        number = len(self._rows)
        self._table.setItem(number, column, item)
        empty = qt.QTableWidgetItem("")
        empty.setFlags(qt.Qt.ItemIsEnabled)
        self._table.setItem(number, 1 - column, empty)
        self._rows.append(_Row(side, identifier, item))
        return self._rows[-1]

    def _box(self, names: list[str], chosen: str | None) -> Any:
        box = qt.QComboBox()
        for title in (_("(none)"), *names):
            box.addItem(title)
        box.currentIndex = self._fixed_ids.index(chosen) + 1 if chosen in self._fixed_ids else 0
        box.connect("currentIndexChanged(int)", self._changed)
        return box

    def pairs(self) -> list[tuple[str, str]]:
        """Pairs (fixed id, moving id) as the table shows them; a fixed segment serves once."""
        taken: dict[str, str] = {}
        for row in self._rows:
            index = row.box.currentIndex if row.box is not None else 0
            if index > 0:
                taken.setdefault(self._fixed_ids[index - 1], row.identifier)
        return list(taken.items())

    def unused(self) -> list[tuple[str, str]]:
        """Segments (side, id) without a check mark; the fixed counterpart of a moving one goes with it."""
        counterpart = {moving: fixed for fixed, moving in self.pairs()}
        left_out: list[tuple[str, str]] = []
        for row in self._rows:
            if row.item.checkState() == qt.Qt.Unchecked:
                left_out.append((row.side, row.identifier))
                if row.side == "moving" and row.identifier in counterpart:
                    left_out.append(("fixed", counterpart[row.identifier]))
        return left_out

    def _changed(self) -> None:
        if not self._filling:
            self._on_changed(self.pairs(), self.unused())
