"""What the organ network is trained to minimize, where some classes of a sample are not labelled."""

from __future__ import annotations

import torch
from torch import Tensor

_HEAVIEST = 5.0  # weight of a rare class against that of a class that fills the scan


def segmentation_loss(logits: Tensor, shares: Tensor, known: Tensor) -> Tensor:
    """Cross-entropy weighted by the square root of the inverse class frequency, plus one minus the mean soft Dice.

    The weights are those of Schumacher et al. 2021, up to a largest one. Classes that a sample does not know are
    added to class 0, in what is predicted and in what is wanted: whether there is, say, a kidney among the voxels
    without a label counts neither way (marginal loss, Shi et al., Medical Image Analysis 70, 2021).

    Args:
        logits: ``(N, K, D, H, W)``, class 0 is "none of them".
        shares: of each class in each voxel, ``(N, K, D, H, W)``.
        known: ``(N, K)`` bool; class 0 is known.

    Returns:
        A scalar.
    """
    total = logits.new_zeros(())
    for one, wanted, is_known in zip(logits.float().softmax(dim=1), shares, known, strict=True):
        total = total + _of_one(_merged(one, is_known), _merged(wanted, is_known))
    return total / len(logits)


def _merged(values: Tensor, known: Tensor) -> Tensor:
    rest = values[~known].sum(dim=0, keepdim=True) + values[:1]
    return torch.cat((rest, values[1:][known[1:]]))


def _of_one(found: Tensor, wanted: Tensor) -> Tensor:
    found, wanted = found.flatten(1), wanted.flatten(1)
    frequency = wanted.mean(dim=1)
    weight = frequency.clamp_min(1e-6).rsqrt().clamp_max(_HEAVIEST)
    entropy = (
        -(weight[:, None] * wanted * found.clamp_min(1e-6).log()).sum() / (weight * frequency).sum() / found.shape[1]
    )
    both, either = (found * wanted).sum(dim=1)[1:], (found.sum(dim=1) + wanted.sum(dim=1))[1:]
    present = wanted.sum(dim=1)[1:] > 5
    if not bool(present.any()):
        return entropy
    return entropy + 1 - (2 * both[present] / either[present]).mean()
