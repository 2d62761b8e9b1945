"""Regularized selection of displacements on a lattice of nodes: messages along its axes.

After Hirschmueller, "Stereo processing by semiglobal matching and mutual information" (IEEE TPAMI 2008), here in
three dimensions: dynamic programming along each of the six directions of the lattice tells every node what each of
its candidates costs the nodes behind it. Neighbors pay the squared difference of their displacements, as on the trees
of Heinrich et al., "MRF-based deformable registration and ventilation estimation of lung CT" (IEEE TMI 2013), and may
differ by one candidate along each axis at most: more would fold or tear. The minimum over these differences is taken
axis by axis, which is exact, as the squared difference is a sum over the axes (Felzenszwalb and Huttenlocher 2012).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

LEVELS = 256  # of a cost of 1: integers of 16 bits take half the memory and the time of floats
MOST_COST = 8 * LEVELS
MOST_MESSAGE = 16 * LEVELS  # six of them and a cost are less than 2^15
SLAB = 2**22  # costs at a time on a CPU, so that they stay in its cache


def as_integers(cost: Tensor) -> Tensor:
    """Costs ``(D, K, H, W)``, times ``LEVELS``, of 16 bits, plane by plane; more than 8 counts as 8."""
    whole = torch.empty_like(cost, dtype=torch.int16)
    for plane, values in zip(whole, cost, strict=True):
        plane.copy_((values * LEVELS).round_().clamp_(max=MOST_COST))
    return whole


def pass_messages(
    cost: Tensor, radius: int, stiffness: float, report: Callable[[float], None] = lambda share: None
) -> Tensor:
    """Cost of every candidate at every node together with what it costs the nodes along the axes.

    On a chain of nodes these are, but for a constant a node, the least costs of all choices in which the node takes
    that candidate; on a lattice, the sum over its axes.

    Args:
        cost: ``(D, K, H, W)`` from :func:`as_integers`; ``K = (2 radius + 1)^3`` candidates, x fastest.
        radius: of the window of candidates.
        stiffness: what neighbors pay that differ by one candidate along one axis.
        report: called now and then with the share that is done; what it raises ends the work.

    Returns:
        As the cost.
    """
    side, penalty = 2 * radius + 1, round(stiffness * LEVELS)
    depth, count, height, width = cost.shape
    total = cost + _along_first(cost.flatten(2), side, penalty).view_as(cost)
    planes = max(SLAB // (count * height * width), 1) if cost.device.type == "cpu" else depth
    for first in range(0, depth, planes):
        report((1 + 2 * first / depth) / 3)
        slab = cost[first : first + planes]
        for there, back in (((2, 1, 0, 3), (2, 1, 0, 3)), ((3, 1, 0, 2), (2, 1, 3, 0))):
            turned = slab.permute(there).contiguous()
            arrived = _along_first(turned.flatten(2), side, penalty).view_as(turned)
            total[first : first + planes] += arrived.permute(back)
    return total


def _along_first(cost: Tensor, side: int, penalty: int) -> Tensor:
    """Sum of the messages that arrive at each node from before and from behind; cost ``(nodes, K, others)``."""
    arrived = torch.zeros_like(cost)
    last = len(cost) - 1
    for step, nodes in ((1, range(last)), (-1, range(last, 0, -1))):
        message = torch.zeros_like(cost[0])
        for node in nodes:
            message += cost[node]
            _spread(message.view(side, side, side, -1), penalty)
            message -= message.amin(dim=0)
            message.clamp_(max=MOST_MESSAGE)
            arrived[node + step] += message
    return arrived


def _spread(cost: Tensor, penalty: int) -> None:
    """Let a candidate cost at most a penalty more than the next along each axis, in place; ``(z, y, x, others)``."""
    for axis in range(3):
        moved, length = cost + penalty, cost.shape[axis] - 1
        lower, upper = cost.narrow(axis, 0, length), cost.narrow(axis, 1, length)
        torch.minimum(lower, moved.narrow(axis, 1, length), out=lower)
        torch.minimum(upper, moved.narrow(axis, 0, length), out=upper)
