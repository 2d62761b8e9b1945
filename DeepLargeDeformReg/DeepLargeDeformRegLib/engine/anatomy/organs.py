"""Organs that a network finds in a CT: probabilities, and how far they can be trusted.

The first paper (Schumacher et al. 2021) lets a network that knows organs guide one that registers; here what it finds
guides the registration of this very pair: where organs lie in both scans is known before anything is aligned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from ...core.geometry import ImageGrid
from ...core.images import Label, LabelMap, Volume
from ...core.progress import Monitor
from .. import fields
from .model import SegmentationModel
from .resampling import pooled
from .sharpen import sharpen

_LEAST_CONFIDENCE = 0.75
_MARGIN_CELLS = 2  # around an organ's largest part: what lies farther away is another, smaller part
_AIR_HU, _FAT_HU, _SOFT_HU = (-1100.0, -500.0), (-150.0, -50.0), (0.0, 150.0)
_LEAST_SHARE = 0.02  # of a CT's voxels that are soft tissue; fat and air may be cropped away


@dataclass(frozen=True, eq=False, kw_only=True)
class FoundOrgans:
    """Organs that were found in one scan.

    Args:
        labels: what each channel is; their values are 1, 2, ...
        probabilities: ``(1, K, D, H, W)``, 0..1, each organ's largest part alone, a half at its outline; 0 for what
            is not trusted.
        grid: of the probabilities, as fine as the network's input.
        confidence: mean probability within each organ, 0..1; 0 where it was not found or is not trusted.
    """

    labels: tuple[Label, ...]
    probabilities: Tensor
    grid: ImageGrid
    confidence: tuple[float, ...]

    @property
    def trusted(self) -> tuple[int, ...]:
        """Channels that may guide."""
        return tuple(index for index, confidence in enumerate(self.confidence) if confidence > 0)

    def label_map(self, grid: ImageGrid | None = None) -> LabelMap:
        """The organs, on another grid if one is given: where one is likelier than not, the likeliest one."""
        grid = grid or self.grid
        shares = self.probabilities
        if grid != self.grid:
            shares = fields.regrid(shares, self.grid, grid)
        best, index = shares[0].max(dim=0)
        values = torch.where(best > 0.5, index + 1, 0).to(torch.int16).numpy()
        present = tuple(label for label in self.labels if bool((values == label.value).any()))
        return LabelMap(values, grid, present)


def find_organs(scan: Volume, model: SegmentationModel, monitor: Monitor | None = None) -> FoundOrgans | None:
    """Find the organs that a model knows.

    Args:
        scan: a CT in Hounsfield units.
        model: the network with its card.
        monitor: progress and cancellation.

    Returns:
        What was found; None where the scan is no CT, or shows no organ that can be trusted.
    """
    monitor = monitor or Monitor()
    if not looks_like_ct(scan.array):
        return None
    grid = model.grid_for(scan.grid)
    image = _low_passed(scan, grid, model.card.outside)
    monitor.check()
    probabilities = model.probabilities(image)[0, 1:]
    coarse = grid.coarser(2)
    kept, confidence, cut = [], [], []
    inside = _scanned(scan.grid, coarse)
    for channel in probabilities.numpy():
        monitor.check()
        part, mean, at_end = _largest_part(channel, inside)
        kept.append(part)
        confidence.append(mean)
        cut.append(at_end)
    plausible = _plausible(model.card.labels, kept, confidence, cut, coarse)
    if not any(plausible):
        return None
    found = [part if good else np.zeros_like(part) for part, good in zip(kept, plausible, strict=True)]
    fine = fields.warp(torch.from_numpy(np.stack(found))[None], coarse, fields.identity(grid))
    for label, share in zip(model.card.labels, fine[0].numpy(), strict=True):
        monitor.check()
        if label.name in OUTLINED_AT:
            share[:] = sharpen(share, image[0, 0].numpy(), model.card.spacing_mm, OUTLINED_AT[label.name])
    return FoundOrgans(
        labels=model.card.labels,
        probabilities=fine,
        grid=grid,
        confidence=tuple(mean if good else 0.0 for mean, good in zip(confidence, plausible, strict=True)),
    )


def looks_like_ct(values: npt.NDArray[np.float32]) -> bool:
    """True if intensities can be Hounsfield units of a body: soft tissue near water, and fat or air below it."""
    sample = values.ravel()[:: max(1, values.size // 200_000)]
    soft = np.mean((sample > _SOFT_HU[0]) & (sample < _SOFT_HU[1]))
    fat = np.mean((sample > _FAT_HU[0]) & (sample < _FAT_HU[1]))
    air = np.mean((sample > _AIR_HU[0]) & (sample < _AIR_HU[1]))
    return bool(soft > _LEAST_SHARE and max(fat, air) > _LEAST_SHARE and sample.max() < 32_000)


def _low_passed(scan: Volume, grid: ImageGrid, outside: float) -> Tensor:
    """The scan on a coarser grid, averaged over about its voxels before."""
    image, source = pooled(scan, grid)
    return fields.warp(image, source, fields.identity(grid), fill=outside)


def _scanned(scan: ImageGrid, grid: ImageGrid) -> npt.NDArray[np.bool_]:
    """Cells whose centers and neighbors all lie within the scan, ``(D, H, W)``."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij")
    inside = scan.contains(grid.to_physical(np.stack((x, y, z), axis=-1)))
    return np.asarray(ndimage.binary_erosion(inside))


def _largest_part(
    probability: npt.NDArray[np.float32], inside: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float32], float, bool]:
    """One organ's largest connected part with its soft rim, its mean probability, and whether the scan cuts it."""
    labels, count = ndimage.label(probability > 0.5)
    if count == 0:
        return np.zeros_like(probability), 0.0, False
    largest = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    near = ndimage.binary_dilation(largest, iterations=_MARGIN_CELLS)
    at_end = bool((largest & ~inside).any())
    return np.where(near, probability, 0).astype(np.float32), float(probability[largest].mean()), at_end


def _plausible(
    labels: tuple[Label, ...],
    parts: list[npt.NDArray[np.float32]],
    confidence: list[float],
    cut: list[bool],
    grid: ImageGrid,
) -> list[bool]:
    """Which organs are sure enough and of a size that an adult's can have; one that is cut may be smaller."""
    good = []
    for label, part, mean, at_end in zip(labels, parts, confidence, cut, strict=True):
        volume = float((part > 0.5).sum()) * grid.voxel_volume / 1000
        least, most = SIZES_ML.get(label.name, (20.0, 20_000.0))
        good.append(mean >= _LEAST_CONFIDENCE and (least / 4 if at_end else least) <= volume <= most)
    return good


OUTLINED_AT = {"liver": 0.6, "spleen": 0.5, "right kidney": 0.35, "left kidney": 0.35}
"""Organs that the scan's intensities outline, and the network's probability there. At a half it draws livers too
large (by 2 to 13 %) and kidneys too small (by 7 to 19 %): on the development scans, each left out of the training."""

SIZES_ML = {
    "liver": (400.0, 5000.0),
    "spleen": (30.0, 2000.0),
    "right kidney": (40.0, 600.0),
    "left kidney": (40.0, 600.0),
    "lungs": (300.0, 10_000.0),
    "bone": (100.0, 15_000.0),
}
"""Volumes (ml) that organs of adults have, sick ones included."""
