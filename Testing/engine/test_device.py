"""Tensors go to a GPU through page-locked memory, and the processor does not wait for it."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import Volume
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.device import to_device

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


class Recorded:
    """Stands for a tensor and records what is asked of it, as no GPU is here."""

    def __init__(self, device: torch.device = CPU, error: str = "") -> None:
        self.device, self.error = device, error
        self.calls: list[Any] = []

    def pin_memory(self) -> Recorded:
        if self.error:
            raise RuntimeError(self.error)
        self.calls.append("pinned")
        return self

    def to(self, device: torch.device, non_blocking: bool = False) -> Recorded:
        self.calls.append((device, non_blocking))
        return self


def calls_of(values: Recorded, device: torch.device) -> list[Any]:
    return cast(Recorded, to_device(cast(torch.Tensor, values), device)).calls


def test_a_tensor_goes_to_a_gpu_through_page_locked_memory() -> None:
    assert calls_of(Recorded(), GPU) == ["pinned", (GPU, True)]


def test_the_way_back_waits_until_the_numbers_are_there() -> None:
    assert calls_of(Recorded(GPU), CPU) == [(CPU, False)]


def test_what_is_on_the_gpu_is_not_pinned() -> None:
    assert calls_of(Recorded(GPU), GPU) == [(GPU, False)]
    assert calls_of(Recorded(torch.device("cuda", 1)), GPU) == [(GPU, True)]


def test_without_page_locked_memory_the_copy_is_an_ordinary_one() -> None:
    assert calls_of(Recorded(error="CUDA error: out of memory"), GPU) == [(GPU, False)]
    with pytest.raises(RuntimeError, match="driver"):
        calls_of(Recorded(error="CUDA driver version is insufficient"), GPU)


def test_a_processor_gets_no_copy() -> None:
    values = torch.rand(3)
    assert to_device(values, CPU) is values
    grid = ImageGrid.axis_aligned((3, 4, 5), (1.0,) * 3)
    volume = Volume(np.zeros(grid.shape, np.float32), grid)
    assert fields.as_tensor(volume, "cpu").data_ptr() == fields.as_tensor(volume).data_ptr()
