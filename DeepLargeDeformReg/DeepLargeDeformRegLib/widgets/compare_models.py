"""Compare models: the panel's pair registered with each model of its preset, and a table of what each reached."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from ..core.cases import case_values
from ..core.comparison import NO_NETWORK, SECONDS, ModelResult, narrow_rows, seconds_of
from ..scene.tables import text_table
from ..scene.volumes import remove_node
from ..scene.words import say
from .model_cards import CardSummary, cards_of

ENDED_BY_USER = ("cancelled", "discarded")


class ModelComparison:
    """Runs one model after the other; each leaves a result of its own, which the panel lists as any other.

    Args:
        ui: widgets of the panel.
        start: starts a run with the model of a name and returns it; None where it could not be started, which the
            panel has said then.
        preset: name of the preset that is chosen.
    """

    def __init__(self, ui: Any, start: Callable[[str], Any], preset: Callable[[], str]) -> None:
        self._ui, self._start, self._preset = ui, start, preset
        self._waiting: deque[str] = deque()
        self._cards: dict[str, CardSummary] = {}
        self._results: list[ModelResult] = []
        self._current: tuple[str, Any] | None = None
        self._table: Any = None
        ui.compareButton.connect("clicked(bool)", self._compare)
        ui.compareView.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        ui.compareView.verticalHeader().setVisible(False)
        ui.compareView.setVisible(False)

    def close(self) -> None:
        """The panel goes, and the table with it."""
        self._waiting.clear()
        remove_node(self._table)
        self._table = None

    def scene_closed(self) -> None:
        """The scene goes, and what was compared with it: the next scene gets no table of this one."""
        self._waiting.clear()
        self._results = []
        self._current = None
        self._ui.compareView.setVisible(False)

    def ended(self, run: Any) -> None:
        """A run has ended: if it is of the comparison, the next model follows, and at last the table."""
        if self._current is None or run is not self._current[1]:
            return
        (name, _run), self._current = self._current, None
        if run.error is not None and run.error.kind in ENDED_BY_USER:
            self._waiting.clear()
        else:
            self._results.append(self._result(name, run))
        if self._waiting:
            self._next()
        elif self._results:
            self._show()

    def _compare(self) -> None:
        self._cards = {card.name: card for card in cards_of(self._preset())}
        self._waiting = deque([*self._cards, NO_NETWORK])
        self._results = []
        self._next()

    def _next(self) -> None:
        name = self._waiting.popleft()
        run = self._start(name)
        if run is None:
            self._waiting.clear()
            if self._results:
                self._show()
        elif not run.finished:
            self._current = name, run

    def _result(self, name: str, run: Any) -> ModelResult:
        card = self._cards.get(name)
        title = card.title if card is not None else _("No network")
        figures = card.measured if card is not None else {}
        if run.error is not None:
            return ModelResult(model=name, title=title, figures=figures, error=str(run.error))
        metrics = run.result.metrics
        values = {**case_values(metrics.to_json()), SECONDS: seconds_of(metrics.seconds)}
        return ModelResult(model=name, title=title, values=values, figures=figures)

    def _show(self) -> None:
        heading, *rows = narrow_rows(self._results)
        columns = {say(title): [row[column] for row in rows] for column, title in enumerate(heading)}
        if self._table is not None and self._table.GetScene() is None:
            self._table = None
        self._table = text_table(columns, _("Comparison of models"), self._table)
        self._ui.compareView.setMRMLTableNode(self._table)
        self._ui.compareView.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        self._ui.compareView.setVisible(True)
