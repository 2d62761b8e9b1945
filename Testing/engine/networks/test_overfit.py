"""Each of the five methods can learn: it overfits one real pair of hippocampi, from the identity, on the CPU.

On voxels of 2 mm, where a step costs an eighth of one on the pair's own. The pair has Dice below 0.75 as it lies, and
a network that does not learn stays there. How far a few steps take one that does depends on how a processor rounds
(LapIRN after 70 steps of 1 mm: 0.939 on one, above 0.95 on another), so less than that is asked for.
"""

from __future__ import annotations

import pytest
import torch
from DeepLargeDeformRegLib.engine.fields import warp_voxels
from DeepLargeDeformRegLib.engine.losses import dice
from DeepLargeDeformRegLib.engine.networks import build
from torch import Tensor
from torch.nn.functional import avg_pool3d

ASKED = 0.88


def hard_dice(fixed: Tensor, warped: Tensor) -> float:
    """Mean Dice of the two labels after a vote among background, anterior and posterior."""
    votes = [torch.cat((1 - onehot.sum(1, keepdim=True), onehot), dim=1).argmax(1) for onehot in (fixed, warped)]
    scores = []
    for label in (1, 2):
        a, b = (vote == label for vote in votes)
        scores.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    return float(sum(scores) / 2)


@pytest.mark.parametrize(
    ("name", "steps", "rate"),
    [
        pytest.param("semantic", 120, 5e-3, id="semantic"),
        pytest.param("mlvirnet-2019", 60, 3e-3, id="virnet of 2019"),
        pytest.param("virnet", 40, 3e-3, id="virnet of 2021"),
        pytest.param("lapirn", 70, 1.5e-3, id="lapirn"),
        pytest.param("ldgnet", 150, 3e-3, id="ldgnet"),
    ],
)
def test_overfits_one_pair(hippocampus_pair, name, steps, rate):
    halved = [[avg_pool3d(values, 2) for values in scan] for scan in hippocampus_pair]
    (fixed, fixed_labels), (moving, moving_labels) = halved
    assert hard_dice(fixed_labels, moving_labels) < 0.75
    torch.manual_seed(0)
    network = build(name)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    reached = 0.0
    for step in range(steps):
        warped = warp_voxels(moving_labels, network(fixed, moving), padding="zeros")
        if step % 5 == 4:
            reached = max(reached, hard_dice(fixed_labels, warped.detach()))
            if reached > ASKED:
                break
        optimizer.zero_grad()
        dice(fixed_labels, warped).backward()
        optimizer.step()
        schedule.step()
    assert reached > ASKED, f"{name} reached {reached:.3f} after {step + 1} steps"
