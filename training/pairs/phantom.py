"""Made-up pairs with a known deformation, of whatever a configuration needs: for tests, never for shipped weights."""

from __future__ import annotations

import numpy as np
import torch
from DeepLargeDeformRegLib.core.images import LabelMap, LandmarkPairs, Volume
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.fields import DisplacementField
from torch import Tensor

from ..config import Config
from ..data import Pair, Subject
from .samples import Sample, Scan, training_grid

_POINTS = 64
_LARGEST_SHIFT = 0.12  # of the grid's extent


class PhantomPairs:
    """Ellipsoids, one a structure, in smooth noise; the moving scan is the fixed one under a smooth random map.

    With masks and keypoints, which follow the map exactly.
    """

    def __init__(self, config: Config) -> None:
        self.grid = training_grid(config.grid)
        self.channels = len(config.channels)
        self.structures = max(len(config.data.labels), 1)

    def draw(self, generator: torch.Generator) -> Sample:
        fixed = self._scan(generator)
        displacement = self._smooth(3, generator) * torch.tensor(self.grid.extent).reshape(1, 3, 1, 1, 1)
        field = DisplacementField(displacement * _LARGEST_SHIFT, self.grid)
        # A scan made as fixed(y^-1): then y maps fixed to moving points.
        back = fields.invert(field, iterations=20).field

        def moved(values: Tensor) -> Tensor:
            return fields.warp(values[None], self.grid, back, padding="border")[0]

        inside = torch.rand((_POINTS, 3), generator=generator) * 0.8 + 0.1
        points = inside * torch.tensor(self.grid.extent)
        moving = Scan(*(moved(values) for values in (fixed.image, fixed.labels, fixed.mask) if values is not None))
        return Sample(
            fixed=fixed,
            moving=moving,
            fixed_points=points,
            moving_points=fields.transform_points(field, points),
            same_patient=True,
        )

    def _scan(self, generator: torch.Generator) -> Scan:
        place = [torch.linspace(-1, 1, n) for n in self.grid.shape]
        lattice = torch.stack(torch.meshgrid(*place, indexing="ij"))
        taken = torch.zeros(self.grid.shape, dtype=torch.bool)
        structures = []
        for _ in range(self.structures):
            center, radius = torch.rand((2, 3, 1, 1, 1), generator=generator)
            inside = ((lattice - (center - 0.5)) / (0.25 + 0.25 * radius)).square().sum(dim=0) < 1
            structures.append(inside & ~taken)
            taken |= inside
        labels = torch.stack(structures).float()
        shades = torch.linspace(0.4, 1.0, self.structures).reshape(-1, 1, 1, 1)
        image = (labels * shades).sum(dim=0, keepdim=True) + 0.1 * self._smooth(1, generator)[0]
        return Scan(image.expand(self.channels, -1, -1, -1).contiguous(), labels, taken[None].float())

    def _smooth(self, channels: int, generator: torch.Generator) -> Tensor:
        """Smooth noise ``(1, channels, D, H, W)`` within -1..1."""
        coarse = 2 * torch.rand((1, channels, 4, 4, 4), generator=generator) - 1
        return torch.nn.functional.interpolate(coarse, self.grid.shape, mode="trilinear", align_corners=True)


def phantom_pair(config: Config) -> Pair:
    """A made-up pair as a data set has it, on the grid of the configuration, of one patient.

    With structures, masks and landmarks: to try what measures a network where there are no data.
    """
    sample = PhantomPairs(config).draw(torch.Generator())
    grid = training_grid(config.grid)
    values = torch.tensor(config.data.labels or (1,), dtype=torch.int16).reshape(-1, 1, 1, 1)

    def subject(name: str, scan: Scan) -> Subject:
        volume = Volume(scan.image[0].numpy(), grid)
        labels = None if scan.labels is None else ((scan.labels >= 0.5) * values).amax(dim=0).numpy()
        mask = None if scan.mask is None else (scan.mask[0] >= 0.5).numpy().astype(np.uint8)
        return Subject(
            name=name,
            read_image=lambda: volume,
            read_labels=None if labels is None else lambda: LabelMap(labels, grid),
            read_mask=None if mask is None else lambda: LabelMap(mask, grid),
            patient="made up",
        )

    first, second = sample.fixed_points, sample.moving_points
    points = (
        None if first is None or second is None else LandmarkPairs(first.double().numpy(), second.double().numpy())
    )
    return Pair(
        subject("fixed", sample.fixed),
        subject("moving", sample.moving),
        None if points is None else lambda: points,
    )
