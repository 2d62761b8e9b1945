"""Choice of the computing device and what memory it has free."""

from __future__ import annotations

import gc

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..core.errors import BadInputError, is_out_of_memory
from ..core.files.memory import available_bytes
from ..core.sentences import counted
from ..core.sentences import marked as _
from . import heap
from .cuda_graphs import kept_constants


def choose_device(name: str) -> torch.device:
    """Device of a setting: ``"auto"`` (first GPU, else CPU), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.

    Raises:
        BadInputError: if the name is unknown or the machine has no such GPU.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    if name == "cuda" or name.removeprefix("cuda:").isdigit():
        number = int(name.removeprefix("cuda").lstrip(":") or 0)
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if number < count:
            return torch.device("cuda", number)
        raise BadInputError(
            _("This machine has {count} usable GPUs, so '{name}' is not there; choose 'auto' or 'cpu'.").format(
                count=count, name=name
            )
        )
    raise BadInputError(
        _("The device '{name}' is unknown; choose 'auto', 'cpu', 'cuda' or 'cuda:N'.").format(name=name)
    )


def constant(values: npt.ArrayLike, like: Tensor) -> Tensor:
    """Numbers as a tensor on the device and of the number type of another one.

    ``like.new_tensor(values)`` and ``.to(device)`` make the processor wait until a GPU has done all that it was given
    before; this does not, so that the GPU never runs out of work. While a CUDA graph is recorded, equal numbers are
    one tensor, so it must not be changed.
    """
    numbers = np.asarray(values, dtype=np.float64)
    kept = kept_constants()
    if kept is None:
        return _made(numbers, like)
    key = (numbers.tobytes(), numbers.shape, like.dtype, like.device)
    if key not in kept:
        kept[key] = _made(numbers, like)
    return kept[key]


def _made(numbers: npt.NDArray[np.float64], like: Tensor) -> Tensor:
    return torch.tensor(numbers, dtype=like.dtype).to(like.device, non_blocking=True)


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device, without waiting until a GPU has done all that it was given before.

    From the processor through page-locked memory, as the system copies other memory once more, and the processor
    waits for that. Page-locked memory is scarce: where there is none left, the copy is an ordinary one. Towards the
    processor the copy is complete on return, and a tensor that is there already is returned as it is.
    """
    if device.type == "cpu" or values.device == device:
        return values.to(device)
    if device.type == "cuda" and values.device.type == "cpu":
        try:
            values = values.pin_memory()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return values.to(device)
    return values.to(device, non_blocking=True)


def computes_in_bfloat16(device_type: str) -> bool:
    """True if the hardware multiplies bfloat16 by itself: elsewhere it is emulated, and slower than float32."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device_type == "cpu" and bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())


def describe_device(device: torch.device) -> str:
    """Name for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return counted(torch.get_num_threads(), _("CPU (1 thread)"), _("CPU ({number} threads)"))


def free_bytes(device: torch.device) -> int:
    """Memory that is free on the device now."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    heap.give_back()
    return available_bytes()


def give_memory_back() -> None:
    """Give the system what tensors that nothing refers to, and caches of freed memory, still hold."""
    gc.collect()
    heap.give_back()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        if hasattr(torch.accelerator, "empty_host_cache"):  # torch 2.10: page-locked memory is kept otherwise
            torch.accelerator.empty_host_cache()
