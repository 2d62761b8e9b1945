"""Train the network that finds organs: ``python -m training.organs.train abdomen-ct-organs``.

``--leave-out SCAN`` trains one that never saw a scan, for measuring on it; phases in which that scan has no part are
taken from the run without it.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine.networks.segmentation import SegmentationNetwork
from lightning_fabric import Fabric
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .config import OrganConfig, PhaseEntry, load_config, patient_sources
from .objective import segmentation_loss
from .patients import PatientSource, kept_on_disk
from .samples import OrganSamples
from .structures import ORGANS

_log = logging.getLogger(__name__)
ROOT = Path(__file__).resolve().parents[2]
_WARM_UP = 50  # steps
_LARGEST_GRADIENT = 1.0
_LOG_EVERY = 50  # steps


def make_network(config: OrganConfig) -> SegmentationNetwork:
    """The network of a configuration, untrained."""
    return SegmentationNetwork(len(config.channels), len(ORGANS) + 1, config.filters)


def folder_of(runs: Path, config: OrganConfig, left_out: str) -> Path:
    """Where a run keeps its weights."""
    return runs / (f"{config.name}-without-{left_out}" if left_out else config.name)


def train(config: OrganConfig, runs: Path, left_out: str = "", minutes: float | None = None) -> Path:
    """Train all phases whose weights are not there yet.

    Args:
        config: the run.
        runs: folder of all runs.
        left_out: scan that is kept for measuring.
        minutes: ends each phase early, with the learning rate fallen to zero all the same.

    Returns:
        The file of the last phase's weights.
    """
    torch.manual_seed(config.seed)
    fabric = Fabric(accelerator="auto", devices=1)
    folder, network = folder_of(runs, config, left_out), make_network(config)
    folder.mkdir(parents=True, exist_ok=True)
    cache = runs / f"patients-{config.spacing_mm:g}mm"
    sources = [kept_on_disk(source, cache, config.seed) for source in patient_sources(config, ROOT, left_out)]
    weights = {Path(entry.folder).name: entry.weight for entry in config.scans}
    target = folder
    for index, phase in enumerate(config.phases):
        target = folder / f"{phase.name}.safetensors"
        shared = folder_of(runs, config, "") / target.name
        if left_out and phase.only and left_out not in phase.only and shared.is_file():
            target = shared
        if not target.is_file():
            chosen = [s for s in sources if s.group != "scans" or not phase.only or s.name in phase.only]
            average = _train_phase(config, phase, index, network, chosen, weights, fabric, minutes)
            save_file({name: value.contiguous().cpu() for name, value in average.items()}, target)
        network.load_state_dict(load_file(target))
    return target


def _train_phase(
    config: OrganConfig,
    phase: PhaseEntry,
    index: int,
    network: SegmentationNetwork,
    sources: list[PatientSource],
    weights: Mapping[str, float],
    fabric: Fabric,
    minutes: float | None,
) -> dict[str, Tensor]:
    """One phase; returns the moving average of the weights."""
    grid = ImageGrid.axis_aligned(config.size, (config.spacing_mm,) * 3)
    count = phase.steps * config.batch
    samples = OrganSamples(sources, phase.groups, weights, grid, count, config.seed + 1000 * index)
    # A process of its own makes the samples; the random state of none matters, as each sample has its own.
    loader = torch.utils.data.DataLoader(samples, config.batch, num_workers=1, prefetch_factor=4)
    network = network.to(fabric.device, memory_format=torch.channels_last_3d).train()  # type: ignore[call-overload]
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.average))
    optimizer = torch.optim.AdamW(network.parameters(), phase.learning_rate, weight_decay=1e-4)
    start, mean = time.monotonic(), float("nan")
    for step, (image, shares, known) in enumerate(loader):
        done = step / phase.steps
        if minutes is not None:
            done = max(done, (time.monotonic() - start) / (60 * minutes))
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = phase.learning_rate * min(1.0, (step + 1) / _WARM_UP) * (1 - done) ** 0.9
        loss = _loss(config, network, image.to(fabric.device), shares.to(fabric.device), known.to(fabric.device))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), _LARGEST_GRADIENT)
        optimizer.step()
        average.update_parameters(network)
        mean = loss.item() if step == 0 else 0.98 * mean + 0.02 * loss.item()
        if step % _LOG_EVERY == 0:
            seconds = time.monotonic() - start
            _log.info(
                json.dumps({"phase": phase.name, "step": step, "loss": round(mean, 4), "seconds": round(seconds)})
            )
    return average.module.state_dict()


def _loss(config: OrganConfig, network: nn.Module, image: Tensor, shares: Tensor, known: Tensor) -> Tensor:
    inputs = torch.cat([channel.apply(image) for channel in config.channels], dim=1)
    with torch.autocast(image.device.type, torch.bfloat16):
        logits = network(inputs.contiguous(memory_format=torch.channels_last_3d))
    return segmentation_loss(logits, shares, known)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="name in training/configs/organs, or a YAML file")
    parser.add_argument("--leave-out", default="", metavar="SCAN", help="folder name of a scan to keep for measuring")
    parser.add_argument("--runs", type=Path, default=Path("runs/organs"), help="folder of the runs")
    parser.add_argument("--minutes", type=float, help="longest time of each phase")
    parser.add_argument("--threads", type=int, help="of the processor; all by default")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    target = train(load_config(arguments.config), arguments.runs, arguments.leave_out, arguments.minutes)
    _log.info("weights: %s", target)


if __name__ == "__main__":
    main()
