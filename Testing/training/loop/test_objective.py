"""The objective: which images, fields and pairs each term sees."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine import losses
from DeepLargeDeformRegLib.engine.fields import DisplacementField, from_voxels, warp_voxels
from DeepLargeDeformRegLib.engine.networks import LevelField, NetworkOutput

from training.config import LossConfig
from training.loop.objective import Objective
from training.pairs.samples import Batch

GRID = ImageGrid.axis_aligned((12, 8, 8), (2.0, 1.0, 1.5))


def make_batch(count: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((2, count, 1, *GRID.shape), generator=generator)
    labels = (torch.rand((2, count, 2, *GRID.shape), generator=generator) > 0.6).float()
    points = torch.rand((2, count, 5, 3), generator=generator) * 5 + 1
    return Batch(
        fixed=images[0],
        moving=images[1],
        fixed_labels=labels[0],
        moving_labels=labels[1],
        fixed_points=points[0],
        moving_points=points[1],
    )


def make_output(count: int = 2) -> NetworkOutput:
    generator = torch.Generator().manual_seed(1)
    full = torch.randn((count, 3, *GRID.shape), generator=generator)
    coarse = torch.randn((count, 3, 4, 4, 6), generator=generator)
    return NetworkOutput(full, (LevelField(coarse, 2),))


def test_terms_see_the_level_or_the_full_resolution() -> None:
    batch, output = make_batch(), make_output()
    terms = (
        LossConfig(name="dice", at="full"),
        LossConfig(name="local_ncc", weight=2.0),
        LossConfig(name="diffusion", weight=0.5),
    )
    values = Objective(terms, 0, GRID)(output, batch)
    assert batch.fixed_labels is not None
    assert batch.moving_labels is not None
    pool = torch.nn.functional.avg_pool3d
    warped = warp_voxels(batch.moving_labels, output.displacement)
    dice = losses.dice(batch.fixed_labels, warped)
    coarse = output.levels[0].displacement
    ncc = losses.local_ncc(pool(batch.fixed, 2), warp_voxels(pool(batch.moving, 2), coarse))
    diffusion = losses.diffusion(from_voxels(coarse, GRID.coarser(2)))
    torch.testing.assert_close(values["dice"], dice)
    torch.testing.assert_close(values["local_ncc"], ncc)
    torch.testing.assert_close(values["diffusion"], diffusion)
    torch.testing.assert_close(values["total"], dice + 2 * ncc + 0.5 * diffusion)


def test_an_integral_over_a_mask_is_divided_by_the_grid() -> None:
    """The algebra of lung-ct-virnet: integrals, all divided by the grid's volume, so that a paper's weights hold."""
    batch, output = make_batch(), make_output()._replace(levels=())
    mask = torch.zeros((2, 1, *GRID.shape))
    mask[0, :, 2:5, 2:5, 2:5] = 1
    mask[1, :, 1:7, 2:5, 2:5] = 1
    batch = replace(batch, fixed_mask=mask)
    voxel, volume = 2.0 * 1.0 * 1.5, 12 * 8 * 8 * 2.0 * 1.0 * 1.5
    terms = (LossConfig(name="ngf", masked=True, divide_by="grid", arguments={"epsilon": 0.1}),)
    found = Objective(terms, 0, GRID)(output, batch)["ngf"]
    warped = warp_voxels(batch.moving, output.displacement)
    integrals = []
    for index in range(2):
        one, other, inside = (values[index : index + 1] for values in (batch.fixed, warped, mask))
        integrals.append(losses.ngf(one, other, GRID, inside, 0.1) * inside.sum() * voxel)
    torch.testing.assert_close(found, torch.stack(integrals).mean() / volume)


def test_a_moving_image_is_warped_at_full_resolution_and_then_downsampled() -> None:
    batch, output = make_batch(), make_output()
    terms = (LossConfig(name="mutual_information", at="downsampled"), LossConfig(name="diffusion", at="downsampled"))
    values = Objective(terms, 0, GRID)(output, batch)
    pool = torch.nn.functional.avg_pool3d
    warped = pool(warp_voxels(batch.moving, output.displacement), 2)
    expected = losses.mutual_information(pool(batch.fixed, 2), warped)
    torch.testing.assert_close(values["mutual_information"], expected)
    torch.testing.assert_close(
        values["diffusion"], losses.diffusion(from_voxels(output.levels[0].displacement, GRID.coarser(2)))
    )


def test_weights_and_arguments_by_level() -> None:
    term = LossConfig(name="volume_change", weight=(0.0, 3.0), per_level={"level": [0, 1]})
    assert not Objective((term,), 0, GRID).terms
    objective = Objective((term,), 1, GRID)
    assert objective.weights == [3.0]
    assert objective.functions[0].threshold == 0.1


def test_a_mask_restricts_the_mean_and_labels_stand_in_for_it() -> None:
    batch, output = make_batch(), make_output()._replace(levels=())
    term = (LossConfig(name="ngf", masked=True, arguments={"epsilon": 0.1}),)
    mask = torch.zeros((2, 1, *GRID.shape))
    mask[:, :, 2:5, 2:5, 2:5] = 1
    warped = warp_voxels(batch.moving, output.displacement)
    with_mask = Objective(term, 0, GRID)(output, replace(batch, fixed_mask=mask))["ngf"]
    torch.testing.assert_close(with_mask, losses.ngf(batch.fixed, warped, GRID, mask, 0.1))
    assert batch.fixed_labels is not None
    union = batch.fixed_labels.amax(dim=1, keepdim=True)
    with_labels = Objective(term, 0, GRID)(output, batch)["ngf"]
    torch.testing.assert_close(with_labels, losses.ngf(batch.fixed, warped, GRID, union, 0.1))
    with pytest.raises(BadInputError, match="needs a mask or labels"):
        Objective(term, 0, GRID)(output, Batch(fixed=batch.fixed, moving=batch.moving))


@pytest.mark.parametrize("chosen", [(True, True), (True, False), (False, False)])
def test_terms_of_one_patient_leave_other_pairs_out(chosen: tuple[bool, ...]) -> None:
    batch, output = replace(make_batch(), same_patient=chosen), make_output()._replace(levels=())
    values = Objective((LossConfig(name="keypoint", pairs="same_patient"),), 0, GRID)(output, batch)
    field = from_voxels(output.displacement, GRID)
    assert batch.fixed_points is not None
    assert batch.moving_points is not None
    each = [
        losses.keypoint(DisplacementField(field.displacement[i : i + 1], GRID), fixed, moving)
        for i, (fixed, moving) in enumerate(zip(batch.fixed_points, batch.moving_points, strict=True))
    ]
    expected = sum((value for value, same in zip(each, chosen, strict=True) if same), torch.zeros(())) / 2
    torch.testing.assert_close(values["keypoint"], expected)


def test_class_maps_are_compared_at_their_own_resolution() -> None:
    batch = make_batch()
    assert batch.fixed_labels is not None
    background = (1 - batch.fixed_labels.sum(dim=1, keepdim=True)).clamp_min(0)
    exclusive = torch.cat((background, batch.fixed_labels), dim=1).argmax(dim=1)
    labels = torch.stack([exclusive == 1, exclusive == 2], dim=1).float()
    batch = replace(batch, fixed_labels=labels, moving_labels=labels)
    logits = torch.randn((2, 3, 4, 4, 6))
    output = make_output()._replace(fixed_logits=logits, moving_logits=logits)
    value = Objective((LossConfig(name="weighted_cross_entropy"),), 0, GRID)(output, batch)["weighted_cross_entropy"]
    shares = torch.nn.functional.avg_pool3d(torch.cat((1 - labels.sum(1, keepdim=True), labels), dim=1), 2)
    torch.testing.assert_close(value, losses.weighted_cross_entropy(logits, shares.argmax(dim=1)))
    wrong = output._replace(fixed_logits=logits[:, :2], moving_logits=logits[:, :2])
    with pytest.raises(BadInputError, match="one more"):
        Objective((LossConfig(name="weighted_cross_entropy"),), 0, GRID)(wrong, batch)
