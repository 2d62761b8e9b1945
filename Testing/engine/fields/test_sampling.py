"""Sampling by all threads and dilation axis by axis: the same numbers as torch's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from DeepLargeDeformRegLib.engine.fields.dilation import largest_around
from DeepLargeDeformRegLib.engine.fields.sampling import grid_sample
from torch import Tensor

SHAPE = (25, 26, 23)  # points that three threads cannot share evenly


@pytest.fixture
def threads() -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


def _expected(image: Tensor, at: Tensor, mode: str, padding: str) -> Tensor:
    return F.grid_sample(image, at, mode=mode, padding_mode=padding, align_corners=False)


@pytest.mark.parametrize(("channels", "mode", "padding"), [(1, "bilinear", "zeros"), (3, "nearest", "border")])
def test_all_threads_share_one_image(
    threads: int, channels: int, mode: str, padding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = torch.rand(1, channels, 9, 8, 7)
    at = torch.rand(1, *SHAPE, 3) * 2.4 - 1.2
    expected = _expected(image, at, mode, padding)
    batches = []

    def seen(one: Tensor, *others: Any, **options: Any) -> Tensor:
        batches.append(len(one))
        return usual(one, *others, **options)

    usual = F.grid_sample
    monkeypatch.setattr(F, "grid_sample", seen)
    assert torch.equal(grid_sample(image, at, mode, padding), expected)
    assert batches == [threads]


def test_gradients_are_those_of_one_thread(threads: int) -> None:
    image = torch.rand(1, 2, 9, 8, 7)
    at = (torch.rand(1, *SHAPE, 3) * 2.4 - 1.2).requires_grad_(True)
    weights = torch.rand(1, 2, *SHAPE)
    found, expected = (
        torch.autograd.grad((sample(image, at, "bilinear", "border") * weights).sum(), at)[0]
        for sample in (grid_sample, _expected)
    )
    assert torch.equal(found, expected)


def test_an_image_whose_gradient_is_wanted_is_sampled_as_it_is(threads: int) -> None:
    image = torch.rand(1, 1, 9, 8, 7, requires_grad=True)
    at = torch.rand(1, *SHAPE, 3) * 2.4 - 1.2
    found, expected = (
        torch.autograd.grad(sample(image, at, "bilinear", "border").sum(), image)[0]
        for sample in (grid_sample, _expected)
    )
    assert torch.equal(found, expected)


@pytest.mark.parametrize("reach", [2, (0, 1, 3)])
def test_dilation_axis_by_axis_is_that_of_the_box(reach: int | tuple[int, int, int]) -> None:
    values = torch.randn(1, 2, 11, 9, 8)
    sides = (reach,) * 3 if isinstance(reach, int) else reach
    expected = F.max_pool3d(values, [2 * side + 1 for side in sides], 1, sides)
    assert torch.equal(largest_around(values, reach), expected)
