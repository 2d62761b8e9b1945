"""What several solutions of one registration say together: a symmetric map, and where they disagree."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from . import field as fields
from .field import DisplacementField


def symmetrized(forward: DisplacementField, backward: DisplacementField) -> DisplacementField:
    """The mean of the forward map and the inverse of the backward map, both ``(1, 3, D, H, W)`` on one grid.

    Exchanging the scans then gives the inverse map, up to the error of a numerical inverse, where either run alone
    may miss the other by millimeters (compare Christensen and Johnson, IEEE TMI 2001).
    """
    opposite = fields.invert(backward, forward.grid).field
    return DisplacementField((forward.displacement + opposite.displacement) / 2, forward.grid)


def disagreement(solutions: Sequence[DisplacementField]) -> Tensor:
    """How far solutions on one grid lie apart: root mean square distance from their mean, mm, ``(1, 1, D, H, W)``.

    Where the images determine the map, runs with another direction, another start and other features end at the
    same place; where they do not, each ends elsewhere.
    """
    stack = torch.cat([solution.displacement for solution in solutions])
    deviation = stack - stack.mean(dim=0, keepdim=True)
    return deviation.square().sum(dim=1, keepdim=True).mean(dim=0, keepdim=True).sqrt()
