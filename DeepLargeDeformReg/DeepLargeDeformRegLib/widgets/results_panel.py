"""Results: which run, compared with what, and how the views show it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..core.display import MAPS
from ..core.errors import RegistrationError
from ..scene import layouts, results
from ..scene.results import RunResult
from ..scene.words import heading, say_error
from .export_panel import ExportPanel
from .legends import view_legend
from .quality_panel import QualityPanel

FLICKER_MILLISECONDS = 500
FADE_STEP = 0.1
# With Ctrl+Shift, as Slicer keeps single keys and Ctrl for itself; none is taken by its toolbars.
KEYS = {"flicker": "Ctrl+Shift+F", "less": "Ctrl+Shift+J", "more": "Ctrl+Shift+K", "next": "Ctrl+Shift+N"}


class ResultsPanel:
    """Binds the widgets of Results to the runs in the scene; quality and export show the same run.

    Args:
        ui: widgets of the panel.
        on_selected: called when another run is shown.
    """

    def __init__(self, ui: Any, on_selected: Callable[[], None]) -> None:
        self._ui = ui
        self._on_selected: Callable[[], None] | None = None
        self.quality, self.export = QualityPanel(ui), ExportPanel(ui)
        self._runs: list[RunResult] = []
        self._others: list[RunResult] = []
        self._charts: list[Any] = []
        self._maps: list[str] = []
        self._comparison: layouts.Comparison | None = None
        self._layouts: tuple[int, int] | None = None
        self._view = ""
        self._removing = False
        self._flicker = qt.QTimer()
        self._flicker.setInterval(FLICKER_MILLISECONDS)
        self._flicker.connect("timeout()", self._turn)
        self._view_buttons = {view: getattr(ui, f"{view}Button") for view in layouts.VIEWS}
        self._view_tips = {view: button.toolTip for view, button in self._view_buttons.items()}
        for view, button in self._view_buttons.items():
            button.connect("clicked(bool)", lambda checked=False, view=view: self.show_view(view))
        ui.resultBox.connect("currentIndexChanged(int)", self._selected)
        ui.compareBox.connect("currentIndexChanged(int)", self._compare)
        ui.removeResultButton.connect("clicked(bool)", self._remove)
        ui.fadeSlider.connect("valueChanged(double)", layouts.set_fade)
        ui.flickerButton.connect("toggled(bool)", self._set_flicker)
        ui.beforeAfterButton.connect("toggled(bool)", self._before)
        ui.mapBox.connect("activated(int)", self._show_map)
        ui.plotBox.connect("activated(int)", self._show_chart)
        self._shortcuts = self._make_shortcuts()
        self.refresh()
        self._on_selected = on_selected

    @property
    def current(self) -> RunResult | None:
        """The run that is shown."""
        index = self._ui.resultBox.currentIndex
        return self._runs[index] if 0 <= index < len(self._runs) else None

    @property
    def other(self) -> RunResult | None:
        """The run that it is compared with, if any."""
        index = self._ui.compareBox.currentIndex - 1
        return self._others[index] if 0 <= index < len(self._others) else None

    def refresh(self, newest: bool = False) -> None:
        """Read the runs of the scene again; ``newest`` selects the last."""
        if self._removing:
            return
        index = self._ui.resultBox.currentIndex
        self._runs = results.list_results()
        titles = []
        for run in self._runs:
            fixed, moving = run.get("fixed"), run.get("moving")
            titles.append(run.name + (f": {moving.GetName()} \u2192 {fixed.GetName()}" if fixed and moving else ""))
        last = len(self._runs) - 1
        self._fill(self._ui.resultBox, titles, last if newest or not 0 <= index <= last else index)
        self._selected()

    def select(self, run: RunResult) -> None:
        """Show a run of the scene, over its fixed scan."""
        self.refresh()
        numbers = [number for number, one in enumerate(self._runs) if one.node is run.node]
        if numbers:
            self._ui.resultBox.currentIndex = numbers[0]
            self.show_view("fade", fit=True)

    def show_view(self, view: str, fit: bool = False) -> None:
        """Arrange the views for the current run; ``fit`` also brings the fixed volume into their middle."""
        self._ui.flickerButton.checked = False
        if self._comparison is None:
            return
        self._leave_chart()
        try:
            self._comparison.show(view, self._ui.fadeSlider.value)
            self._view = view
            volume = self._comparison.run.get(view) if view == "jacobian" or view in MAPS else None
            self._ui.viewLabel.setText(view_legend(view, self.other.name if self.other else "", volume))
            if fit:
                layouts.fit_views()
        except (RegistrationError, ValueError) as error:
            slicer.util.showStatusMessage(say_error(error), 5000)

    def volume_removed(self, volume: Any) -> None:
        """A volume of the views was removed by other hands; Slicer may have put a neighbor into its place."""
        if not self._removing and self._comparison is not None and self._comparison.shows(volume):
            self._compare(anew=True)

    def stop(self) -> None:
        """Nothing moves any more: the panel is left."""
        self._flicker.stop()

    def close(self) -> None:
        """The panel goes, and what it made for itself."""
        self.stop()
        self.quality.forget()
        self.export.close()
        if self._comparison is not None:
            self._comparison.forget()
            self._comparison = None

    @staticmethod
    def _fill(box: Any, titles: list[str], index: int) -> None:
        box.blockSignals(True)
        box.clear()
        for title in titles:
            box.addItem(title)
        box.currentIndex = index
        box.blockSignals(False)

    def _selected(self) -> None:
        """Another run: offer what it can be compared with, its maps and charts."""
        run = self.current
        fixed = run.get("fixed") if run is not None else None
        self._others = [
            one for one in self._runs if run is not None and one.node is not run.node and one.get("fixed") is fixed
        ]
        self._fill(self._ui.compareBox, [_("Fixed scan"), *(one.name for one in self._others)], 0)
        self._ui.compareRow.setVisible(bool(self._others))
        for widget in (self._ui.viewBox, self._ui.removeResultButton, self._ui.qualityBox):
            widget.setEnabled(run is not None)
        self._maps = [name for name in MAPS if run is not None and run.get(name) is not None]
        self._fill(self._ui.mapBox, [_("Maps"), *(heading(MAPS[name]) for name in self._maps)], 0)
        self._ui.mapBox.setEnabled(bool(self._maps))
        self._charts = run.get_all("charts") if run is not None else []
        self._fill(self._ui.plotBox, [_("Plots"), *(chart.GetTitle() for chart in self._charts)], 0)
        self._ui.plotBox.setEnabled(bool(self._charts))
        self.export.show(run)
        self._compare()
        if self._on_selected is not None:
            self._on_selected()

    def _compare(self, index: int = 0, anew: bool = False) -> None:
        """Another run to compare with, or the fixed scan again; the views go on showing the same of it.

        Args:
            index: of the box. anew: the same runs have lost a volume.
        """
        run, other = self.current, self.other
        before = self._comparison
        if before is None or anew or not before.is_of(run, other):
            self._ui.flickerButton.checked = False
            self._comparison = layouts.Comparison(run, other) if run is not None else None
            self._show_again(before)
        self.quality.show(run, other)
        for view, button in self._view_buttons.items():
            reason = self._comparison.missing(view) if self._comparison is not None else _("There is no result yet.")
            button.setEnabled(not reason)
            button.setToolTip(reason or self._view_tips[view])

    def _show_again(self, before: layouts.Comparison | None) -> None:
        """Show of the runs that are compared now what was shown of the ones before."""
        view, now = self._view, self._comparison
        if before is not None:
            before.leave()
        if view and (now is None or now.missing(view)):
            view = "fade" if now is not None and not now.missing("fade") else ""
        if view and view != "before":
            self.show_view(view)
        elif self._view and before is not None:
            self._view = ""
            self._ui.viewLabel.setText("")
            layouts.show(before.fixed if before.fixed is not None and before.fixed.GetScene() is not None else None)
        if before is not None:
            before.forget()

    def _remove(self) -> None:
        run = self.current
        if run is not None:
            self._removing = True
            results.remove_result(run)
            self._removing = False
            self.refresh()

    def _make_shortcuts(self) -> list[Any]:
        """Keys for what a reader does again and again; they work while the panel is seen."""
        actions = {
            "flicker": self._ui.flickerButton.click,
            "less": lambda: self._fade_by(-FADE_STEP),
            "more": lambda: self._fade_by(FADE_STEP),
            "next": self._next_run,
        }
        shortcuts = []
        for name, action in actions.items():
            shortcut = qt.QShortcut(qt.QKeySequence(KEYS[name]), self._ui.resultsSection)
            shortcut.connect("activated()", action)
            shortcuts.append(shortcut)
        return shortcuts

    def _fade_by(self, step: float) -> None:
        slider = self._ui.fadeSlider
        slider.value = min(max(slider.value + step, 0.0), 1.0)

    def _next_run(self) -> None:
        if self._runs:
            self._ui.resultBox.currentIndex = (self._ui.resultBox.currentIndex + 1) % len(self._runs)

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
            self._leave_chart()
            self._comparison.before_after(after=not before)
            self._view = "before" if before else "fade"
            self._ui.viewLabel.setText(view_legend("before" if before else "fade"))

    def _show_map(self, index: int) -> None:
        if 0 < index <= len(self._maps):
            self.show_view(self._maps[index - 1])
        self._ui.mapBox.currentIndex = 0

    def _show_chart(self, index: int) -> None:
        if 0 < index <= len(self._charts):
            self.show_chart(index - 1)
        self._ui.plotBox.currentIndex = 0

    def show_chart(self, index: int) -> None:
        """Show one of the current run's charts in a layout with a plot view."""
        if 0 <= index < len(self._charts):
            before = layouts.show_chart(self._charts[index])
            shown = slicer.app.layoutManager().layout
            if before != shown:
                self._layouts = before, shown

    def _leave_chart(self) -> None:
        """Back to the layout that was there before a chart was shown, unless the user has chosen another since."""
        if self._layouts is not None and slicer.app.layoutManager().layout == self._layouts[1]:
            slicer.app.layoutManager().setLayout(self._layouts[0])
        self._layouts = None
