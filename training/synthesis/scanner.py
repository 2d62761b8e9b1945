"""From a painted patient to a CT scan: deformation, contrast phase, blur, noise and field of view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine import fields
from torch import Tensor

from .draw import Draw, blur, ends, smooth_noise
from .motion import Placement
from .torso import Patient, ScannedPatient

AIR = -1000.0
_AERATED, _NO_AIR = -650.0, -200.0  # HU of lung that is as dense as its volume says, and of what no air leaves


@dataclass(frozen=True, kw_only=True)
class ScannerSettings:
    """Ranges of what differs between scanners and protocols.

    Args:
        slice_mm: slice thickness.
        noise_hu: deviation of the noise; little noise is more frequent than much.
        cut: chance of a field of view that misses a part of the anatomy at its upper or lower end, or at a side.
        largest_cut: share of the grid's height or width that may be missing at an end.
        circle: chance of the scanner's circular field of view being visible.
    """

    slice_mm: tuple[float, float] = (1.0, 5.0)
    noise_hu: tuple[float, float] = (3.0, 25.0)
    cut: float = 0.5
    largest_cut: float = 0.25
    circle: float = 0.3


@dataclass(frozen=True, eq=False)
class OneLung:
    """A pair of scans that are cropped to one lung, as elastix's test data are; other structures lose their labels.

    Args:
        value: of the lung among the structures of the thorax.
        center: of its box in the reference, LPS mm.
        margin_mm: around it, from side to side.
    """

    value: int
    center: npt.NDArray[np.float64]
    margin_mm: float

    def shown(self, share: Tensor, grid: ImageGrid) -> Tensor:
        """What a crop to the lung's share ``(D, H, W)`` of a scan shows, ``(W,)`` bool."""
        (first, last), *_ = ends(share > 0.5)
        index = torch.arange(share.shape[2], device=share.device)
        margin = self.margin_mm / grid.spacing[0]
        return (index >= first - margin) & (index <= last + margin)


def scan(
    patient: Patient | ScannedPatient, placement: Placement, table: Tensor, draw: Draw, settings: ScannerSettings
) -> Tensor:
    """A scan of a deformed patient, ``(1, D, H, W)`` HU.

    Args:
        patient: the reference.
        placement: of the scan in the reference.
        table: HU of each tissue, see :func:`..tissues.attenuation`.
        draw: random numbers.
        settings: of the scanner.
    """
    return acquire(deformed(patient, placement, table), placement.field.grid, draw, settings)


def deformed(patient: Patient | ScannedPatient, placement: Placement, table: Tensor) -> Tensor:
    """Attenuation of the deformed patient, ``(D, H, W)`` HU, without the scanner's part.

    Lungs keep their mass: where they are compressed they get denser. Blood does not, so vessels stay as they are.
    """
    values, lung = patient.attenuation(table), patient.lung().float()
    image, lung = fields.warp(torch.stack([values, lung])[None], patient.grid, placement.field, padding="border")[0]
    aerated = ((_NO_AIR - image) / (_NO_AIR - _AERATED)).clamp(0, 1)
    denser = torch.lerp(torch.ones_like(image), placement.volume.clamp(0.4, 2.5), aerated)
    return torch.where(lung > 0.9, AIR + (image - AIR) * denser, image)


def acquire(image: Tensor, grid: ImageGrid, draw: Draw, settings: ScannerSettings) -> Tensor:
    """Blur, noise and field of view of a scanner, for an image ``(D, H, W)`` HU -> ``(1, D, H, W)``."""
    in_plane = draw.uniform(0.3, 1.0)
    image = blur(image, in_plane, grid)
    slices = max((draw.uniform(*settings.slice_mm) / 2.355) ** 2 - in_plane**2, 0.0) ** 0.5
    # Along z alone: a grid whose other voxels are huge blurs no other axis.
    image = blur(image, slices, ImageGrid.axis_aligned(grid.size, (1e6, 1e6, grid.spacing[2])))
    low, high = settings.noise_hu
    level = low + (high - low) * draw.uniform(0, 1) ** 2
    white = draw.normal(grid.shape)
    colored = smooth_noise(draw, grid, draw.uniform(3.0, 7.0))[0]
    image = image + level * (0.7 * white + 0.7 * colored) + draw.uniform(-6, 6)
    image = image.clamp(-1024, 3000)
    return torch.where(field_of_view(grid, draw, settings), image, AIR)[None]


def field_of_view(grid: ImageGrid, draw: Draw, settings: ScannerSettings) -> Tensor:
    """Where the scanner looked, ``(D, H, W)`` bool."""
    visible = torch.ones(grid.shape, dtype=torch.bool, device=draw.device)
    for dim, share in ((0, 1.0), (1, 0.3), (2, 0.5)):
        length = visible.shape[dim]
        if draw.chance(settings.cut if dim == 0 else 0.3 * settings.cut):
            missing = round(length * settings.largest_cut * share * draw.uniform(0, 1))
            start = 0 if draw.chance(0.5) else length - missing
            visible.narrow(dim, start, missing).fill_(False)
    if draw.chance(settings.circle):
        sizes = zip(grid.size[:2], grid.spacing[:2], strict=True)
        x, y = ((torch.arange(n, device=draw.device) - (n - 1) / 2) * s for n, s in sizes)
        radius = draw.uniform(0.42, 0.55) * max(grid.extent[:2])
        visible &= x[None, None, :] ** 2 + y[None, :, None] ** 2 < radius**2
    return visible


def labels_of(
    patient: Patient | ScannedPatient,
    placement: Placement,
    values: Sequence[int],
    unions: Mapping[int, Sequence[int]],
) -> Tensor:
    """Share of each structure in each voxel of a scan, ``(K, D, H, W)``; also of what lies beyond its field of view.

    Args:
        patient: the reference.
        placement: of the scan in the reference.
        values: structures, in the order of the result.
        unions: structures that consist of others.
    """
    # A real scan may know a union, such as the liver, without its parts.
    members = {value: (value, *unions.get(value, ())) for value in values}
    parts = sorted({part for value in values for part in members[value]})
    one_hot = torch.stack([(patient.labels == part).float() for part in parts])[None]
    warped = dict(zip(parts, fields.warp(one_hot, patient.grid, placement.field, padding="border")[0], strict=True))
    return torch.stack([torch.stack([warped[part] for part in members[value]]).sum(dim=0) for value in values])
