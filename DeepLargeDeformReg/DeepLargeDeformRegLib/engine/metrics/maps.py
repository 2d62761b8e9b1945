"""Maps of a registration on the fixed scan's grid: where it moves, where it is doubtful."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from ...core.display import MAPS
from ...core.geometry import ImageGrid
from ...core.images import Volume
from ...core.progress import Monitor
from .. import fields
from ..fields import DisplacementField
from ..fields.slabs import by_slabs

NOT_DEFINED = -1.0
"""Value where a map is not defined: all maps are positive, and viewers cope badly with NaN."""


def all_maps(
    field: DisplacementField, measured: Mapping[str, Volume], grid: ImageGrid, monitor: Monitor | None = None
) -> Iterator[tuple[str, Volume]]:
    """The maps of :data:`~...core.display.MAPS` that there are with their names, on one grid, one after the other.

    Args:
        field: the registration, mm.
        measured: maps on grids of their own, NaN where they are not defined, as ``Measured.maps`` has them.
        grid: where they are wanted, the fixed scan's.
        monitor: asked for cancellation at every map.
    """
    monitor = monitor or Monitor()
    for name in MAPS:
        monitor.check()
        if name == "displacement_mm":
            yield name, displacement(field, grid)
        elif name in measured:
            yield name, on_grid(measured[name], grid, "border" if name == "uncertainty_mm" else "zeros")


def displacement(field: DisplacementField, grid: ImageGrid) -> Volume:
    """Length of the displacement, mm."""

    def lengths(part: ImageGrid, place: slice) -> Tensor:
        if field.grid == grid:
            return fields.lengths(field.displacement[:, :, place])
        return fields.lengths(fields.resample(field, part).displacement)

    return Volume(by_slabs(grid, field.displacement, lengths)[0, 0].numpy(), grid)


def on_grid(volume: Volume, grid: ImageGrid, padding: str = "zeros") -> Volume:
    """A map on another grid, trilinear among the voxels where it is defined; -1 where most of them are not.

    Args:
        volume: the map, NaN where it is not defined.
        grid: where it is wanted.
        padding: ``"border"`` if the map goes on beyond its border, ``"zeros"`` if it is not defined there.
    """
    values = torch.from_numpy(np.nan_to_num(volume.array))[None, None]
    defined = torch.from_numpy(np.isfinite(volume.array).astype(np.float32))[None, None]

    def mapped(part: ImageGrid, _: slice) -> Tensor:
        total, weight = (fields.regrid(one, volume.grid, part, padding) for one in (values, defined))
        return torch.where(weight >= 0.5, total / weight.clamp_min(0.5), NOT_DEFINED)

    return Volume(by_slabs(grid, values, mapped)[0, 0].numpy(), grid)
