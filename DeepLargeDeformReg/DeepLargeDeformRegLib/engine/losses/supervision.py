"""Losses that need annotations: masks, label maps or keypoints; lower is better.

One-hot label maps are ``(N, K, D, H, W)`` with values in [0, 1]; warp them with linear interpolation. Whether the
background is one of the K channels is the caller's choice.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..fields import DisplacementField, transform_points
from .stencils import full_precision, require_same_shape


@full_precision
def mask_ssd(fixed_onehot: Tensor, warped_onehot: Tensor) -> Tensor:
    """Half the squared difference, summed over labels, averaged over voxels (Hering et al. 2021, equation 7)."""
    require_same_shape(fixed_onehot, warped_onehot)
    return 0.5 * fixed_onehot.shape[1] * F.mse_loss(warped_onehot, fixed_onehot)


@full_precision
def dice(fixed_onehot: Tensor, warped_onehot: Tensor) -> Tensor:
    """Soft Dice loss: ``1 - 2 |F M| / (|F| + |M|)``, averaged over a pair's labels, then over the batch
    (LapIRN 2020, equation 3).

    The paper prints the overlap itself; the loss is one minus it. A label that neither image holds (organs cut off
    by a crop) does not count; if none is present the pair's loss is 0. Identical binary masks give 0, disjoint
    ones 1.
    """
    require_same_shape(fixed_onehot, warped_onehot)
    axes = (2, 3, 4)
    overlap = (fixed_onehot * warped_onehot).sum(dim=axes)
    size = fixed_onehot.sum(dim=axes) + warped_onehot.sum(dim=axes)
    present = size > 0
    loss = 1 - 2 * overlap / torch.where(present, size, 1)
    return (torch.where(present, loss, 0).sum(dim=1) / present.sum(dim=1).clamp_min(1)).mean()


@full_precision
def keypoint(field: DisplacementField, fixed_points: Tensor, moving_points: Tensor) -> Tensor:
    """Mean squared distance of ``y(k_F)`` to ``k_M``, mm^2 (Hering et al. 2021, section 3.2.5).

    Args:
        field: displacements in mm, a batch of N.
        fixed_points: LPS mm, ``(n, 3)`` for a batch of one or ``(N, n, 3)``.
        moving_points: their partners, of the same shape.

    Returns:
        Scalar; 0 without points.
    """
    fixed_points, moving_points = _batched(fixed_points), _batched(moving_points)
    batch = field.displacement.shape[0]
    if fixed_points.shape != moving_points.shape or fixed_points.shape[0] != batch:
        raise ValueError(
            f"points of shapes {tuple(fixed_points.shape)} and {tuple(moving_points.shape)} "
            f"are not pairs (N, n, 3) for a batch of {batch}"
        )
    if fixed_points.shape[1] == 0:
        return field.displacement.sum() * 0
    total = field.displacement.new_zeros(())
    for index in range(batch):
        single = DisplacementField(field.displacement[index : index + 1], field.grid)
        distance = transform_points(single, fixed_points[index]) - moving_points[index].to(fixed_points)
        total = total + distance.square().sum(dim=1).mean().to(total)
    return total / batch


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """Weight of each class, ``sqrt(1 / frequency)`` among the voxels of ``labels``; 0 for an absent class.

    Args:
        labels: integers 0 ... classes - 1, any shape.
        classes: number of classes.
    """
    # Not bincount, for which the processor waits, and which is not deterministic on a GPU.
    of_class = [(labels == value).sum() for value in range(classes)]
    counts = torch.stack(of_class).to(torch.float32)
    weights = (labels.numel() / counts.clamp_min(1)).sqrt()
    return torch.where(counts > 0, weights, 0)


@full_precision
def weighted_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy weighted by ``sqrt(1 / class frequency)`` (semantically guided registration, 2021).

    Args:
        logits: ``(N, K, D, H, W)``, before the softmax.
        labels: integers ``(N, D, H, W)``.
        weights: ``(K,)``, e.g. :func:`class_weights` of the whole training set; of each image's labels by default.

    Returns:
        Weighted mean over the voxels of each image, divided by the sum of the weights; its mean over the batch.
    """
    of_images = []
    for image, classes in zip(logits.split(1), labels.split(1), strict=True):
        own = class_weights(classes, logits.shape[1]) if weights is None else weights
        of_images.append(F.cross_entropy(image, classes.long(), own.to(image)))
    return torch.stack(of_images).mean()


def _batched(points: Tensor) -> Tensor:
    return points[None] if points.dim() == 2 else points


class SegmentationLoss(nn.Module):
    """Base of the modules called as ``loss(fixed_onehot, warped_onehot)``."""

    family: ClassVar[str] = "segmentation"

    def forward(self, fixed_onehot: Tensor, warped_onehot: Tensor) -> Tensor:
        """Scalar loss of one-hot maps ``(N, K, D, H, W)``."""
        raise NotImplementedError


class MaskSSD(SegmentationLoss):
    """Module of :func:`mask_ssd`."""

    def forward(self, fixed_onehot: Tensor, warped_onehot: Tensor) -> Tensor:
        return mask_ssd(fixed_onehot, warped_onehot)


class Dice(SegmentationLoss):
    """Module of :func:`dice`."""

    def forward(self, fixed_onehot: Tensor, warped_onehot: Tensor) -> Tensor:
        return dice(fixed_onehot, warped_onehot)


class Keypoint(nn.Module):
    """Module of :func:`keypoint`, called as ``loss(field, fixed_points, moving_points)``."""

    family: ClassVar[str] = "keypoint"

    def forward(self, field: DisplacementField, fixed_points: Tensor, moving_points: Tensor) -> Tensor:
        return keypoint(field, fixed_points, moving_points)


class WeightedCrossEntropy(nn.Module):
    """Module of :func:`weighted_cross_entropy`, called as ``loss(logits, labels)``.

    Args:
        frequencies: share of each class in the training set; by default each batch weighs itself.
    """

    family: ClassVar[str] = "classification"
    weights: Tensor | None

    def __init__(self, frequencies: list[float] | None = None) -> None:
        super().__init__()
        weights = None
        if frequencies is not None:
            shares = torch.tensor(frequencies, dtype=torch.float32)
            weights = torch.where(shares > 0, shares.clamp_min(torch.finfo(torch.float32).tiny).rsqrt(), 0)
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return weighted_cross_entropy(logits, labels, self.weights)
