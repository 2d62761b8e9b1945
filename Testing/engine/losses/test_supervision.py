"""Losses with annotations, in known cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine import losses
from DeepLargeDeformRegLib.engine.fields import DisplacementField, from_affine
from torch import Tensor

from .conftest import smooth_field


@pytest.fixture
def onehot(generator: torch.Generator) -> Tensor:
    labels = torch.randint(0, 3, (2, 4, 5, 6), generator=generator)
    return F.one_hot(labels, 3).movedim(-1, 1).double()


def test_mask_ssd_is_half_the_squared_difference_summed_over_labels(onehot: Tensor) -> None:
    assert losses.mask_ssd(onehot, onehot).item() == 0
    # A voxel of another label differs in two channels: half of two.
    assert losses.mask_ssd(onehot, onehot.roll(1, dims=1)).item() == pytest.approx(1.0)
    assert losses.mask_ssd(onehot, torch.zeros_like(onehot)).item() == pytest.approx(0.5)


def test_dice_of_identical_and_disjoint_masks(onehot: Tensor) -> None:
    assert losses.dice(onehot, onehot).item() == pytest.approx(0)
    assert losses.dice(onehot, onehot.roll(1, dims=1)).item() == pytest.approx(1)


def test_dice_by_counting() -> None:
    fixed, warped = torch.zeros(1, 1, 2, 2, 4), torch.zeros(1, 1, 2, 2, 4)
    fixed[..., :2] = 1  # 8 voxels
    warped[..., 1:4] = 1  # 12 voxels, 4 of them shared
    assert losses.dice(fixed, warped).item() == pytest.approx(1 - 2 * 4 / 20)


def test_dice_leaves_out_labels_that_are_nowhere(onehot: Tensor) -> None:
    warped = onehot.roll(1, dims=4)
    absent = torch.zeros_like(onehot[:, :2])
    with_absent = losses.dice(torch.cat((onehot, absent), dim=1), torch.cat((warped, absent), dim=1))
    assert with_absent.item() == pytest.approx(losses.dice(onehot, warped).item())
    gone = absent.clone().requires_grad_()
    loss = losses.dice(absent, gone)
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(gone.grad).all()


def test_keypoint_is_the_mean_squared_distance_in_mm(grid: ImageGrid) -> None:
    matrix = np.eye(4)
    matrix[:3, 3] = (3.0, -4.0, 12.0)
    field = from_affine(matrix, grid)
    fixed = torch.as_tensor(np.asarray(grid.center) + np.array([[0, 0, 0], [1.0, 0.5, -1]]))
    assert losses.keypoint(field, fixed, fixed).item() == pytest.approx(169, rel=1e-5)
    shift = torch.tensor([3.0, -4.0, 12.0])
    assert losses.keypoint(field, fixed, fixed + shift).item() == pytest.approx(0, abs=1e-8)
    moving = fixed + shift + torch.tensor([[2.0, 0, 0], [0, 0, 0]])
    assert losses.keypoint(field, fixed, moving).item() == pytest.approx(2.0, rel=1e-5)


def test_keypoint_of_a_batch_is_the_mean_over_it(grid: ImageGrid) -> None:
    field = smooth_field(grid)
    both = DisplacementField(torch.cat((field.displacement, 2 * field.displacement)), grid)
    fixed = torch.as_tensor(grid.corners)
    moving = fixed + 1
    single = [losses.keypoint(DisplacementField(both.displacement[i : i + 1], grid), fixed, moving) for i in range(2)]
    batched = losses.keypoint(both, torch.stack((fixed, fixed)), torch.stack((moving, moving)))
    assert batched.item() == pytest.approx(sum(value.item() for value in single) / 2)
    with pytest.raises(ValueError, match="batch of 2"):
        losses.keypoint(both, fixed, moving)


def test_keypoint_without_points_is_zero(grid: ImageGrid) -> None:
    field = DisplacementField(torch.zeros(1, 3, *grid.shape, requires_grad=True), grid)
    loss = losses.keypoint(field, torch.zeros(0, 3), torch.zeros(0, 3))
    loss.backward()
    assert loss.item() == 0


def test_class_weights_are_the_root_of_the_inverse_frequency() -> None:
    labels = torch.tensor([0] * 12 + [1] * 3 + [3])
    weights = losses.class_weights(labels, 4)
    assert weights.tolist() == pytest.approx([(16 / 12) ** 0.5, (16 / 3) ** 0.5, 0, 4])


def test_weighted_cross_entropy_weighs_rare_classes(generator: torch.Generator) -> None:
    logits = torch.randn(1, 2, 2, 2, 2, generator=generator, dtype=torch.float64)
    labels = torch.zeros(1, 2, 2, 2, dtype=torch.int64)
    labels[0, 0, 0, :] = 1  # 2 of 8 voxels: weights sqrt(8/6) and 2
    voxelwise = F.cross_entropy(logits, labels, reduction="none")
    weight = torch.where(labels == 1, 2.0, (8 / 6) ** 0.5)
    expected = (weight * voxelwise).sum() / weight.sum()
    assert losses.weighted_cross_entropy(logits, labels).item() == pytest.approx(expected.item(), rel=1e-6)
    module = losses.build("weighted_cross_entropy", frequencies=[0.75, 0.25])
    assert module(logits, labels).item() == pytest.approx(expected.item(), rel=1e-6)
    certain = 50 * F.one_hot(labels, 2).movedim(-1, 1).double()
    assert losses.weighted_cross_entropy(certain, labels).item() == pytest.approx(0, abs=1e-9)
