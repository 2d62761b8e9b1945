"""How long tests wait for what the library promises to do within some seconds."""

from __future__ import annotations

ROOM = 4.0
"""Factor between a promise, which is made for a machine with nothing else to do, and what a test allows: continuous
integration runs several processes at once, on machines of other speeds. ``Testing/benchmarks`` measure the promises
themselves. What a test allows stays below the time after which another mechanism would act, so that it fails
where the promised one is missing."""


def allowed(promised_seconds: float) -> float:
    """Seconds that a test allows for what is promised within ``promised_seconds`` on a quiet machine."""
    return ROOM * promised_seconds
