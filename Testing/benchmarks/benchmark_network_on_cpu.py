"""Seconds of a network's pass on a processor, by the ways that there are, in one run.

    python -m Testing.benchmarks.benchmark_network_on_cpu --size 192 160 192 --threads 2

Float32 by torch's own layers is the reference, of time and of the field; then come the layers of
``engine/networks/quick.py`` in float32 and in bfloat16, and OpenVINO where it is installed (extra ``openvino``). The
weights are random and the scans are noise, low-pass filtered: a pass takes as long for any. Processor seconds are
comparable beside other work, wall-clock seconds on a quiet machine alone. Differences are in voxels.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from DeepLargeDeformRegLib.core.progress import Monitor
from DeepLargeDeformRegLib.engine import heap
from DeepLargeDeformRegLib.engine.device import computes_in_bfloat16
from DeepLargeDeformRegLib.engine.models.openvino_nets import OpenVinoNets, is_available
from DeepLargeDeformRegLib.engine.networks import RegistrationNetwork, build, network_names
from torch import Tensor

Way = Callable[[], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def torch_ways(quick: bool, bfloat16: bool) -> Iterator[None]:
    """Torch in one precision; without the quick ways, which are for passes without gradients, gradients are on."""
    with torch.set_grad_enabled(not quick), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        yield


def measure(network: RegistrationNetwork, pair: tuple[Tensor, Tensor], way: Way, repeats: int) -> tuple[Tensor, str]:
    """The field, and the least seconds of a pass after the first one as text: of the processor, and of the clock."""
    processor, clock = [], []
    for _ in range(repeats + 1):
        with way():
            begun = time.process_time(), time.perf_counter()
            field = network(*pair).detach()
            processor.append(time.process_time() - begun[0])
            clock.append(time.perf_counter() - begun[1])
    return field, f"{min(processor[1:]):9.2f} {min(clock[1:]):9.2f} {processor[0]:9.2f}"


def main() -> int:
    """Print a row for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="virnet", choices=network_names())
    parser.add_argument("--size", type=int, nargs=3, default=(192, 160, 192), help="voxels along z, y and x")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    network = build(arguments.network, initial_scale=0.02).eval()
    network = network.requires_grad_(False).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    fixed, moving = (F.avg_pool3d(torch.rand(1, network.channels, *arguments.size), 5, 1, 2) for _ in range(2))
    ways: dict[str, Way] = {
        "torch's own layers, float32": lambda: torch_ways(quick=False, bfloat16=False),
        "ours, float32": lambda: torch_ways(quick=True, bfloat16=False),
    }
    if computes_in_bfloat16("cpu"):
        ways["torch's own layers, bfloat16"] = lambda: torch_ways(quick=False, bfloat16=True)
        ways["ours, bfloat16"] = lambda: torch_ways(quick=True, bfloat16=True)
    if is_available():
        nets = OpenVinoNets(network)
        ways["OpenVINO, as chosen"] = lambda: nets.within(Monitor())
    sys.stdout.write(f"{'':30s} processor     clock     first  mean |difference|  mean |field|\n")
    reference: Tensor | None = None
    for name, way in ways.items():
        with heap.reused_memory():  # as within a registration
            field, seconds = measure(network, (fixed, moving), way, arguments.repeats)
        reference = field if reference is None else reference
        difference = float((field - reference).abs().mean())
        sys.stdout.write(f"{name:30s} {seconds} {difference:18.1e} {float(reference.abs().mean()):13.2f}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
