"""Maps of a registration on the fixed scan's grid: where it moves, where it is doubtful."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ...core.display import MAPS
from ...core.geometry import ImageGrid
from ...core.images import Volume
from ...core.progress import Monitor
from .. import fields
from ..fields import DisplacementField

NOT_DEFINED = -1.0
"""Value where a map is not defined: all maps are positive, and viewers cope badly with NaN."""


def all_maps(
    field: DisplacementField, measured: Mapping[str, Volume], grid: ImageGrid, monitor: Monitor | None = None
) -> dict[str, Volume]:
    """The maps of :data:`~...core.display.MAPS` that there are, on one grid.

    Args:
        field: the registration, mm.
        measured: maps on grids of their own, NaN where they are not defined, as ``Measured.maps`` has them.
        grid: where they are wanted, the fixed scan's.
        monitor: asked for cancellation at every map.
    """
    monitor = monitor or Monitor()
    found = {"displacement_mm": displacement(field, grid)}
    for name, volume in measured.items():
        monitor.check()
        found[name] = on_grid(volume, grid)
    return {name: found[name] for name in MAPS if name in found}


def displacement(field: DisplacementField, grid: ImageGrid) -> Volume:
    """Length of the displacement, mm."""
    return Volume(fields.lengths(fields.resample(field, grid).displacement)[0, 0].numpy(), grid)


def on_grid(volume: Volume, grid: ImageGrid) -> Volume:
    """A map on another grid, trilinear among the voxels where it is defined; -1 where most of them are not."""
    place = fields.identity(grid)
    values = torch.from_numpy(volume.array)[None, None]
    defined = torch.isfinite(values)
    weight = fields.warp(defined.to(values.dtype), volume.grid, place)
    total = fields.warp(values.masked_fill(~defined, 0.0), volume.grid, place)
    mapped = torch.where(weight >= 0.5, total / weight.clamp_min(0.5), NOT_DEFINED)
    return Volume(mapped[0, 0].numpy(), grid)
