"""Helpers for the tests of the networks: shapes without numbers, and a real pair of scans."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from DeepLargeDeformRegLib.engine.networks import RegistrationNetwork, build
from torch import Tensor, nn


class Trace(NamedTuple):
    """Shapes (x, y, z) and channels of what each leaf module put out in its first call, and of the field."""

    outputs: dict[str, tuple[int, ...]]
    channels: dict[str, int]
    field: tuple[int, ...]


def trace(network: nn.Module, size: tuple[int, int, int], channels: int = 1) -> Trace:
    """Run a network on the meta device for a size (x, y, z) and record shapes."""
    network = network.to("meta")
    outputs: dict[str, tuple[int, ...]] = {}
    widths: dict[str, int] = {}

    def record(name: str):
        def hook(_module, _inputs, output):
            if isinstance(output, Tensor) and name not in outputs:
                outputs[name] = tuple(reversed(output.shape[2:]))
                widths[name] = output.shape[1]

        return hook

    for name, module in network.named_modules():
        module.register_forward_hook(record(name))
    images = torch.empty((1, channels, *reversed(size)), device="meta")
    field = network(images, images)
    return Trace(outputs, widths, tuple(reversed(field.shape[2:])))


def convolutions(module: nn.Module) -> list[nn.Conv3d]:
    return [part for part in module.modules() if isinstance(part, nn.Conv3d)]


def make(name: str, **arguments) -> RegistrationNetwork:
    """A network with reproducible weights, in evaluation mode."""
    torch.manual_seed(0)
    return build(name, **arguments).eval()


@pytest.fixture(scope="session")
def hippocampus_pair(shared_data):
    """One real pair: normalized images (1, 1, 32, 48, 32) and one-hot labels (1, 2, 32, 48, 32), fixed and moving."""

    def read(name: str) -> tuple[Tensor, Tensor]:
        folder = shared_data / "hippocampus"
        image = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "images" / f"{name}.nii.gz"), sitk.sitkFloat32))
        labels = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "labels" / f"{name}.nii.gz")))
        found = np.argwhere(labels)
        middle = ((found.min(axis=0) + found.max(axis=0)) / 2).round().astype(int)
        first = middle + 24 - np.array((16, 24, 16))
        window = tuple(slice(f, f + n) for f, n in zip(first, (32, 48, 32), strict=True))
        image, labels = np.pad(image, 24)[window], np.pad(labels, 24)[window]
        onehot = np.stack([labels == 1, labels == 2]).astype(np.float32)
        return torch.from_numpy((image - image.mean()) / image.std())[None, None], torch.from_numpy(onehot)[None]

    return read("hippocampus_310"), read("hippocampus_084")
