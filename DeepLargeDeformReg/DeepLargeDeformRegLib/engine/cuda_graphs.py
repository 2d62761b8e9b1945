"""CUDA graphs, behind a switch: what a function does on a GPU is recorded once and replayed for tensors of one size.

A network's pass is some thousand short kernels, and a GPU may finish each before the processor has asked for the
next. A recorded graph asks for all of them at once (PyTorch, "CUDA semantics", section "CUDA Graphs"). It was tried
on no GPU so far: the tests have a stand-in, and where recording fails everything runs as without it.

What a function needs to be recorded:

- Sizes, and which kernels run, depend on nothing but the sizes of its arguments, which are tensors on one GPU.
- It never waits for the GPU: no ``item()``, no ``nonzero``, no index by mask.
- It copies nothing from the processor: a graph would copy from the same address again, where there may be something
  else by then. Numbers come from :func:`..device.constant`, which keeps them while a function is recorded; lattices
  are made on the device (``torch.arange(..., device=...)``).
- No result of its own outlives it, as autocast's copies of weights would: ``cache_enabled=False``.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

SWITCH = "DEEPLARGEDEFORMREG_CUDA_GRAPHS"
"""Environment variable: ``1`` records CUDA graphs; each holds the memory of a pass while its model lives."""

WARM_UPS = 3  # libraries choose their ways and make their workspaces in the first calls, which may not be recorded

Constants = dict[tuple[object, ...], Tensor]

_log = logging.getLogger(__name__)
_kept = threading.local()


def is_wanted(device: torch.device) -> bool:
    """Whether graphs are switched on and the device can have them."""
    return device.type == "cuda" and os.environ.get(SWITCH, "0") == "1"


def kept_constants() -> Constants | None:
    """The constants of the function that is being recorded; None while nothing is."""
    return getattr(_kept, "constants", None)


@contextmanager
def keeping(constants: Constants) -> Iterator[None]:
    """Within the block, :func:`..device.constant` makes each constant once and keeps it here."""
    before = kept_constants()
    _kept.constants = constants
    try:
        yield
    finally:
        _kept.constants = before


class Graphed:
    """A function of tensors that is replayed where its arguments have the sizes that they had before.

    The first call of a size is an ordinary one, as most sizes come once; the second one records. Only the last size
    is kept.
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self._function = function
        self._size: tuple[object, ...] | None = None
        self._recorded: _Recorded | None = None
        self._usable = True
        _all.add(self)

    def __call__(self, *arguments: Tensor) -> Tensor:
        """What the function returns, as a tensor of its own."""
        if not self._usable:
            return self._function(*arguments)
        size = tuple((values.shape, values.stride(), values.dtype, values.device) for values in arguments)
        if size != self._size:
            self.forget()
            self._size = size
            return self._function(*arguments)
        if self._recorded is None:
            return self._record(arguments)
        return self._recorded.replay(arguments)

    def forget(self) -> None:
        """Let go of the graph and its memory."""
        self._size = self._recorded = None

    def _record(self, arguments: tuple[Tensor, ...]) -> Tensor:
        recorded = _Recorded(arguments)
        result = recorded.warm_up(self._function)
        try:
            recorded.capture(self._function)
        except RuntimeError as error:  # torch raises it for all that CUDA refuses
            _log.warning("A CUDA graph could not be recorded, the network runs without (%s)", type(error).__name__)
            self._usable = False
        else:
            self._recorded = recorded
        return result


_all: weakref.WeakSet[Graphed] = weakref.WeakSet()


def forget_graphs() -> None:
    """Let go of all graphs, as where the memory was not enough."""
    for graphed in tuple(_all):
        graphed.forget()


class _Recorded:
    """One graph with the tensors from which it reads and to which it writes."""

    def __init__(self, arguments: tuple[Tensor, ...]) -> None:
        self._device = arguments[0].device
        self._arguments = tuple(values.clone() for values in arguments)
        self._constants: Constants = {}
        # Libraries keep handles and workspaces for each stream, so what warms up must be what is recorded.
        self._stream = torch.cuda.Stream(self._device)
        self._graph = torch.cuda.CUDAGraph()
        self._result: Tensor | None = None

    def warm_up(self, function: Callable[..., Tensor]) -> Tensor:
        """Call the function on the side stream; what it returns."""
        with torch.cuda.device(self._device), keeping(self._constants):
            usual = torch.cuda.current_stream(self._device)
            self._stream.wait_stream(usual)
            with torch.cuda.stream(self._stream):
                for _ in range(WARM_UPS):
                    result = function(*self._arguments)
            usual.wait_stream(self._stream)
            return result.clone()  # on the usual stream, whose memory it is from here on

    def capture(self, function: Callable[..., Tensor]) -> None:
        """Record the function; nothing is computed yet.

        Raises:
            RuntimeError: if it does what cannot be recorded, or memory runs out.
        """
        # Other threads may go on using the GPU meanwhile.
        capturing = torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local")
        with torch.cuda.device(self._device), keeping(self._constants), capturing:
            self._result = function(*self._arguments)

    def replay(self, arguments: tuple[Tensor, ...]) -> Tensor:
        """The result for other arguments of the same sizes."""
        assert self._result is not None
        for static, values in zip(self._arguments, arguments, strict=True):
            static.copy_(values)
        with torch.cuda.device(self._device):
            self._graph.replay()
        return self._result.clone()
