"""Run by ``test_devices.py`` in a process of its own: training, registration, keypoints on a pretended GPU.

Prints, as JSON, how often the processor waited for the device, by what.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import LabelMap, Pair, Scan, Volume
from DeepLargeDeformRegLib.core.plans import RefinementLevel, RefinementPlan, SearchLevel
from DeepLargeDeformRegLib.core.progress import Monitor
from DeepLargeDeformRegLib.core.settings import RegistrationSettings
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.cuda_graphs import Constants, keeping
from DeepLargeDeformRegLib.engine.models import RegistrationModel, load_model
from DeepLargeDeformRegLib.engine.registration.aligned import AlignedPair, AlignedScan
from DeepLargeDeformRegLib.engine.registration.pipeline import RegistrationRequest, register
from DeepLargeDeformRegLib.engine.registration.refine import refine
from DeepLargeDeformRegLib.engine.registration.search import global_search
from lightning_fabric import Fabric
from lightning_fabric.accelerators import CPUAccelerator
from lightning_fabric.strategies import SingleDeviceStrategy

from training.config import Config, find_config, load_config, smaller
from training.keypoints import MINIMUM, KeypointSettings, match
from training.loop.trainer import Trainer
from training.pairs import sources
from training.pairs.phantom import PhantomPairs
from training.pairs.samples import PairSource

from .pretended_device import DEVICE, Pretended, pretended_device


class _Accelerator(CPUAccelerator):
    def setup_device(self, device: torch.device) -> None:
        pass


def train(names: list[str]) -> Iterator[tuple[str, Pretended]]:
    """A step of each configuration's last phase, at reduced size, and before it the drawing of its pairs."""
    for name in names:
        config = smaller(load_config(find_config(Path(name))))
        config = replace(config, training=replace(config.training, batch=2, precision="32"))
        with pretended_device() as recorded, tempfile.TemporaryDirectory() as folder:
            strategy = SingleDeviceStrategy(device=DEVICE, accelerator=_Accelerator())
            fabric = Fabric(strategy=strategy)
            source = _source(config)
            if config.data.kind == "synthetic":
                for kind in ("first", "next"):
                    source.draw(torch.Generator().manual_seed(3))
                    yield f"{name}, {kind} pair", recorded
            validation = [PhantomPairs(config).draw(torch.Generator())]
            trainer = Trainer(config, source, validation, Path(folder), fabric)
            phase = config.training.phases[-1]
            trainer._open_phase(phase)
            model, optimizer = trainer._set_up(phase)
            objective = trainer._objective(phase)
            recorded.waits.clear()
            trainer._step(model, optimizer, objective, 1e-3)
            trainer.average.update(trainer.network, 0)
            yield name, recorded
            trainer.progress.step = config.training.log_every
            trainer._validate()
            trainer.save()


def _source(config: Config) -> PairSource:
    if config.data.kind == "synthetic":
        return sources.training_source(config, DEVICE)
    return PhantomPairs(config)


def registrations(presets: list[str]) -> Iterator[tuple[str, Pretended]]:
    """Registrations of small made-up scans, both directions and uncertainty included."""
    generator = torch.Generator().manual_seed(0)
    for name in presets:
        spacing = 1.0 if name == "mr-hippocampus" else 4.0
        noise = torch.randn((2, 1, 14, 16, 12), generator=generator)
        smooth = torch.nn.functional.interpolate(noise, scale_factor=3, mode="trilinear")
        grid = ImageGrid.axis_aligned(tuple(reversed(smooth.shape[2:])), (spacing,) * 3)
        fixed, moving = (
            Volume(100 * values.numpy(), grid) for values in (smooth[0, 0], smooth[0, 0] + 0.1 * smooth[1, 0])
        )
        labels = LabelMap((smooth[0, 0] > 0.5).to(torch.uint8).numpy(), grid)
        settings = RegistrationSettings(preset=name, iterations=2, symmetric=True, uncertainty=True)
        request = RegistrationRequest(pair=Pair(Scan(fixed, labels), Scan(moving, labels)), settings=settings)
        with (
            pretended_device() as recorded,
            mock.patch("DeepLargeDeformRegLib.engine.registration.pipeline.choose_device", return_value=DEVICE),
        ):
            result = register(request)
            assert not result.metrics.warnings, result.metrics.warnings  # such as memory that was not enough
        yield name, recorded


def refinements(steps: list[str]) -> Iterator[tuple[str, Pretended]]:
    """Steps of one level of a refinement with masks, from the first step on."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.nn.functional.interpolate(torch.randn((2, 1, 8, 8, 8), generator=generator), scale_factor=3)
    grid = ImageGrid.axis_aligned((24, 24, 24), (1.5, 1.5, 2.0))
    for count in steps:
        with pretended_device() as recorded:
            sides = [(image[None].to(DEVICE), (image[None] > 0.5).float().to(DEVICE)) for image in noise]
            scans = [AlignedScan(image=i, covered=torch.ones_like(i), masks=mask) for i, mask in sides]
            level = RefinementLevel(2, int(count), 0.5)
            plan = RefinementPlan(levels=(level,), masks=1.0, volume_change=0.1, curvature=0.1, points=4000)
            begun = Monitor(lambda event: recorded.waits.clear() if event.fraction == 0 else None)
            refine(AlignedPair(grid, *scans), fields.identity(grid, device=DEVICE), plan, begun)
        yield count, recorded


def searches(names: list[str]) -> Iterator[tuple[str, Pretended]]:
    """Two levels of the search, with what a mask leaves out."""
    generator = torch.Generator().manual_seed(0)
    grid = ImageGrid.axis_aligned((16, 18, 20), (1.5, 1.5, 2.0))
    for name in names:
        features = torch.rand((2, 1, 4, *grid.shape), generator=generator)
        counted = torch.ones((1, 1, *grid.shape))
        counted[..., :4] = 0
        with pretended_device() as recorded:
            fixed, moving, counts = (values.to(DEVICE) for values in (*features, counted))
            recorded.waits.clear()
            global_search(fixed, moving, grid, (SearchLevel(4, 1), SearchLevel(2, 1)), counted=(counts, counts))
        yield name, recorded


def passes(names: list[str]) -> Iterator[tuple[str, Pretended]]:
    """One pass of networks, from scans on the processor to fields on the device."""
    for name in names:
        with pretended_device() as recorded:
            model = load_model(name, DEVICE)
            multiple = max(model.network.minimum_size, 16)
            grid = ImageGrid.axis_aligned((multiple, multiple, multiple), model.card.spacing_mm)
            images = torch.rand((2, 1, 1, *grid.shape), generator=torch.Generator().manual_seed(0))
            recorded.waits.clear()
            model.predict(images[0], images[1], grid)
            _check_recordable(model, recorded)
        yield name, recorded


def _check_recordable(model: RegistrationModel, recorded: Pretended) -> None:
    """Nothing goes from the processor to the device in a pass whose constants are kept, as a CUDA graph needs."""
    size = max(model.network.minimum_size, 16)
    constants: Constants = {}
    with torch.inference_mode(), keeping(constants):
        inputs = torch.rand((1, len(model.card.channels), size, size, size), device=DEVICE)
        before = recorded.sent
        model.network(inputs, inputs)
        assert recorded.sent - before == len(constants)
        model.network(inputs, inputs)
        assert recorded.sent - before == len(constants)


def keypoints(names: list[str]) -> Iterator[tuple[str, Pretended]]:
    """Keypoints of one made-up scan matched with itself."""
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.randn((1, 1, 12, 12, 12), generator=generator), scale_factor=3)
    scan = Volume(200 * smooth[0, 0].numpy(), ImageGrid.axis_aligned((36, 36, 36), (1.5, 1.5, 1.5)))
    mask = LabelMap(torch.ones(36, 36, 36, dtype=torch.uint8).numpy(), scan.grid)
    settings = KeypointSettings(distance_mm=2.0, reach_mm=6.0)
    for name in names:
        with pretended_device() as recorded:
            assert len(match(scan, scan, mask, mask, settings, DEVICE)) >= MINIMUM
        yield name, recorded


RUNS = {
    "train": train,
    "register": registrations,
    "refine": refinements,
    "search": searches,
    "predict": passes,
    "keypoints": keypoints,
}


def main() -> None:
    kind, *names = sys.argv[1:]
    torch.set_num_threads(1)
    waits = {}
    for what, recorded in RUNS[kind](names):
        waits[what] = {"operations": recorded.operations} | {
            by: count for by, count in recorded.waits.items() if count
        }
        recorded.waits.clear()
        recorded.operations = 0
    sys.stdout.write(json.dumps(waits) + "\n")
    sys.stdout.flush()
    # Not an ordinary exit: rarely, beside other load, torch's threads for a pretended device end in abort().
    os._exit(0)


if __name__ == "__main__":
    main()
