"""Weights as they are stored: in 32 or 16 bits a number, or in 8 with a scale for each filter."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

STORED_BITS = (8, 16, 32)
_SCALE = ":scale"  # after the name of a tensor of 8-bit numbers; no name of a module has a colon
_LARGEST = 127


def packed(state: Mapping[str, Tensor], bits: int) -> dict[str, Tensor]:
    """The tensors of a network as they are written to a file.

    Kernels (tensors of two dimensions or more, nearly all of the size) take ``bits`` a number; biases, scales and
    statistics stay as they are. In 8 bits, each filter's numbers are rounded to a 127th of its largest one.

    Args:
        state: of a network.
        bits: one of :data:`STORED_BITS`.

    Raises:
        ValueError: for another number of bits.
    """
    if bits not in STORED_BITS:
        raise ValueError(f"weights are stored in {', '.join(map(str, STORED_BITS))} bits, not {bits}")
    stored: dict[str, Tensor] = {}
    for key, value in state.items():
        value = value.detach().cpu().contiguous()
        kernel = value.is_floating_point() and value.dim() >= 2
        if kernel and bits == 8:
            scale = value.flatten(1).abs().amax(dim=1).float() / _LARGEST
            stored[key + _SCALE] = scale
            divisor = torch.where(scale > 0, scale, 1.0).reshape(-1, *[1] * (value.dim() - 1))
            stored[key] = (value / divisor).round().to(torch.int8)
        else:
            stored[key] = value.half() if kernel and bits == 16 else value
    return stored


def unpacked(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a network from those of a file that :func:`packed` made; what was in 8 bits is float32."""
    state: dict[str, Tensor] = {}
    for key, value in stored.items():
        if key.endswith(_SCALE) and key.removesuffix(_SCALE) in stored:
            continue
        scale = stored.get(key + _SCALE)
        state[key] = value if scale is None else value.float() * scale.reshape(-1, *[1] * (value.dim() - 1))
    return state
