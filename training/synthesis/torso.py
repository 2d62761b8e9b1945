"""What the painted abdomens and thoraxes share: a canvas of tissues, the body wall with its ribs, the spine."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, field

import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine import fields
from torch import Tensor

from .draw import Draw, blur, ends, grain, smooth_noise
from .tissues import Tissue, texture_strength

Box = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Overlay:
    """Structures thinner than voxels: the share of each voxel ``(D, H, W)`` that they fill with a tissue."""

    share: Tensor
    tissue: Tissue


@dataclass(frozen=True, eq=False, kw_only=True)
class Patient:
    """A painted patient, from which scans of any phase and deformation are rendered.

    Args:
        grid: axis-aligned LPS.
        tissues: :class:`Tissue` of each voxel, ``(D, H, W)`` uint8.
        labels: structure of each voxel, ``(D, H, W)`` uint8, 0 for none; values as in the abdomen and the thorax.
        texture: of deviation 1, ``(D, H, W)``.
        overlays: in the order in which they are laid on.
        breathing: what moves with the diaphragm, ``(D, H, W)`` bool.
    """

    grid: ImageGrid
    tissues: Tensor
    labels: Tensor
    texture: Tensor
    overlays: tuple[Overlay, ...]
    breathing: Tensor

    def attenuation(self, table: Tensor) -> Tensor:
        """HU of each voxel ``(D, H, W)``, given those of each tissue (see :func:`..tissues.attenuation`)."""
        tissues = self.tissues.long()
        values = table[tissues] + texture_strength(tissues.device)[tissues] * self.texture
        for overlay in self.overlays:
            values = torch.lerp(values, table[int(overlay.tissue)].expand_as(values), overlay.share.float())
        return values

    def lung(self) -> Tensor:
        """Where there is lung, ``(D, H, W)`` bool."""
        return self.tissues == int(Tissue.LUNG)


@dataclass(frozen=True, eq=False)
class ScannedPatient:
    """A patient of whom there is a real scan: deformed like a painted one, but its attenuation is as it was.

    Args:
        grid: axis-aligned LPS.
        image: HU, ``(D, H, W)``.
        labels: structure of each voxel, ``(D, H, W)`` uint8.
        breathing: what moves with the diaphragm, ``(D, H, W)`` bool.
        lungs: ``(D, H, W)`` bool, where they are known.
    """

    grid: ImageGrid
    image: Tensor
    labels: Tensor
    breathing: Tensor
    _: KW_ONLY
    lungs: Tensor | None = None

    def attenuation(self, table: Tensor) -> Tensor:
        """HU of each voxel ``(D, H, W)``; the table of tissues has no say."""
        return self.image

    def lung(self) -> Tensor:
        """Where there is lung, ``(D, H, W)`` bool: nowhere if that is unknown."""
        return torch.zeros_like(self.breathing) if self.lungs is None else self.lungs


@dataclass(eq=False, kw_only=True)
class Canvas:
    """Tissues and labels in the making; later paint covers earlier paint."""

    grid: ImageGrid
    draw: Draw
    tissues: Tensor = field(init=False)
    labels: Tensor = field(init=False)
    overlays: list[Overlay] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tissues = torch.zeros(self.grid.shape, dtype=torch.int64, device=self.draw.device)
        self.labels = torch.zeros_like(self.tissues)
        where = fields.points(self.grid, self.draw.device)[0]
        # Each axis by itself: shapes broadcast, and planes and ellipses cost nothing.
        self.x, self.y, self.z = where[0, :1, :1, :], where[1, :1, :, :1], where[2, :, :1, :1]

    def paint(self, where: Tensor, tissue: Tissue, label: int = 0) -> None:
        """Fill a mask ``(D, H, W)`` (or one that broadcasts to it) with a tissue; it takes the label with it."""
        self.tissues = torch.where(where, int(tissue), self.tissues)
        self.labels = torch.where(where, label, self.labels)

    def ellipsoid(
        self,
        center: tuple[float, float, float],
        axes: tuple[float, float, float],
        tilt: float = 0.0,
        rough: float = 0.0,
    ) -> Tensor:
        """Radius of each voxel in units of an ellipsoid's: below 1 inside.

        Args:
            center: LPS mm.
            axes: half lengths along x, y, z in mm.
            tilt: mm that x moves for each mm of z.
            rough: deviation of the radius by smooth noise.
        """
        dz = self.z - center[2]
        dx, dy = self.x - center[0] - tilt * dz, self.y - center[1]
        radius = ((dx / axes[0]) ** 2 + (dy / axes[1]) ** 2 + (dz / axes[2]) ** 2).sqrt()
        if rough:
            radius = radius + rough * smooth_noise(self.draw, self.grid, max(axes))[0]
        return radius

    def box(self, mask: Tensor) -> Box:
        """Ends of a mask ``(D, H, W)`` along x, y and z, LPS mm."""
        axes = zip(self.grid.origin, self.grid.spacing, ends(mask), strict=True)
        x, y, z = ((origin + spacing * first, origin + spacing * last) for origin, spacing, (first, last) in axes)
        return x, y, z

    def tube(self, x: float, y: float, radius: float, wobble: float = 4.0) -> Tensor:
        """Mask of a vessel along z that wanders by a few mm."""
        wander = smooth_noise(self.draw, self.grid.coarser((self.grid.size[0], self.grid.size[1], 1)), 90.0, 2)
        dx, dy = self.x - x - wobble * wander[0], self.y - y - wobble * wander[1]
        return dx**2 + dy**2 < radius**2

    def finish(self, breathing: Tensor) -> Patient:
        """The patient as painted so far."""
        texture = grain(self.draw, self.grid, (4.0, 9.0, 22.0), (1.0, 0.7, 0.5))
        overlays = tuple(Overlay(overlay.share.half(), overlay.tissue) for overlay in self.overlays)
        tissues, labels = self.tissues.to(torch.uint8), self.labels.to(torch.uint8)
        return Patient(
            grid=self.grid, tissues=tissues, labels=labels, texture=texture, overlays=overlays, breathing=breathing
        )


@dataclass(frozen=True, eq=False)
class Cavity:
    """The space within the body wall.

    Args:
        depth: mm from the wall, ``(D, H, W)``; positive inside, about right near the wall.
        center: of the torso, LPS mm (x, y).
        half: half width and half depth, mm.
    """

    depth: Tensor
    center: tuple[float, float]
    half: tuple[float, float]

    @property
    def inside(self) -> Tensor:
        """Mask ``(D, H, W)``."""
        return self.depth > 0


def cavity_around(
    canvas: Canvas,
    contents: Tensor,
    center: tuple[float, float],
    half: tuple[float, float],
    taper: float,
    margin_mm: float = 6.0,
) -> Cavity:
    """A torso of roughly elliptic section that contains some organs with a margin.

    Args:
        canvas: where it will be painted.
        contents: mask of what must be within, ``(D, H, W)``.
        center: LPS mm (x, y).
        half: half width and half depth in mm.
        taper: share by which it gets narrower over 100 mm upwards.
        margin_mm: between the contents and the wall.
    """
    draw, grid = canvas.draw, canvas.grid
    width = (1 - taper * (canvas.z - grid.center[2]) / 100).clamp(0.6, 1.3)
    power = draw.uniform(2.1, 2.8)
    dx = ((canvas.x - center[0]) / (half[0] * width)).abs()
    dy = ((canvas.y - center[1]) / (half[1] * width)).abs()
    level = (dx**power + dy**power).clamp_min(1e-6) ** (1 / power)
    depth = (1 - level) * min(half) + 2.0 * smooth_noise(draw, grid, 90.0)[0]
    near = blur(contents.float(), 9.0, grid)
    # Of a straight border the blurred mask is the normal distribution's integral; that gives its distance back.
    distance = 9 * math.sqrt(2) * torch.erfinv(2 * near.clamp(0.005, 0.995) - 1)
    fade = (1 - near / 0.05).clamp(0, 1)  # and where it knows no more, the ellipse alone holds
    return Cavity(torch.maximum(depth, distance + margin_mm - 80 * fade), center, half)


def paint_wall(canvas: Canvas, cavity: Cavity) -> None:
    """Skin, fat, muscle; ribs follow with :func:`paint_ribs` and the spine with :func:`paint_spine`."""
    draw = canvas.draw
    lean = draw.uniform(0, 1) ** 1.5
    muscle = draw.uniform(9, 20)
    fat = 4 + 30 * lean * (1 + 0.25 * smooth_noise(draw, canvas.grid, 120.0)[0]).clamp(0.4, 1.6)
    outside = -cavity.depth
    canvas.paint(outside < muscle + fat + 3, Tissue.SKIN)
    canvas.paint(outside < muscle + fat, Tissue.FAT)
    layers = outside < muscle
    canvas.paint(layers, Tissue.MUSCLE)
    # Muscles of the wall lie in layers with fat between them.
    between = (outside - 0.62 * muscle).abs() < 1.0
    canvas.paint(layers & between & (smooth_noise(draw, canvas.grid, 50.0)[0] > -0.2), Tissue.FAT)
    canvas.paint(cavity.inside, Tissue.FAT)


def paint_ribs(canvas: Canvas, cavity: Cavity, margin: float) -> None:
    """Ribs in the wall: they run down from the spine to the front.

    Args:
        canvas: where to paint.
        cavity: the space that they surround.
        margin: LPS z (mm) below which there are none at the sides; in front the margin is higher.
    """
    draw = canvas.draw
    dx, dy = canvas.x - cavity.center[0], canvas.y - cavity.center[1]
    # 0 at the spine, pi in front.
    angle = torch.atan2(dx.abs() / cavity.half[0], dy / cavity.half[1])
    pitch = draw.uniform(26, 34)
    fall = draw.uniform(26, 44)
    height = canvas.z + fall * angle + 2.5 * smooth_noise(draw, canvas.grid, 60.0)[0]
    phase = torch.remainder(height / pitch + draw.uniform(0, 1), 1.0)
    thickness = draw.uniform(0.36, 0.5)
    outside = -cavity.depth
    arch = margin + 70 * (angle / math.pi) ** 3
    present = (canvas.z > arch) & (angle < draw.uniform(2.5, 2.9))
    middle = (phase - thickness / 2).abs() / (thickness / 2)  # 0 in the middle of a rib, 1 at its rim
    bow = (outside - 5).abs() / 5
    rib = (middle**2 + bow**2 < 1) & present
    canvas.paint(rib, Tissue.BONE)
    canvas.paint((middle**2 + bow**2 < 0.3) & present, Tissue.MARROW)
    sternum = (dx.abs() < draw.uniform(14, 20)) & (dy < 0) & (outside > 1) & (outside < 10)
    canvas.paint(sternum & (canvas.z > arch + draw.uniform(10, 30)), Tissue.MARROW)


def paint_spine(canvas: Canvas, cavity: Cavity) -> tuple[float, float]:
    """Vertebrae with discs, canal and processes, and the muscles beside them.

    Returns:
        LPS x and y (mm) of the middle of the vertebral bodies.
    """
    draw = canvas.draw
    x = cavity.center[0] + draw.uniform(-6, 6)
    width, depth = draw.uniform(18, 24), draw.uniform(14, 18)
    y = cavity.center[1] + cavity.half[1] - depth * draw.uniform(0.2, 0.9)
    curve = draw.uniform(-10, 10) * torch.sin((canvas.z - canvas.grid.center[2]) / draw.uniform(70, 120))
    dx, dy = canvas.x - x, canvas.y - y - curve
    canal = (dx / draw.uniform(9, 12)) ** 2 + ((dy - depth - 8) / 8) ** 2
    ring = (dx / 19) ** 2 + ((dy - depth - 9) / 15) ** 2
    pitch = draw.uniform(26, 36)
    phase = torch.remainder((canvas.z + 0.25 * dy) / pitch + draw.uniform(0, 1), 1.0)
    beside = (dx.abs() > 4) & (((dx.abs() - 30) / 27) ** 2 + ((dy - depth - 18) / 21) ** 2 < 1)
    canvas.paint(beside & (cavity.depth < 30), Tissue.MUSCLE)
    body = (dx / width) ** 2 + (dy / depth) ** 2
    waist = 1 - 0.12 * torch.sin(math.pi * phase) ** 2
    is_disc = phase < 0.2
    bone = body < waist
    canvas.paint(bone, Tissue.BONE)
    canvas.paint(body < 0.78 * waist, Tissue.MARROW)
    canvas.paint(bone & is_disc & (body < 0.97), Tissue.DISC)
    lamina = (ring < 1) & (phase > 0.15)
    canvas.paint(lamina, Tissue.BONE)
    spinous = (dx.abs() < 3.5) & (dy > depth + 10) & (dy < depth + 10 + 32) & (phase > 0.35)
    canvas.paint(spinous, Tissue.BONE)
    wings = ((dy - depth - 4).abs() < 4) & (dx.abs() < 42) & (phase > 0.5) & (phase < 0.8)
    canvas.paint(wings, Tissue.BONE)
    canvas.paint(canal < 1, Tissue.CORD)
    return x, y


def paint_table(canvas: Canvas, cavity: Cavity) -> None:
    """The scanner's table: a thin curved line below the patient's back."""
    draw = canvas.draw
    back = cavity.center[1] + cavity.half[1] + draw.uniform(40, 65)
    line = canvas.y - back + draw.uniform(0.0004, 0.0012) * (canvas.x - cavity.center[0]) ** 2
    canvas.paint((line.abs() < 2.5) & (canvas.tissues == int(Tissue.AIR)), Tissue.STOOL)
