"""How fast and how finely a run computes: learning rate, precision, speed."""

from __future__ import annotations

import math

from DeepLargeDeformRegLib.engine.device import computes_in_bfloat16

from ..config import PhaseConfig


class Speed:
    """Seconds per step, smoothed."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def note(self, seconds: float) -> None:
        """Take in the time of one more step."""
        self.seconds = seconds if self.seconds == 0 else 0.95 * self.seconds + 0.05 * seconds


def learning_rate(phase: PhaseConfig, step: int, steps: int) -> float:
    """Learning rate of a step of a phase: linear rise, then constant or a quarter wave of cosine down to zero."""
    rate = phase.learning_rate * min(1.0, (step + 1) / (phase.warmup + 1))
    if phase.decay == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * step / max(steps, 1)))
    return rate


def uses_bfloat16(precision: str, device_type: str) -> bool:
    """Whether a network computes in bfloat16: as the configuration says, or where the hardware does so itself."""
    return computes_in_bfloat16(device_type) if precision == "auto" else precision == "bf16"
