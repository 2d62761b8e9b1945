"""The numerical inverse of a displacement field."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...core.geometry import ImageGrid
from ...core.progress import Monitor
from .field import DisplacementField, identity, lengths, warp

SLAB_VOXELS = 1 << 18
READ_EVERY = 4  # steps on a GPU


@dataclass(frozen=True, eq=False)
class Inverse:
    """Result of :func:`invert`: the inverse and, per voxel ``(N, 1, D, H, W)``, ``|y(y^-1(x)) - x|`` in mm."""

    field: DisplacementField
    residual_mm: Tensor


def invert(
    field: DisplacementField,
    grid: ImageGrid | None = None,
    iterations: int = 50,
    tolerance_mm: float = 0.01,
    monitor: Monitor | None = None,
) -> Inverse:
    """Inverse map by the fixed point ``v <- -u(x + v)`` (Chen et al., Med. Phys. 2008).

    Slab by slab along z, as no voxel's inverse depends on another's: a slab ends when its own voxels are found, and
    fits into a processor's cache. A GPU takes all at once, and some steps more than it needs, as it idles while the
    processor reads the residual.

    Args:
        field: the map to invert.
        grid: where the inverse is wanted (the moving scan's grid); the field's own by default.
        iterations: most fixed-point steps.
        tolerance_mm: the iteration ends when no voxel is moved farther than this by a step.
        monitor: asked for cancellation at every step of every slab.

    Returns:
        The inverse, and the distance by which the map misses each voxel when applied after it. Where the map folds
        no inverse exists, the iteration does not converge there and the residual says so.
    """
    monitor = monitor or Monitor()
    target = field.grid if grid is None else grid
    u = field.displacement
    on_processor = u.device.type == "cpu"
    planes = max(1, SLAB_VOXELS // (target.size[0] * target.size[1])) if on_processor else target.size[2]
    displacement, residual = (u.new_empty((len(u), count, *target.shape)) for count in (3, 1))
    for start in range(0, target.size[2], planes):
        part = _invert_slab(field, target.planes(start, planes), iterations, tolerance_mm, monitor)
        displacement[:, :, start : start + planes] = part.field.displacement
        residual[:, :, start : start + planes] = part.residual_mm
    return Inverse(DisplacementField(displacement, target), residual)


def _invert_slab(
    field: DisplacementField, target: ImageGrid, iterations: int, tolerance_mm: float, monitor: Monitor
) -> Inverse:
    inverse = identity(target, field.displacement.shape[0], field.displacement.device, field.displacement.dtype)
    residual = inverse.displacement[:, :1]
    every = 1 if field.displacement.device.type == "cpu" else READ_EVERY
    for step in range(max(iterations, 1)):
        monitor.check()
        moved = warp(field.displacement, field.grid, inverse, padding="border")
        error = inverse.displacement + moved
        residual = lengths(error)
        if step % every == every - 1 and float(residual.max()) <= tolerance_mm:
            break
        # Damped where the undamped step would overshoot: plain iteration diverges for large expansions.
        inverse = DisplacementField(inverse.displacement - 0.7 * error, target)
    else:
        moved = warp(field.displacement, field.grid, inverse, padding="border")
        residual = lengths(inverse.displacement + moved)
    return Inverse(inverse, residual)
