"""Progress of a run: stage, percent, time left, and the log."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from ..core.display import STAGES
from ..scene.words import say
from .theme import level_color

MOST_LOG_LINES = 500


def stage_title(stage: str) -> str:
    """Name of a stage of the engine for people."""
    known = STAGES.get(stage)
    return stage.capitalize() if known is None else say(known.doing)


def time_left(seconds: float | None) -> str:
    """Seconds to go in words; empty if unknown."""
    if seconds is None:
        return ""
    if seconds < 60:
        return _("about {seconds} s left").format(seconds=max(1, round(seconds)))
    return _("about {minutes} min left").format(minutes=round(seconds / 60))


class ProgressPanel:
    """Shows progress in the widgets ``progressBar``, ``statusLabel`` and ``logText`` of the panel."""

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        ui.logText.setMaximumBlockCount(MOST_LOG_LINES)
        self.idle("")

    def started(self) -> None:
        """A run has begun."""
        self._ui.progressBar.setVisible(True)
        self._ui.progressBar.setValue(0)
        self.say(_("Preparing the scans"))

    def progress(self, stage: str, fraction: float, message: str, seconds: float | None) -> None:
        """The run has come so far."""
        self._ui.progressBar.setValue(round(100 * fraction))
        parts = [stage_title(stage), f"{round(100 * fraction)} %", time_left(seconds)]
        self.say(" · ".join(part for part in parts if part))
        if message:
            self.log(say(message))

    def idle(self, sentence: str, error: bool = False) -> None:
        """No run; a sentence says how the last one ended."""
        self._ui.progressBar.setVisible(False)
        self.say(sentence, error)

    def say(self, sentence: str, error: bool = False) -> None:
        """Show a sentence under the button."""
        self._ui.statusLabel.setText(sentence)
        self._ui.statusLabel.setVisible(bool(sentence))
        self._ui.statusLabel.setStyleSheet(
            f"color: {level_color(self._ui.registerButton, 'reject')};" if error else ""
        )

    def log(self, line: str) -> None:
        """Add a line to the log pane."""
        self._ui.logText.appendPlainText(line)
