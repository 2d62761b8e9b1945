"""Scans and label maps through a displacement field."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from ...core.geometry import ImageGrid
from ...core.images import LabelMap, Scan, Volume
from ..device import to_device
from .field import DisplacementField, resample, warp
from .slabs import by_slabs, slabs

AnyField = DisplacementField | Callable[[ImageGrid], DisplacementField]
"""A field, or what gives its displacements on any grid, as :func:`.transform_files.sampler` and ``identity`` do."""


def as_tensor(volume: Volume, device: torch.device | str | None = None) -> torch.Tensor:
    """Intensities of a scan as ``(1, 1, D, H, W)`` float32; on the CPU it shares memory with the scan."""
    image = torch.from_numpy(volume.array)[None, None]
    return image if device is None else to_device(image, torch.device(device))


def counted_voxels(volume: Volume, device: torch.device | str | None = None) -> torch.Tensor:
    """1 where a scan has data that count in the similarity, 0 where a mask leaves them out, ``(1, 1, D, H, W)``."""
    if volume.counted is None:
        return torch.ones((1, 1, *volume.grid.shape), device=device)
    counted = torch.from_numpy(volume.counted)[None, None]
    return (counted if device is None else to_device(counted, torch.device(device))).to(torch.float32)


def averaged(volume: Volume, factors: Sequence[int], window: tuple[float, float] | None = None) -> torch.Tensor:
    """Means over the cells of ``grid.coarser``, of a scan clipped to a window, ``(1, 1, D, H, W)`` of the cells.

    Args:
        volume: the scan.
        factors: voxels along an edge of a cell, in the order (x, y, z).
        window: lowest and highest intensity; None takes them as they are.
    """
    step = factors[2]
    image = as_tensor(volume)
    parts = []
    for place in slabs(image[0, 0, ::step].shape, image):
        part = image[:, :, place.start * step : place.stop * step]
        if window is not None:
            part = part.clamp(*window)
        if part.shape[2] >= step:
            parts.append(F.avg_pool3d(part, tuple(factors[::-1])) if max(factors) > 1 else part)
    return torch.cat(parts, dim=2) if len(parts) > 1 else parts[0]


def warp_volume(moving: Volume, field: AnyField, grid: ImageGrid) -> Volume:
    """Moving scan on a grid through a field, trilinear; outside of the scan its smallest intensity."""
    warped = _through(field, as_tensor(moving), moving.grid, grid, fill=float(moving.array.min()))
    return Volume(warped[0, 0].numpy(), grid)


def warp_labels(labels: LabelMap, field: AnyField, grid: ImageGrid) -> LabelMap:
    """Label map on a grid through a field, nearest neighbor; names, colors and overlaps are kept."""
    values = np.array(sorted({0, *(label.value for label in labels.labels)}))

    def warped(array: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
        # Label values above 2^24 would be rounded by float32; positions among the labels are small.
        positions = torch.empty(array.shape)
        for place in slabs(array.shape, positions):
            found = np.searchsorted(values, array[place]).clip(0, len(values) - 1)
            positions[place] = torch.from_numpy(found)
        moved = _through(field, positions[None, None], labels.grid, grid, mode="nearest")[0, 0].numpy()
        result = np.empty(grid.shape, array.dtype)
        for place in slabs(grid.shape, positions):
            result[place] = values[moved[place].astype(int)]
        return result

    return LabelMap(warped(labels.array), grid, labels.labels, tuple(warped(layer) for layer in labels.layers))


def warp_scan(scan: Scan, field: DisplacementField, grid: ImageGrid) -> Scan:
    """A moving scan on a grid through a field, with its segmentation if it has one; its landmarks stay behind."""
    labels = None if scan.labels is None else warp_labels(scan.labels, field, grid)
    return Scan(warp_volume(scan.volume, field, grid), labels)


def _through(
    field: AnyField,
    image: torch.Tensor,
    image_grid: ImageGrid,
    grid: ImageGrid,
    mode: str = "bilinear",
    fill: float = 0.0,
) -> torch.Tensor:
    """An image ``(1, 1, d, h, w)`` on a grid; a field that is not there yet is made slab by slab."""
    if isinstance(field, DisplacementField) and field.grid == grid:
        return warp(image, image_grid, field, mode, fill=fill)

    def warped(part: ImageGrid, _: slice) -> torch.Tensor:
        on_part = resample(field, part) if isinstance(field, DisplacementField) else field(part)
        return warp(image, image_grid, on_part, mode, fill=fill)

    return by_slabs(grid, image, warped)
