"""Validation on the training grid: quick, comparable within a run, and no substitute for
``training.evaluation cohort``."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.networks import RegistrationNetwork
from torch import Tensor

from ..pairs.samples import Sample


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """Dice of each structure, ``(K,)``, of shares ``(K, D, H, W)`` of at least one half; NaN where it is absent."""
    a, b = first >= 0.5, second >= 0.5
    size = a.flatten(1).sum(1) + b.flatten(1).sum(1)
    return 2 * (a & b).flatten(1).sum(1) / torch.where(size > 0, size, torch.nan)


@torch.inference_mode()
def validate(network: RegistrationNetwork, samples: Sequence[Sample], grid: ImageGrid) -> dict[str, float]:
    """Means over pairs: ``dice`` and ``dice_before``, ``tre_mm`` and ``tre_before_mm`` where there are points,
    ``fold_percent`` and ``sdlogj`` over the training grid.
    """
    device = next(network.parameters()).device
    rows: dict[str, list[float]] = {}

    def note(name: str, value: Tensor) -> None:
        if bool(value.isfinite()):
            rows.setdefault(name, []).append(float(value))

    was_training = network.training
    network.eval()
    for sample in samples:
        images = (scan.image[None].to(device) for scan in (sample.fixed, sample.moving))
        displacement = network(*images).float()
        field = fields.from_voxels(displacement, grid)
        determinant = fields.jacobian_determinant(field)
        note("fold_percent", 100 * (~(determinant > 0)).float().mean())
        note("sdlogj", determinant[determinant > 0].log().std())
        if sample.fixed.labels is not None and sample.moving.labels is not None:
            fixed, moving = sample.fixed.labels.to(device), sample.moving.labels.to(device)
            note("dice_before", overlap(fixed, moving).nanmean())
            note("dice", overlap(fixed, fields.warp_voxels(moving[None], displacement)[0]).nanmean())
        if sample.fixed_points is not None and sample.moving_points is not None:
            fixed_points, moving_points = sample.fixed_points.to(device), sample.moving_points.to(device)
            note("tre_before_mm", (fixed_points - moving_points).norm(dim=1).mean())
            note("tre_mm", (fields.transform_points(field, fixed_points) - moving_points).norm(dim=1).mean())
    network.train(was_training)
    return {name: fmean(values) for name, values in rows.items()}
