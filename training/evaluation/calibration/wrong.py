"""Deliberately wrong registrations, made of a good one: what the verdict must not accept."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.fields import DisplacementField

Wrong = Callable[[DisplacementField, ImageGrid], DisplacementField]
"""Makes a wrong map of a good one (fixed to moving, mm) and the moving scan's grid."""


def identity(field: DisplacementField, moving: ImageGrid) -> DisplacementField:
    """As loaded."""
    return fields.identity(field.grid)


def swapped(field: DisplacementField, moving: ImageGrid) -> DisplacementField:
    """The transform from moving to fixed points in the place of the one from fixed to moving points."""
    return fields.resample(fields.invert(field, moving, iterations=10).field, field.grid)


def mirrored(field: DisplacementField, moving: ImageGrid) -> DisplacementField:
    """Right and left exchanged, center on center."""
    return _flipped(field, moving, 0)


def upside_down(field: DisplacementField, moving: ImageGrid) -> DisplacementField:
    """Head and feet exchanged, center on center."""
    return _flipped(field, moving, 2)


def crumpled(field: DisplacementField, moving: ImageGrid) -> DisplacementField:
    """The good one with displacements of 5 mm that change every 10 mm: it folds."""
    return _disturbed(field, 5.0, 10.0)


def distorted(field: DisplacementField, moving: ImageGrid) -> DisplacementField:
    """The good one with displacements of 8 mm that change every 50 mm: smooth, without a fold, and wrong."""
    return _disturbed(field, 8.0, 50.0)


def slightly_folded(field: DisplacementField, moving: ImageGrid) -> DisplacementField:
    """The good one with a single small fold in the middle."""
    displacement = field.displacement.clone()
    z, y, x = (length // 2 for length in field.grid.shape)
    displacement[0, 0, z - 1 : z + 2, y - 1 : y + 2, x] += 3 * field.grid.spacing[0]
    return DisplacementField(displacement, field.grid)


def shifted(by_mm: float, axis: int) -> Wrong:
    """The good one, some millimeters beside (along an LPS axis): plausible everywhere, and wrong."""

    def make(field: DisplacementField, moving: ImageGrid) -> DisplacementField:
        matrix = np.eye(4)
        matrix[axis, 3] = by_mm
        return fields.compose_affine(matrix, field)

    make.__name__ = f"shifted by {by_mm:g} mm"
    return make


WRONG: Mapping[str, Wrong] = {
    "as loaded": identity,
    "direction swapped": swapped,
    "mirrored": mirrored,
    "upside down": upside_down,
    "crumpled": crumpled,
    "distorted": distorted,
    "6 mm beside": shifted(6.0, 2),
    "10 mm beside": shifted(10.0, 1),
}
"""By name; all of them wrong, some of them a little."""


def _flipped(field: DisplacementField, moving: ImageGrid, axis: int) -> DisplacementField:
    matrix = np.eye(4)
    matrix[axis, axis] = -1.0
    matrix[:3, 3] = np.array(moving.center) - matrix[:3, :3] @ np.array(field.grid.center)
    return fields.from_affine(matrix, field.grid)


def _disturbed(field: DisplacementField, by_mm: float, every_mm: float) -> DisplacementField:
    size = [max(int(edge // every_mm), 2) for edge in field.grid.extent[::-1]]
    noise = torch.randn((1, 3, *size), generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(noise, size=field.grid.shape, mode="trilinear")
    return DisplacementField(field.displacement + by_mm * smooth, field.grid)
