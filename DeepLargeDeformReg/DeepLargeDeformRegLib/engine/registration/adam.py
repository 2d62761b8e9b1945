"""Adam for one tensor, with a step size that falls linearly.

``torch.optim`` imports the compiler with the first optimizer that is made, which takes a processor a second or more.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOMENTUM, SCALE_MEMORY = 0.9, 0.999
TINY = 1e-8


class Adam:
    """Adam (Kingma and Ba, ICLR 2015, algorithm 1) in place on a leaf tensor that requires a gradient."""

    def __init__(self, values: Tensor, rate: float, steps: int, last: float = 0.1) -> None:
        """Optimizer of a tensor.

        Args:
            values: what is optimized.
            rate: first step size, in the values' unit.
            steps: over which the step size falls.
            last: share of the step size that is left at the end.
        """
        self._values, self._rate, self._steps, self._last = values, rate, steps, last
        self._mean, self._square = torch.zeros_like(values), torch.zeros_like(values)
        self._taken = 0

    @torch.no_grad()
    def step(self) -> None:
        """One step down the gradient, which is removed."""
        gradient = self._values.grad
        assert gradient is not None
        share = 1 + (self._last - 1) * min(self._taken / self._steps, 1.0)
        self._taken += 1
        self._mean.lerp_(gradient, 1 - MOMENTUM)
        self._square.mul_(SCALE_MEMORY).addcmul_(gradient, gradient, value=1 - SCALE_MEMORY)
        size = self._rate * share / (1 - MOMENTUM**self._taken)
        root = (self._square / (1 - SCALE_MEMORY**self._taken)).sqrt_().add_(TINY)
        self._values.addcdiv_(self._mean, root, value=-size)
        self._values.grad = None
