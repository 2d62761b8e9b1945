"""What holds for every loss: registry, gradients, half precision, inference mode."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine import losses
from DeepLargeDeformRegLib.engine.fields import DisplacementField
from torch import Tensor

from .conftest import OBLIQUE, noise

GRID = ImageGrid((4, 5, 3), (1.5, 0.75, 2.0), (1.0, 2.0, 3.0), tuple(OBLIQUE.ravel()))
GENERATOR = torch.Generator().manual_seed(3)
IMAGE = noise(GENERATOR, 1, 1, *GRID.shape)
OTHER = noise(GENERATOR, 1, 1, *GRID.shape)
MASK = torch.rand(1, 1, *GRID.shape, generator=GENERATOR) > 0.3
VECTORS = 0.4 * noise(GENERATOR, 1, 3, *GRID.shape)
ONEHOT = F.one_hot(torch.randint(0, 3, (1, *GRID.shape), generator=GENERATOR), 3).movedim(-1, 1).double()
PROBABILITIES = torch.softmax(noise(GENERATOR, 1, 3, *GRID.shape), dim=1)
POINTS = torch.as_tensor(GRID.to_physical([[1.3, 2.2, 0.7], [2.1, 0.4, 1.6]]))


def similarity(name: str, **arguments: object) -> Callable[[Tensor], Tensor]:
    module = losses.build(name, **arguments)
    return lambda warped: module(IMAGE.to(warped), warped, GRID, MASK)


def regularity(name: str) -> Callable[[Tensor], Tensor]:
    module = losses.build(name)
    return lambda u: module(DisplacementField(u, GRID), MASK)


CASES: dict[str, tuple[Callable[[Tensor], Tensor], Tensor]] = {
    "ngf": (similarity("ngf", epsilon=0.7), OTHER),
    "local_ncc": (similarity("local_ncc", window=3), OTHER),
    "mutual_information": (
        similarity("mutual_information", bins=6, fixed_range=(-3, 3), warped_range=(-3, 3)),
        OTHER,
    ),
    "similarity_pyramid": (similarity("similarity_pyramid", levels=2, window=3), OTHER),
    "mind_ssc": (similarity("mind_ssc", radius=1, dilation=1), OTHER),
    "curvature": (regularity("curvature"), VECTORS),
    "diffusion": (regularity("diffusion"), VECTORS),
    "volume_change": (regularity("volume_change"), VECTORS),
    "mask_ssd": (lambda warped: losses.build("mask_ssd")(ONEHOT.to(warped), warped), PROBABILITIES),
    "dice": (lambda warped: losses.build("dice")(ONEHOT.to(warped), warped), PROBABILITIES),
    "keypoint": (
        lambda u: losses.build("keypoint")(DisplacementField(u, GRID), POINTS, POINTS + 1),
        VECTORS,
    ),
    "weighted_cross_entropy": (
        lambda logits: losses.build("weighted_cross_entropy")(logits, ONEHOT.argmax(dim=1)),
        VECTORS,
    ),
}


def test_every_loss_of_the_registry_is_tested_here() -> None:
    assert set(CASES) == set(losses.LOSSES)


@pytest.mark.parametrize("name", CASES)
def test_gradient_is_that_of_finite_differences(name: str) -> None:
    loss, variable = CASES[name]
    assert torch.autograd.gradcheck(loss, (variable.clone().requires_grad_(),), atol=1e-5, rtol=2e-3)


@pytest.mark.parametrize("name", ["ngf", "local_ncc", "mind_ssc"])
def test_gradient_of_the_fixed_image(name: str) -> None:
    module = losses.build(name)
    if name == "ngf":
        module.epsilon = 0.7
    assert torch.autograd.gradcheck(
        lambda fixed: module(fixed, OTHER, GRID, MASK), (IMAGE.clone().requires_grad_(),), atol=1e-5, rtol=2e-3
    )


@pytest.mark.parametrize("name", CASES)
def test_loss_is_a_finite_scalar_in_single_precision(name: str) -> None:
    loss, variable = CASES[name]
    value = loss(variable.float())
    assert value.shape == ()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(variable).item(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_autocast_does_not_change_the_value(name: str) -> None:
    loss, variable = CASES[name]
    expected = loss(variable.float()).item()
    with torch.autocast("cpu", torch.bfloat16):
        assert loss(variable.float()).item() == pytest.approx(expected, rel=1e-6, abs=1e-7)
        raised = loss(variable.to(torch.bfloat16))
    assert raised.dtype == torch.float32
    assert raised.item() == pytest.approx(expected, rel=0.05, abs=0.02)


@pytest.mark.parametrize("name", CASES)
def test_value_is_the_same_in_inference_mode(name: str) -> None:
    loss, variable = CASES[name]
    expected = loss(variable.clone().requires_grad_()).item()
    with torch.inference_mode():
        assert loss(variable.clone()).item() == pytest.approx(expected)


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="curvature"):
        losses.build("curvatur")


def test_every_module_says_its_family() -> None:
    families = {"similarity", "regularity", "segmentation", "keypoint", "classification"}
    assert {kind.family for kind in losses.LOSSES.values()} == families


def test_inputs_are_not_modified() -> None:
    for loss, variable in CASES.values():
        before = variable.clone()
        loss(variable)
        assert torch.equal(variable, before)
