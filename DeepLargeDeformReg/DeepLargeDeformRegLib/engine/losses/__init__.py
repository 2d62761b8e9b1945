"""Losses, one file a family: pure functions, thin modules, and a registry by name for training configurations.

How a module is called depends on its ``family``:

========================  =====================================================
``similarity``            ``loss(fixed, warped, grid, mask=None)``
``regularity``            ``loss(field, mask=None)``
``segmentation``          ``loss(fixed_onehot, warped_onehot)``
``keypoint``              ``loss(field, fixed_points, moving_points)``
``classification``        ``loss(logits, labels)``
========================  =====================================================
"""

from __future__ import annotations

from typing import Any

from torch import nn

from .mind import MINDSSC, feature_ssd, mind_ssc, mind_ssc_loss
from .regularity import (
    Curvature,
    Diffusion,
    VolumeChange,
    curvature,
    diffusion,
    threshold_at_level,
    volume_change,
    volume_change_at_corners,
    volume_change_penalty,
)
from .similarity import (
    NGF,
    LocalNCC,
    MutualInformation,
    SimilarityPyramid,
    local_ncc,
    mutual_information,
    ngf,
    ngf_epsilon,
    similarity_pyramid,
)
from .supervision import (
    Dice,
    Keypoint,
    MaskSSD,
    WeightedCrossEntropy,
    class_weights,
    dice,
    keypoint,
    mask_ssd,
    weighted_cross_entropy,
)

LOSSES: dict[str, type[nn.Module]] = {
    "ngf": NGF,
    "local_ncc": LocalNCC,
    "mutual_information": MutualInformation,
    "similarity_pyramid": SimilarityPyramid,
    "mind_ssc": MINDSSC,
    "curvature": Curvature,
    "diffusion": Diffusion,
    "volume_change": VolumeChange,
    "mask_ssd": MaskSSD,
    "dice": Dice,
    "keypoint": Keypoint,
    "weighted_cross_entropy": WeightedCrossEntropy,
}
"""The loss modules by the names that training configurations use."""

__all__ = [
    "LOSSES",
    "build",
    "class_weights",
    "curvature",
    "dice",
    "diffusion",
    "feature_ssd",
    "keypoint",
    "local_ncc",
    "mask_ssd",
    "mind_ssc",
    "mind_ssc_loss",
    "mutual_information",
    "ngf",
    "ngf_epsilon",
    "similarity_pyramid",
    "threshold_at_level",
    "volume_change",
    "volume_change_at_corners",
    "volume_change_penalty",
    "weighted_cross_entropy",
]


def build(name: str, **arguments: Any) -> nn.Module:
    """Loss module of a name in :data:`LOSSES`, with its constructor's arguments.

    Raises:
        ValueError: if there is no such loss.
        TypeError: if it does not take one of the arguments.
    """
    if name not in LOSSES:
        raise ValueError(f"there is no loss {name!r}; there are {', '.join(LOSSES)}")
    return LOSSES[name](**arguments)
