"""Scans in the shapes of others: training pairs that are harder to learn by heart.

A field that registers two scans of the training moves one of them to the other's shape, and a share of it part of the
way there. Such scans differ as people do, unlike those of random smooth maps, and none comes twice (the idea of Zhao
et al., Data augmentation using learned transformations, CVPR 2019; its registration learns without labels).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.fields import DisplacementField
from DeepLargeDeformRegLib.engine.models import RegistrationModel
from torch import Tensor

from .augmentation import moved
from .samples import PackedScan, Scan

# Scans that each one is registered to, found by steps of this length up and down the list: neighbors may be of one
# person. Whoever is registered to a scan has it among its own, so that each field serves both.
_OTHERS, _STEP = 6, 7


class OtherShapes:
    """Moves scans of a collection towards each other's shapes.

    What is registered is computed when it is first wanted, and kept in memory: several times the scans' own.

    Args:
        model: registers any two of the scans.
        grid: of the scans; of the model's spacing.
        share: largest share of the way to another scan.
        blend: largest share of another scan in the intensities and structures of one.
    """

    def __init__(self, model: RegistrationModel, grid: ImageGrid, share: float, blend: float = 0.0) -> None:
        self.model, self.grid, self.share, self.blend = model, grid, share, blend
        card = model.card
        size = card.minimum_size if card.minimum_size == card.maximum_size else grid.size
        origin = [c - (n - 1) / 2 * s for c, n, s in zip(grid.center, size, grid.spacing, strict=True)]
        self._own = ImageGrid.axis_aligned(size, grid.spacing, origin)
        self._fields: dict[tuple[int, int], Tensor] = {}
        self._scans: dict[tuple[int, int], PackedScan] = {}

    def vary(self, scan: Scan, scans: Sequence[PackedScan], index: int, generator: torch.Generator) -> Scan:
        """A scan of the collection blended with another one, and the way to a third one's shape, in part, noted.

        Args:
            scan: the one at ``index``, on the device.
            scans: the collection.
            index: of the scan.
            generator: of the numbers that choose the others, and how much of each.
        """
        others = _others(index, len(scans))
        first, second = (others[int(i)] for i in torch.randint(len(others), (2,), generator=generator))
        shares = torch.rand(2, generator=generator).tolist()
        if self.blend:
            scan = self._blended(scan, scans, index, first, self.blend * shares[0])
        if not self.share:
            return scan
        field = self._between(scans, second, index).to(scan.image.device, non_blocking=True)
        return replace(scan, shape=self.share * shares[1] * field.float())

    def _blended(self, scan: Scan, scans: Sequence[PackedScan], index: int, other: int, share: float) -> Scan:
        there = self._registered(scans, index, other).on(scan.image.device)
        image = torch.lerp(scan.image, there.image.float(), share)
        if scan.labels is None or there.labels is None:
            return replace(scan, image=image)
        return replace(scan, image=image, labels=torch.lerp(scan.labels, there.labels, share))

    def _registered(self, scans: Sequence[PackedScan], fixed: int, moving: int) -> PackedScan:
        """The moving scan warped onto the fixed one, in half precision."""
        if (fixed, moving) not in self._scans:
            field = DisplacementField(self._between(scans, fixed, moving)[None].float(), self.grid)
            scan = scans[moving].on("cpu")
            image = moved(scan.image, self.grid, field, padding="border").half()
            labels = None if scan.labels is None else fields.warp(scan.labels[None], self.grid, field)[0]
            self._scans[fixed, moving] = Scan(image, labels).packed()
        return self._scans[fixed, moving]

    def _between(self, scans: Sequence[PackedScan], fixed: int, moving: int) -> Tensor:
        if (fixed, moving) not in self._fields:
            images = (scans[i].image[None].to(self.model.device) for i in (fixed, moving))
            first, second = (fields.regrid(image, self.grid, self._own, padding="border") for image in images)
            found = fields.resample(self.model.predict(first, second, self._own), self.grid)
            self._fields[fixed, moving] = found.displacement[0].half().cpu()
        return self._fields[fixed, moving]


def _others(index: int, count: int) -> list[int]:
    """Which scans of a list the one at ``index`` is registered to."""
    steps = [sign * _STEP * k for k in range(1, _OTHERS // 2 + 1) for sign in (1, -1)]
    found = dict.fromkeys((index + step) % count for step in steps)
    return [other for other in found if other != index] or [(index + 1) % count]
