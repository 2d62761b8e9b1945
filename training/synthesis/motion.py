"""Random large deformations with exact enough inverses: affine, diffeomorphic at several scales, breathing, sliding.

A :class:`Motion` maps the points of a scan to those of the reference in which a patient was painted. Velocities are
integrated by the engine's scaling and squaring, forward and backward, so that the true map between two scans of one
patient is known: fixed -> reference -> moving.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.device import constant
from DeepLargeDeformRegLib.engine.fields import DisplacementField
from torch import Tensor

from .draw import Draw, blur, ends, smooth_noise

SQUARINGS = 7  # 1/128 of the velocity: no step folds, even across a sliding wall
Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Motion:
    """A map from a scan to the reference and back (mm), inverse to each other up to a tenth of their voxels."""

    forward: DisplacementField
    backward: DisplacementField

    @classmethod
    def of(cls, velocity: DisplacementField, matrix: Matrix) -> Motion:
        """First the flow of a velocity (mm), then an affine map (4, 4)."""
        flow = fields.exponentiate(velocity, SQUARINGS)
        back = fields.exponentiate(DisplacementField(-velocity.displacement, velocity.grid), SQUARINGS)
        device = velocity.displacement.device
        inverse = fields.from_affine(np.linalg.inv(matrix), velocity.grid, device)
        return cls(fields.compose_affine(matrix, flow), fields.compose(back, inverse))

    def on(self, grid: ImageGrid) -> Placement:
        """Where the voxels of a scan lie in the reference."""
        volume = fields.jacobian_determinant(self.forward)
        identity = fields.identity(grid, device=volume.device)
        sampled = fields.warp(volume, self.forward.grid, identity, padding="border")[0, 0]
        return Placement(fields.resample(self.forward, grid), sampled)


@dataclass(frozen=True, eq=False)
class Placement:
    """A scan's voxels in the reference.

    Args:
        field: from the scan to the reference, on the scan's grid.
        volume: of each voxel there, in units of its volume in the scan, ``(D, H, W)``.
    """

    field: DisplacementField
    volume: Tensor

    def denser(self, factor: float) -> Placement:
        """The same place, all of it compressed by a factor that the field does not show."""
        return Placement(self.field, self.volume * factor)


@dataclass(frozen=True, kw_only=True)
class MotionSettings:
    """How far scans are deformed at most; each pair takes a part of it, see :meth:`scaled`.

    Args:
        rotation_deg: largest rotation about each axis.
        shift_mm: largest shift along each axis.
        scale: largest change of size along each axis, as a share.
        waves: pairs of a feature's width and the standard deviation of its displacement, both mm.
        breathing_mm: largest motion of the diaphragm, as an amplitude.
    """

    rotation_deg: float = 8.0
    shift_mm: float = 12.0
    scale: float = 0.08
    waves: tuple[tuple[float, float], ...] = ((160.0, 7.0), (80.0, 4.0), (40.0, 1.2))
    breathing_mm: float = 30.0

    def scaled(self, factor: float, of_waves: float = 1.0) -> MotionSettings:
        """All of it times a factor, waves times another one besides."""
        return MotionSettings(
            rotation_deg=self.rotation_deg * factor,
            shift_mm=self.shift_mm * factor,
            scale=self.scale * factor,
            waves=tuple((width, factor * of_waves * size) for width, size in self.waves),
            breathing_mm=self.breathing_mm * factor,
        )


def true_field(fixed: Placement, moving: Motion) -> DisplacementField:
    """The map from the fixed to the moving scan of one patient, on the fixed scan's grid."""
    return fields.compose(moving.backward, fixed.field)


def random_affine(draw: Draw, grid: ImageGrid, settings: MotionSettings) -> Matrix:
    """Rotation, scaling and shift about the middle of the grid, (4, 4)."""
    linear = np.eye(3)
    for axis in range(3):
        angle = math.radians(draw.uniform(-settings.rotation_deg, settings.rotation_deg))
        i, j = (other for other in range(3) if other != axis)
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = math.cos(angle)
        turn[i, j], turn[j, i] = -math.sin(angle), math.sin(angle)
        linear = linear @ turn
    linear = linear @ np.diag([1 + draw.uniform(-settings.scale, settings.scale) for _ in range(3)])
    center = np.array(grid.center)
    shift = np.array([draw.uniform(-settings.shift_mm, settings.shift_mm) for _ in range(3)])
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = center + shift - linear @ center
    return matrix


def random_velocity(draw: Draw, grid: ImageGrid, waves: Sequence[tuple[float, float]]) -> DisplacementField:
    """Smooth random velocity of several scales; each wave's strength varies from none to twice the given one."""
    total = torch.zeros((3, *grid.shape), device=draw.device)
    for width, displacement in waves:
        total += draw.uniform(0, 2) * displacement / math.sqrt(3) * smooth_noise(draw, grid, width, 3)
    return DisplacementField(total[None], grid)


def breathing_velocity(draw: Draw, lungs: Tensor, grid: ImageGrid, amplitude_mm: float) -> DisplacementField:
    """Breathing: the diaphragm goes down and up, the chest wall out and in, lungs slide along the wall.

    Craniocaudal motion grows from the lungs' tips to their bases and dies away below; ribs and spine take no part in
    it, so it changes within a voxel or two at the chest wall (sliding), which the mask's blur sets. Sign and size are
    drawn: positive amplitudes are of inspiration.

    Args:
        draw: random numbers.
        lungs: what moves with the diaphragm, ``(D, H, W)``, 0 or 1: lungs, and organs under them.
        grid: its grid, axis aligned.
        amplitude_mm: of the diaphragm.
    """
    where = lungs > 0.5
    x, y, z = fields.points(grid, lungs.device)[0]
    (right, left), (front, back), (low, high) = (
        (origin + spacing * first, origin + spacing * last)
        for origin, spacing, (first, last) in zip(grid.origin, grid.spacing, ends(where), strict=True)
    )
    height = max(high - low, 1.0)
    depth = ((high - z) / height).clamp(0, 1.4)
    # Backwards lungs move more than in front.
    toward_back = ((y - front) / max(back - front, 1.0)).clamp(0, 1)
    profile = depth ** draw.uniform(1.0, 1.8) * (0.6 + 0.4 * toward_back)
    inside = blur(lungs.float(), 0.7 * max(grid.spacing), grid)
    amplitude = amplitude_mm * draw.choice((-1.0, 1.0)) * draw.uniform(0.2, 1.0)
    velocity = torch.zeros((3, *grid.shape), device=lungs.device)
    velocity[2] = -amplitude * profile * inside
    wall = blur(where.float(), 12.0, grid)  # the wall moves out with the lungs, and dies away beyond it
    expansion = amplitude * draw.uniform(0.1, 0.4)
    velocity[1] = expansion * ((y - back) / max(back - front, 1.0)).clamp(-1.2, 0) * wall
    middle = (left + right) / 2
    velocity[0] = expansion * 0.5 * ((x - middle) / max((left - right) / 2, 1.0)).clamp(-1.2, 1.2) * wall
    return DisplacementField(velocity[None], grid)


def sliding_velocity(draw: Draw, inside: Tensor, grid: ImageGrid, displacement_mm: float) -> DisplacementField:
    """What is inside a smooth wall slides along it as a whole, with a wave of its own; what is outside stays."""
    weight = blur(inside.float(), 0.7 * max(grid.spacing), grid)
    direction = (draw.uniform(-0.3, 0.3), draw.uniform(-0.5, 0.5), draw.uniform(-1, 1))
    wave = smooth_noise(draw, grid, 120.0, 3) * displacement_mm * 0.3
    whole = constant([displacement_mm * part for part in direction], wave)[:, None, None, None]
    return DisplacementField(((whole + wave) * weight)[None], grid)


def add(first: DisplacementField, *others: DisplacementField) -> DisplacementField:
    """Sum of velocities on one grid."""
    total = first.displacement
    for other in others:
        total = total + other.displacement
    return DisplacementField(total, first.grid)
