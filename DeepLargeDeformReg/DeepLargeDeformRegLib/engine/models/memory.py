"""The memory that a network will need, known before it is taken."""

from __future__ import annotations

import copy
import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..networks import RegistrationNetwork

_WORKSPACE = 1.25  # convolution algorithms take scratch memory of their own


class _LiveBytes(TorchDispatchMode):
    """Adds up the storages that are alive while tensors come and go, and keeps the highest sum."""

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.add(leaf)
        return result

    def add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self._known:
            return
        self._known.add(key)
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


def peak_bytes(network: RegistrationNetwork, channels: int, shape: tuple[int, ...]) -> int:
    """Bytes of weights, inputs and activations at the peak of one float32 pass, workspace included.

    The pass runs on the meta device: shapes without numbers, in some milliseconds.
    """
    twin = copy.deepcopy(network).to("meta")
    counter = _LiveBytes()
    with torch.inference_mode(), counter:
        pair = [torch.empty((1, channels, *shape), device="meta") for _ in range(2)]
        twin(*pair)
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    return int(_WORKSPACE * counter.peak) + weights
