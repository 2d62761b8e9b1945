"""Agreement of a registration with the one in the opposite direction; lower is better."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from ..fields import DisplacementField, compose, warp
from .stencils import full_precision, masked_mean


@full_precision
def inverse_consistency(forward: DisplacementField, backward: DisplacementField) -> Tensor:
    """Mean squared distance by which the two maps together miss the start, mm^2 (Christensen and Johnson, 2001).

    The mean of ``|backward(forward(x)) - x|^2`` over the forward map's grid and of ``|forward(backward(x)) - x|^2``
    over the backward map's, halved each. Voxels that leave the other grid do not count: nothing is known there.

    Args:
        forward: fixed to moving points, on the fixed grid.
        backward: moving to fixed points, on the moving grid.

    Returns:
        Scalar; 0 for exact inverses.
    """
    return 0.5 * (_round_trip(backward, forward) + _round_trip(forward, backward))


def _round_trip(outer: DisplacementField, inner: DisplacementField) -> Tensor:
    with torch.no_grad():
        ones = torch.ones_like(outer.displacement[:, :1])
        inside = warp(ones, outer.grid, inner, padding="zeros") > 0.999
    distance = compose(outer, inner).displacement.square().sum(dim=1, keepdim=True)
    return masked_mean(distance, inside)


class InverseConsistency(nn.Module):
    """Module of :func:`inverse_consistency`, called as ``loss(forward, backward)``."""

    family: ClassVar[str] = "consistency"

    def forward(self, forward: DisplacementField, backward: DisplacementField) -> Tensor:
        return inverse_consistency(forward, backward)
