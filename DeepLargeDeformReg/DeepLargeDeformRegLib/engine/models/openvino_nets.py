"""U-Nets on a processor by OpenVINO, where it is installed: ``pip install ".[openvino]"`` in a clone.

It joins convolutions with what follows them. The warps and compositions around them stay in torch. Nothing is written
to disk, and OpenVINO's own converter, which reports its use to its makers, is not called.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...core.progress import Monitor
from ..device import computes_in_bfloat16
from ..networks.blocks import ConvBlock, UNet

SWITCH = "DEEPLARGEDEFORMREG_OPENVINO"
"""Environment variable: ``0`` leaves networks to torch even where OpenVINO is installed."""

_log = logging.getLogger(__name__)


def is_available() -> bool:
    """Whether OpenVINO is installed and not switched off."""
    return os.environ.get(SWITCH, "1") != "0" and importlib.util.find_spec("openvino") is not None


class OpenVinoNets:
    """The U-Nets of one network, compiled for the last size that each of them had."""

    def __init__(self, network: nn.Module) -> None:
        """Nothing is compiled before it is needed.

        Args:
            network: in eval mode; its U-Nets are looked for.
        """
        self._nets = [module for module in network.modules() if isinstance(module, UNet)]
        self._compiled: dict[int, tuple[tuple[int, ...], Any]] = {}
        self._usable = bool(self._nets)
        self._lock = threading.Lock()

    @contextmanager
    def within(self, monitor: Monitor) -> Iterator[None]:
        """Within the block the U-Nets compute by OpenVINO; by torch, after one line in the log, if that fails."""
        if not self._usable:
            yield
            return
        with self._lock:
            usual = [net.forward for net in self._nets]
            for number, net in enumerate(self._nets):
                net.forward = partial(self._run, number, usual[number], monitor)  # type: ignore[method-assign]
            try:
                yield
            finally:
                for net in self._nets:
                    del net.forward  # the method of the class shows again
                for _, compiled in self._compiled.values():
                    compiled.release_memory()  # of the features between the layers

    def _run(self, number: int, usual: Any, monitor: Monitor, features: Tensor) -> Tensor:
        monitor.check()
        if not self._usable:
            return usual(features)
        try:
            return _computed(self._of(number, features), features)
        except Exception as error:  # whatever a library raises: torch does the same
            _log.warning("OpenVINO cannot run this network, torch does (%s)", type(error).__name__)
            self._usable = False
            return usual(features)

    def _of(self, number: int, features: Tensor) -> Any:
        """The U-Net compiled for the size of its input."""
        shape = tuple(features.shape)
        known = self._compiled.get(number)
        if known is None or known[0] != shape:
            known = self._compiled[number] = shape, _compile(self._nets[number], shape)
        return known[1]


def _computed(compiled: Any, features: Tensor) -> Tensor:
    """The output for features; neither of them is copied."""
    import openvino

    result = torch.empty(tuple(compiled.output(0).shape))
    request = compiled.create_infer_request()
    request.set_output_tensor(openvino.Tensor(result.numpy(), shared_memory=True))
    request.set_input_tensor(openvino.Tensor(features.float().contiguous().numpy(), shared_memory=True))
    request.infer()
    return result


class _Layers(nn.Module):
    """A U-Net by torch's own layers, of which OpenVINO knows the meaning, as it does not of those of ``quick.py``.

    A convolution of two concatenated features is a sum of two convolutions: OpenVINO adds within the second one, and
    the concatenation, which would be the largest tensor, is never made.
    """

    def __init__(self, net: UNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, features: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for number, blocks in enumerate(self.net.enc):
            features = self._through(blocks, features if number == 0 else F.avg_pool3d(features, 2))
            skips.append(features)
        skips.pop()
        for up, blocks in zip(self.net.up, self.net.dec, strict=True):
            features = self._through(blocks, up(features), skips.pop())
        return self.net.head(features)

    @staticmethod
    def _through(blocks: nn.Module, *features: Tensor) -> Tensor:
        assert isinstance(blocks, nn.Sequential)
        for block in blocks:
            assert isinstance(block, ConvBlock)
            kernels = block.c.weight.split([part.shape[1] for part in features], dim=1)
            total, *more = (
                F.conv3d(part, kernel, block.c.bias if number == 0 else None, padding=1)
                for number, (part, kernel) in enumerate(zip(features, kernels, strict=True))
            )
            for part in more:
                total = total + part
            features = (block.a(block.n(total)),)
        return features[0]


def _traced(net: UNet, channels: int) -> tuple[Any, Tensor]:
    """The graph of a U-Net, and the input by which it was made."""
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
        example = torch.zeros(1, channels, *(2 * 2 ** (len(net.enc) - 1) for _ in range(3)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = torch.jit.trace(_Layers(net), example, check_trace=False)
    return graph, example


def _compile(net: UNet, shape: tuple[int, ...]) -> Any:
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    graph, example = _traced(net, shape[1])
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
        decoder = TorchScriptPythonDecoder(graph, example_input=example)
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(decoder))
    model.reshape(list(shape))
    precision = "bf16" if computes_in_bfloat16("cpu") else "f32"
    options = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "ENABLE_CPU_PINNING": False,  # other work on the same cores would hold up every step
        "PERFORMANCE_HINT": "LATENCY",
    }
    return openvino.Core().compile_model(model, "CPU", options)
