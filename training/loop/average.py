"""Moving average of a network's weights: smoother than the weights themselves, and better on unseen scans."""

from __future__ import annotations

import copy

import torch
from DeepLargeDeformRegLib.engine.networks import RegistrationNetwork


class MovingAverage:
    """Exponential moving average (Polyak and Juditsky 1992), with a start-up during which it forgets faster.

    Args:
        network: what is averaged, the statistics of batch norm as well: those of few pairs differ from step to step.
        decay: share of the old average that a step keeps; 0 keeps the weights themselves.
    """

    def __init__(self, network: RegistrationNetwork, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.decay = decay

    @torch.no_grad()
    def update(self, network: RegistrationNetwork, step: int) -> None:
        """Take in the weights after step number ``step`` (0, 1, ...) of a phase."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step)) if self.decay > 0 else 1.0
        pairs = zip(self.network.parameters(), network.parameters(), strict=True)
        trained = [(mine, other.detach()) for mine, other in pairs if other.requires_grad]
        # All at once: one call to a GPU for each tensor would take longer than the sums.
        torch._foreach_lerp_([mine for mine, _ in trained], [other for _, other in trained], weight)
        buffers = list(zip(self.network.buffers(), network.buffers(), strict=True))
        if statistics := [pair for pair in buffers if pair[0].is_floating_point()]:
            torch._foreach_lerp_([mine for mine, _ in statistics], [other for _, other in statistics], weight)
        for mine, other in buffers:
            if not mine.is_floating_point():
                mine.copy_(other)

    @torch.no_grad()
    def start_phase(self, network: RegistrationNetwork, inherit_level: int | None) -> None:
        """Continue a network from its average, as at the end of a decaying learning rate."""
        network.load_state_dict(self.network.state_dict())
        if inherit_level is not None:
            network.inherit_level(inherit_level)
            self.network.load_state_dict(network.state_dict())
