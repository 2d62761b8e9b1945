"""Progress and cancellation, passed down through the stages of a registration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .errors import CancelledError


@dataclass(frozen=True)
class ProgressEvent:
    """One step of a running job: stage name, fraction of the whole job (0..1), a sentence for people."""

    stage: str
    fraction: float
    message: str = ""


class Monitor:
    """What a stage reports to and asks whether it may go on.

    The fraction that reaches the listener never decreases, so that a progress bar only grows.

    Args:
        listener: called with every :class:`ProgressEvent`.
        should_cancel: asked at every report and check; True ends the job with :class:`CancelledError`.
    """

    def __init__(
        self,
        listener: Callable[[ProgressEvent], None] | None = None,
        should_cancel: Callable[[], bool] | None = None,
    ) -> None:
        self._listener = listener
        self._should_cancel = should_cancel
        self._highest = 0.0

    def check(self) -> None:
        """Raise :class:`CancelledError` if the user cancelled."""
        if self._should_cancel is not None and self._should_cancel():
            raise CancelledError()

    def report(self, stage: str, fraction: float, message: str = "") -> None:
        """Tell the listener where the job stands; raises :class:`CancelledError` if it was cancelled."""
        self.check()
        self._highest = max(self._highest, min(max(fraction, 0.0), 1.0))
        if self._listener is not None:
            self._listener(ProgressEvent(stage, self._highest, message))

    def span(self, start: float, stop: float) -> Monitor:
        """A monitor whose fractions 0..1 fill ``start..stop`` of this one."""

        def pass_on(event: ProgressEvent) -> None:
            self.report(event.stage, start + (stop - start) * event.fraction, event.message)

        return Monitor(pass_on, self._should_cancel)
