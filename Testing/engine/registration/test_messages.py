"""Messages along the axes of a lattice: exact on chains, and what they do for nodes that know nothing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from DeepLargeDeformRegLib.engine.registration import messages
from DeepLargeDeformRegLib.engine.registration.messages import LEVELS, as_integers, pass_messages

CANDIDATES = np.array(list(itertools.product((-1, 0, 1), repeat=3)))  # (z, y, x)
PENALTY = 48


def least_costs(cost: np.ndarray) -> np.ndarray:
    """By trying all 27^3 choices: the least cost (3, 27) of those in which a node takes a candidate; cost (3, 27)."""
    steps = CANDIDATES[:, None] - CANDIDATES[None]
    between = np.where(abs(steps).max(axis=2) <= 1, PENALTY * (steps**2).sum(axis=2), 10**6)
    first, second, third = cost[0][:, None, None], cost[1][None, :, None], cost[2][None, None, :]
    choices = first + between[:, :, None] + second + between[None] + third
    return np.stack([choices.min(axis=others) for others in ((1, 2), (0, 2), (0, 1))])


@pytest.mark.parametrize("axis", [0, 2, 3])
def test_a_chain_is_solved_exactly(axis: int) -> None:
    chain = torch.randint(0, 3 * LEVELS, (3, 27), generator=torch.Generator().manual_seed(0))
    cost = (chain[:, :, None, None] / LEVELS).movedim((0, 1), (axis, 1) if axis else (0, 1))
    found = pass_messages(as_integers(cost), 1, PENALTY / LEVELS).movedim((axis, 1), (0, 1))[..., 0, 0].numpy()
    expected = least_costs(chain.numpy())
    for node in range(3):  # but for a constant a node
        assert np.array_equal(found[node] - found[node].min(), expected[node] - expected[node].min())


def test_slabs_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = as_integers(3 * torch.rand(4, 27, 3, 5, generator=torch.Generator().manual_seed(0)))
    whole = pass_messages(cost, 1, 0.2)
    monkeypatch.setattr(messages, "SLAB", 1)
    assert torch.equal(pass_messages(cost, 1, 0.2), whole)


def test_a_node_without_evidence_moves_like_those_around_it() -> None:
    # Without messages all its candidates cost nothing, and the smallest displacement would be taken.
    cost = torch.ones(5, 27, 5, 5)
    cost[:, 26] = 0.0
    cost[1:4, :, 1:4, 1:4] = 0.0
    total = pass_messages(as_integers(cost), 1, 0.2)
    assert (total.argmin(dim=1) == 26).all()


def test_costs_that_are_too_large_for_integers_stay_the_largest() -> None:
    cost = torch.full((6, 343, 6, 6), 1e6)
    cost[:, 0] = 0.0
    cost[3, 0, 3, 3] = 1e6
    total = pass_messages(as_integers(cost), 3, 1.0)
    assert int(total.min()) >= 0
    assert (total.argmin(dim=1) == 0).all()
