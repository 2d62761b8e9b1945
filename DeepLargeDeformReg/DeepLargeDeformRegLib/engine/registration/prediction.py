"""The network's input of two scans, and its field between them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ...core.geometry import ImageGrid
from ...core.images import Pair
from ...core.progress import Monitor
from ...core.sentences import marked as _
from .. import fields
from ..anatomy.organs import looks_like_ct
from ..fields import DisplacementField, as_tensor
from ..models import ModelCard, RegistrationModel


def predict(
    raw: Pair, linear: npt.NDArray[np.float64], region: ImageGrid, model: RegistrationModel, monitor: Monitor
) -> DisplacementField:
    """The network's field on a grid of its own; where the network sees nothing, its rim goes on.

    Args:
        raw: both scans in their own intensities.
        linear: homogeneous matrix (4, 4), fixed to moving LPS mm, which the field comes before.
        region: working grid.
        model: the network.
        monitor: progress and cancellation.
    """
    grid = network_grid(region, model.card, raw.fixed.grid)
    onto_voxels = _onto_voxels(linear, grid, raw.moving.grid)
    fixed, moving = _inputs(raw, onto_voxels, grid, model.card)
    field = model.predict(fixed, moving, grid, monitor)
    return field if onto_voxels is linear else fields.compose_affine(np.linalg.inv(linear) @ onto_voxels, field)


def predict_backward(
    raw: Pair, linear: npt.NDArray[np.float64], region: ImageGrid, model: RegistrationModel, monitor: Monitor
) -> DisplacementField:
    """The network's field from the moving scan, as it is aligned, to the fixed one; else as :func:`predict`."""
    grid = network_grid(region, model.card, raw.fixed.grid)
    fixed, moving = _inputs(raw, linear, grid, model.card)
    return model.predict(moving, fixed, grid, monitor)


def _inputs(raw: Pair, linear: npt.NDArray[np.float64], grid: ImageGrid, card: ModelCard) -> tuple[Tensor, Tensor]:
    """Both scans on the network's grid, the moving one through its linear alignment."""
    fixed, moving = raw.fixed.volume, raw.moving.volume
    identity, aligned = fields.identity(grid), fields.from_affine(linear, grid)
    return (
        fields.warp(as_tensor(fixed), fixed.grid, identity, fill=card.outside),
        fields.warp(as_tensor(moving), moving.grid, aligned, fill=card.outside),
    )


def network_grid(region: ImageGrid, card: ModelCard, voxels: ImageGrid) -> ImageGrid:
    """The grid of a network's input: axis-aligned, at the card's spacing, on the fixed scan's voxels if they fit.

    It covers the working region, or the middle of one beyond the card's largest grid: a network that predicts shares
    of the extent is wrong on a larger one.
    """
    spacing = np.array(card.spacing_mm)
    corners = region.corners
    low, high = corners.min(axis=0), corners.max(axis=0)
    size = np.ceil((high - low) / spacing).astype(int) + 1
    size = size.clip(card.minimum_size, card.maximum_size)
    origin = (low + high) / 2 - (size - 1) / 2 * spacing
    return ImageGrid.axis_aligned(size.tolist(), spacing.tolist(), origin.tolist()).laid_on(voxels)


def warnings_of_sight(region: ImageGrid, card: ModelCard) -> list[str]:
    """What a user must know of a working region that is larger than the network's grid; nothing if it is not."""
    covered = np.array(network_grid(region, card, region).extent)
    share = float(np.prod(np.minimum(covered / np.ptp(region.corners, axis=0).clip(1e-6), 1.0)))
    if share > 0.98:
        return []
    return [
        _(
            "The network saw {share:.0%} of this region, its middle. Look twice at what lies farther "
            "out, or choose a smaller region of interest around what matters."
        ).format(share=share)
    ]


def warnings_of_modality(pair: Pair, card: ModelCard) -> list[str]:
    """What a user must know of scans that are not of the kind that a network was trained on; nothing if they are."""
    ct = [looks_like_ct(scan.volume.array) for scan in (pair.fixed, pair.moving)]
    if card.modality == "CT" and not all(ct):
        text = _(
            "{title} was trained on CT, but not both scans look like CT in Hounsfield units. Choose another "
            "model, or none, unless you know better."
        )
    elif card.modality == "MR" and any(ct):
        text = _(
            "{title} was trained on MR, but not both scans look like MR: there is CT among them. Choose another "
            "model, or none, unless you know better."
        )
    else:
        return []
    return [text.format(title=card.title)]


def _onto_voxels(linear: npt.NDArray[np.float64], grid: ImageGrid, voxels: ImageGrid) -> npt.NDArray[np.float64]:
    """A translation, changed by at most half a voxel so that the grid's points come upon the moving voxels."""
    if not np.allclose(linear[:3, :3], np.eye(3), atol=1e-9):
        return linear
    moved = replace(grid, origin=tuple(np.add(grid.origin, linear[:3, 3]).tolist()))
    shift = np.eye(4)
    shift[:3, 3] = np.subtract(moved.laid_on(voxels).origin, grid.origin)
    return shift
