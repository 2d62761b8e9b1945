"""Training samples: a patient as a scanner would see it, deformed, with any contrast, cut off anywhere."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.fields import DisplacementField
from torch import Tensor

from ..synthesis.draw import Draw, cells, smooth_noise
from ..synthesis.motion import MotionSettings, random_affine
from ..synthesis.scanner import AIR, ScannerSettings, acquire
from ..synthesis.tissues import PHASES, attenuation
from ..synthesis.torso import Patient, ScannedPatient
from .patients import OrganPatient, PatientSource
from .structures import MIRRORED, ORGANS

_WAVES = ((120.0, 9.0), (60.0, 4.0), (30.0, 1.5))  # width and displacement, mm
_MOTION = MotionSettings(rotation_deg=14.0, shift_mm=0.0, scale=0.16)
_SCANNER = ScannerSettings(cut=0.6, largest_cut=0.4)


@dataclass(frozen=True, eq=False)
class OrganSample:
    """One training sample.

    Args:
        image: ``(1, D, H, W)`` HU.
        shares: of each class in each cell of 2x2x2 voxels, ``(1 + organs, D / 2, H / 2, W / 2)``.
        known: ``(1 + organs,)`` bool: classes that are labelled everywhere; class 0 always.
    """

    image: Tensor
    shares: Tensor
    known: Tensor


class OrganSamples(torch.utils.data.Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Samples by number; each is the same on every run.

    Args:
        sources: patients; best :func:`.patients.kept_on_disk`, as each is made anew whenever it is drawn.
        groups: share of the samples of each group of sources.
        weights: of single sources within their group, by name; 1 by default.
        grid: of the samples; only size and spacing count.
        count: number of samples.
        seed: of all that is drawn.
    """

    def __init__(
        self,
        sources: Sequence[PatientSource],
        groups: Mapping[str, float],
        weights: Mapping[str, float],
        grid: ImageGrid,
        count: int,
        seed: int,
    ) -> None:
        self.sources, self.grid, self.count, self.seed = list(sources), grid, count, seed
        per_group = {group: sum(weights.get(s.name, 1.0) for s in sources if s.group == group) for group in groups}
        self._chances = torch.tensor(
            [
                groups.get(s.group, 0.0) * weights.get(s.name, 1.0) / max(per_group.get(s.group, 1), 1e-9)
                for s in sources
            ]
        )

    def __len__(self) -> int:
        return self.count

    @torch.no_grad()
    def __getitem__(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        draw = Draw(self.seed * 1_000_003 + number)
        chosen = int(torch.multinomial(self._chances, 1, generator=draw.numbers))
        source = self.sources[chosen]
        sample = draw_sample(draw, source.make(Draw(zlib.crc32(source.name.encode()))), self.grid)
        return sample.image, sample.shares, sample.known


def draw_sample(draw: Draw, patient: OrganPatient, grid: ImageGrid) -> OrganSample:
    """A scan of a patient on a grid laid somewhere on him."""
    body = patient.patient
    place = _placement(draw, body, grid)
    values = _attenuation(draw, body)
    image = fields.warp(values[None, None], body.grid, place, fill=AIR)[0, 0]
    labels = fields.warp(body.labels[None, None].float(), body.grid, place, mode="nearest")[0, 0].to(torch.uint8)
    if draw.chance(0.1):
        image, labels = image.flip(2), _exchanged(labels.flip(2))
    if isinstance(body, ScannedPatient):
        image = _other_contrast(draw, image, labels, grid)
    image = acquire(image, grid, draw, _SCANNER)
    labels = torch.where(image[0] <= AIR, 0, labels)  # beyond the field of view
    one_hot = torch.stack([(labels == index).float() for index in range(len(ORGANS) + 1)])
    known = torch.zeros(len(ORGANS) + 1, dtype=torch.bool)
    known[[0, *patient.known]] = True
    return OrganSample(image, F.avg_pool3d(one_hot, 2), known)


def _placement(draw: Draw, body: Patient | ScannedPatient, grid: ImageGrid) -> DisplacementField:
    """From the sample's grid into the patient: around one of its organs mostly, else anywhere in it."""
    low, high = body.grid.corners.min(axis=0), body.grid.corners.max(axis=0)
    target = np.array([draw.uniform(a + 0.2 * (b - a), b - 0.2 * (b - a)) for a, b in zip(low, high, strict=True)])
    organs = torch.nonzero((body.labels > 0) & (body.labels <= 4))
    if draw.chance(0.75) and len(organs) > 0:
        middle = organs.float().mean(dim=0).flip(0).numpy()
        target = body.grid.to_physical(middle) + np.array([draw.uniform(-s, s) for s in (50.0, 40.0, 80.0)])
    here = ImageGrid.axis_aligned(
        grid.size, grid.spacing, [-(n - 1) / 2 * s for n, s in zip(grid.size, grid.spacing, strict=True)]
    )
    matrix = random_affine(draw, here, _MOTION)
    matrix[:3, :3] *= math.exp(draw.uniform(-0.12, 0.12))
    matrix[:3, 3] += target
    coarse = here.coarser(4)
    strength = draw.uniform(0, 1.5)
    waves = torch.zeros((3, *coarse.shape))
    for width, displacement in _WAVES:
        waves += draw.uniform(0, 1) * displacement * smooth_noise(draw, coarse, width, 3)
    elastic = fields.resample(DisplacementField(strength * waves[None], coarse), here)
    return fields.compose_affine(matrix, elastic)


def _attenuation(draw: Draw, body: Patient | ScannedPatient) -> Tensor:
    if isinstance(body, ScannedPatient):
        return body.image
    table = attenuation(draw, draw.choice(PHASES))
    if draw.chance(0.5):  # organs of any brightness: what counts is where they are and how they are formed
        soft = (table > -60) & (table < 300)
        table = torch.where(soft, table + 30 * torch.randn(table.shape, generator=draw.numbers), table)
    return body.attenuation(table)


def _exchanged(labels: Tensor) -> Tensor:
    table = torch.arange(256, dtype=torch.uint8)
    for one, other in MIRRORED.items():
        table[one], table[other] = other, one
    return table[labels.long()]


def _other_contrast(draw: Draw, image: Tensor, labels: Tensor, grid: ImageGrid) -> Tensor:
    """A real scan as another protocol would have it: contrast of soft tissue, of organs, of regions and of bone."""
    if draw.chance(0.8):
        soft = (image > -200) & (image < 250)
        image = torch.where(soft, (image - 40) * draw.uniform(0.7, 1.4) + 40 + draw.uniform(-20, 20), image)
    for organ in range(1, 5):
        if draw.chance(0.6):
            inside = F.avg_pool3d((labels == organ).float()[None, None], 3, 1, 1)[0, 0]
            image = image + inside * draw.uniform(-45, 60)
    if draw.chance(0.4):
        kind, _ = cells(draw, grid, draw.uniform(30, 70), 5)
        offsets = torch.tensor([draw.uniform(-35, 35) for _ in range(5)])
        image = image + F.avg_pool3d(offsets[kind][None, None], 3, 1, 1)[0, 0] * ((image > -30) & (image < 300))
    if draw.chance(0.4):
        image = torch.where(image > 160, image * draw.uniform(0.7, 1.4), image)
    return image
