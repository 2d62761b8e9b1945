"""U-Nets on a processor by OpenVINO, where it is installed: ``pip install DeepLargeDeformReg[openvino]``.

It joins convolutions with what follows them. The warps and compositions around them stay in torch. Nothing is written
to disk, and OpenVINO's own converter, which reports its use to its makers, is not called.
"""

from __future__ import annotations

import copy
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
from torch import Tensor, nn

from ...core.progress import Monitor
from ..device import computes_in_bfloat16
from ..networks.blocks import UNet

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
            found = self._of(number, features)(features.float().contiguous().numpy())[0]
        except Exception as error:  # whatever a library raises: torch does the same
            _log.warning("OpenVINO cannot run this network, torch does (%s)", type(error).__name__)
            self._usable = False
            return usual(features)
        return torch.from_numpy(found.copy())

    def _of(self, number: int, features: Tensor) -> Any:
        """The U-Net compiled for the size of its input."""
        shape = tuple(features.shape)
        known = self._compiled.get(number)
        if known is None or known[0] != shape:
            known = self._compiled[number] = shape, _compile(self._nets[number], shape)
        return known[1]


def _compile(net: UNet, shape: tuple[int, ...]) -> Any:
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    plain = copy.copy(net)
    vars(plain).pop("forward", None)  # which asks for this
    # By torch's own layers, of which OpenVINO knows the meaning: those of networks/quick.py are for torch.
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
        example = torch.zeros(shape[0], shape[1], *(2 * 2 ** (len(net.enc) - 1) for _ in range(3)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(plain, example, check_trace=False)
        decoder = TorchScriptPythonDecoder(traced, example_input=example)
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
