"""Painted abdomens: a real liver's shape with its Couinaud segments, and everything else drawn around it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from torch import Tensor

from .draw import Draw, blur, cells, random_voxels, smooth_noise, tubes
from .tissues import Tissue
from .torso import Canvas, Cavity, Overlay, Patient, cavity_around, paint_ribs, paint_spine, paint_table, paint_wall

SEGMENTS = tuple(range(1, 9))
STRUCTURES = {
    **{f"liver segment {n}": n for n in SEGMENTS},
    "liver": 9,
    "spleen": 10,
    "right kidney": 11,
    "left kidney": 12,
    "vertebrae": 13,
    "aorta": 14,
    "stomach": 15,
}
UNIONS = {STRUCTURES["liver"]: SEGMENTS}
EXCHANGED = {STRUCTURES["right kidney"]: STRUCTURES["left kidney"]}
"""Structures that take each other's label when a scan is mirrored."""


@dataclass(frozen=True, kw_only=True)
class Extent:
    """Box of the liver, LPS mm."""

    right: float
    left: float
    front: float
    back: float
    low: float
    high: float

    @property
    def middle(self) -> tuple[float, float, float]:
        return (self.right + self.left) / 2, (self.front + self.back) / 2, (self.low + self.high) / 2


def paint_abdomen(draw: Draw, segments: Tensor, grid: ImageGrid) -> Patient:
    """A patient around a liver.

    Args:
        draw: random numbers.
        segments: Couinaud segments 1 ... 8 of each voxel, ``(D, H, W)`` int64, 0 elsewhere.
        grid: axis-aligned LPS.

    Raises:
        BadInputError: if no voxel is liver.
    """
    liver = segments > 0
    if not bool(liver.any()):
        raise BadInputError("There is no liver in the label map, or it lies outside of the training grid.")
    canvas = Canvas(grid=grid, draw=draw)
    box = extent_of(liver, canvas)
    cavity = _cavity(canvas, liver, box)
    paint_wall(canvas, cavity)
    paint_bowel(canvas, cavity)
    lung = paint_lungs(canvas, cavity, liver, box)
    paint_ribs(canvas, cavity, box.low + draw.uniform(-25, 25))
    x, y = paint_spine(canvas, cavity)
    _label_spine(canvas, x, y)
    _paint_organs(canvas, cavity, box, (x, y))
    paint_liver(canvas, segments, box)
    paint_table(canvas, cavity)
    if draw.chance(0.5):
        vessels = tubes(draw, grid, draw.uniform(28, 45), draw.uniform(1.5, 2.5))
        canvas.overlays.append(Overlay(vessels * (canvas.tissues == int(Tissue.FAT)), Tissue.VEIN))
    vessels = tubes(draw, grid, 22.0, 1.6) * lung
    canvas.overlays.append(Overlay(vessels, Tissue.LUNG_VESSEL))
    return canvas.finish(cavity.depth > 2)


def extent_of(mask: Tensor, canvas: Canvas) -> Extent:
    """Box of a mask ``(D, H, W)``."""
    (right, left), (front, back), (low, high) = canvas.box(mask)
    return Extent(right=right, left=left, front=front, back=back, low=low, high=high)


def _cavity(canvas: Canvas, liver: Tensor, box: Extent) -> Cavity:
    draw = canvas.draw
    width = max(draw.uniform(118, 160), 0.56 * (box.left - box.right))
    depth = max(draw.uniform(78, 112), 0.52 * (box.back - box.front) + 4)
    center = (box.right + width - draw.uniform(0, 6), box.middle[1] + draw.uniform(-6, 14))
    return cavity_around(canvas, liver, center, (width, depth), draw.uniform(-0.02, 0.06))


def paint_bowel(canvas: Canvas, cavity: Cavity) -> None:
    """Loops of bowel and fat: cells of random content with walls."""
    draw = canvas.draw
    inside = cavity.depth > 3
    fat = draw.uniform(0.15, 0.5)
    kinds = 10
    kind, distance = cells(draw, canvas.grid, draw.uniform(26, 45), kinds)
    wall = draw.uniform(0.12, 0.25)
    contents = (Tissue.FLUID, Tissue.BOWEL, Tissue.BOWEL, Tissue.STOOL, Tissue.GAS, Tissue.ORAL_CONTRAST)
    for index in range(kinds):
        if draw.chance(fat):
            continue
        here = inside & (kind == index)
        canvas.paint(here & (distance > wall * 0.6), Tissue.BOWEL)
        canvas.paint(here & (distance > wall * 2.2), draw.choice(contents))
    strands = smooth_noise(draw, canvas.grid, 9.0)[0] > 1.2
    canvas.paint(strands & (canvas.tissues == int(Tissue.FAT)) & inside, Tissue.MESENTERY)


def paint_lungs(canvas: Canvas, cavity: Cavity, liver: Tensor, box: Extent) -> Tensor:
    """Lungs above the domes of the diaphragm, with the heart between them. Returns their mask."""
    draw, grid = canvas.draw, canvas.grid
    top = torch.where(liver, canvas.z, -1e4).amax(dim=0)
    known = (top > -1e3).float()
    # The dome continues beyond the liver as smoothly as it is: normalized convolution of its height.
    flat = ImageGrid.axis_aligned((*grid.size[:2], 1), grid.spacing)
    weight = blur(known[None], 22.0, flat)[0]
    height = blur((torch.where(known > 0, top, 0.0))[None], 22.0, flat)[0] / weight.clamp_min(1e-4)
    floor = box.high - draw.uniform(60, 100)
    share = (weight / 0.35).clamp(0, 1)
    dome = share * height + (1 - share) * floor
    left_x, left_top = cavity.center[0] + draw.uniform(0.4, 0.6) * cavity.half[0], box.high - draw.uniform(0, 30)
    bump = torch.exp(
        -(((canvas.x - left_x) / draw.uniform(60, 85)) ** 2) - ((canvas.y - cavity.center[1]) / 75) ** 2
    )[0]
    dome = torch.maximum(dome, floor + (left_top - floor) * bump)
    dome = blur(dome[None], 9.0, flat)[0] + 4
    # The recess reaches down along the wall.
    recess = draw.uniform(15, 45) * (1 - cavity.depth / draw.uniform(10, 18)).clamp(0, 1)
    lung = cavity.inside & (canvas.z > dome[None] - recess)
    sheet = cavity.inside & (canvas.z > dome[None] - recess - 3.5)
    canvas.paint(sheet, Tissue.MUSCLE)
    canvas.paint(lung, Tissue.LUNG)
    middle = (canvas.x - cavity.center[0]).abs() < 16
    canvas.paint(lung & middle & (canvas.y > cavity.center[1] - 20), Tissue.FAT)
    heart = canvas.ellipsoid(
        (cavity.center[0] + draw.uniform(5, 35), cavity.center[1] - draw.uniform(15, 40), box.high + 28),
        (draw.uniform(48, 65), draw.uniform(42, 55), draw.uniform(38, 55)),
        rough=0.06,
    )
    canvas.paint((heart < 1.12) & lung, Tissue.FAT)
    canvas.paint((heart < 1) & lung, Tissue.HEART)
    return canvas.tissues == int(Tissue.LUNG)


def _label_spine(canvas: Canvas, x: float, y: float) -> None:
    near = ((canvas.x - x).abs() < 28) & ((canvas.y - y).abs() < 24)
    bone = sum((canvas.tissues == int(t) for t in (Tissue.BONE, Tissue.MARROW, Tissue.DISC)), start=near & ~near)
    canvas.labels = torch.where(bone & near, STRUCTURES["vertebrae"], canvas.labels)


def _paint_organs(canvas: Canvas, cavity: Cavity, box: Extent, spine: tuple[float, float]) -> None:
    draw = canvas.draw
    x, y = spine
    front = y - 30
    aorta = canvas.tube(x + draw.uniform(4, 16), front + draw.uniform(-4, 3), draw.uniform(8, 13))
    canvas.paint(aorta, Tissue.ARTERY, STRUCTURES["aorta"])
    canvas.paint(canvas.tube(x - draw.uniform(16, 28), front - draw.uniform(2, 12), draw.uniform(9, 14)), Tissue.VEIN)
    middle = box.middle[2]
    for side, name in ((-1, "right kidney"), (1, "left kidney")):
        _paint_kidney(canvas, (x + side * draw.uniform(54, 70), y - 12, middle), side, STRUCTURES[name])
    spleen = canvas.ellipsoid(
        (cavity.center[0] + cavity.half[0] - draw.uniform(24, 34), y - draw.uniform(20, 45), box.high - 45),
        (draw.uniform(20, 30), draw.uniform(38, 52), draw.uniform(38, 60)),
        tilt=draw.uniform(-0.3, 0.1),
        rough=0.08,
    )
    hollow = canvas.ellipsoid((cavity.center[0] + 0.25 * cavity.half[0], y - 75, box.high - 40), (62, 55, 70))
    below = ~_is(canvas, Tissue.LUNG, Tissue.BONE)
    canvas.paint((spleen < 1) & (hollow > 1) & (cavity.depth > 3) & below, Tissue.SPLEEN, STRUCTURES["spleen"])
    _paint_stomach(canvas, cavity, box)


def _paint_kidney(canvas: Canvas, center: tuple[float, float, float], side: int, label: int) -> None:
    draw = canvas.draw
    z = center[2] - draw.uniform(15, 55) + (12 if side > 0 else 0)
    axes = (draw.uniform(24, 31), draw.uniform(21, 28), draw.uniform(45, 58))
    place, tilt = (center[0], center[1] + draw.uniform(-8, 4), z), -0.25 * side
    radius = canvas.ellipsoid(place, axes, tilt=tilt, rough=0.04)
    free = ~_is(canvas, Tissue.BONE, Tissue.MARROW, Tissue.LUNG, Tissue.MUSCLE)
    canvas.paint((radius < 1.3) & free, Tissue.FAT)
    canvas.paint((radius < 1) & free, Tissue.KIDNEY_CORTEX, label)
    pyramids = smooth_noise(draw, canvas.grid, 14.0)[0] > -0.3
    canvas.paint((radius < 0.8) & pyramids & free, Tissue.KIDNEY_MEDULLA, label)
    # The sinus is of fat and opens toward the spine.
    sinus = canvas.ellipsoid(
        (place[0] - side * 0.45 * axes[0], place[1], z), (axes[0] * 0.6, 7, axes[2] * 0.45), tilt
    )
    canvas.paint((sinus < 1) & free, Tissue.FAT)


def _paint_stomach(canvas: Canvas, cavity: Cavity, box: Extent) -> None:
    draw = canvas.draw
    radius = canvas.ellipsoid(
        (cavity.center[0] + draw.uniform(0.2, 0.45) * cavity.half[0], cavity.center[1] - 30, box.high - 55),
        (draw.uniform(30, 50), draw.uniform(26, 42), draw.uniform(40, 60)),
        tilt=draw.uniform(0.0, 0.5),
        rough=0.1,
    )
    free = (cavity.depth > 3) & ~_is(canvas, Tissue.LUNG, Tissue.HEART, Tissue.SPLEEN)
    label = STRUCTURES["stomach"]
    canvas.paint((radius < 1) & free, Tissue.BOWEL, label)
    content = (radius < 0.86) & free
    canvas.paint(content, draw.choice((Tissue.FLUID, Tissue.FLUID, Tissue.ORAL_CONTRAST, Tissue.STOOL)), label)
    # The patient lies on the back: gas gathers in front.
    level = cavity.center[1] - 30 - draw.uniform(-15, 40)
    canvas.paint(content & (canvas.y < level), Tissue.GAS, label)


def paint_liver(canvas: Canvas, segments: Tensor, box: Extent) -> None:
    """The liver with its labels ``(D, H, W)``, vessels and lesions, and a gallbladder beside it."""
    draw, grid = canvas.draw, canvas.grid
    liver = segments > 0
    gallbladder = canvas.ellipsoid(
        (box.middle[0] + draw.uniform(-5, 25), box.middle[1] - draw.uniform(10, 40), box.low + draw.uniform(15, 50)),
        (draw.uniform(10, 18), draw.uniform(14, 26), draw.uniform(16, 30)),
        tilt=draw.uniform(-0.4, 0.4),
    )
    if draw.chance(0.75):
        canvas.paint((gallbladder < 1) & ~_is(canvas, Tissue.BONE, Tissue.LUNG, Tissue.AIR), Tissue.GALLBLADDER)
    canvas.paint(liver, Tissue.LIVER)
    canvas.labels = torch.where(liver, segments, canvas.labels)
    lesions = draw.integer(5) if draw.chance(0.4) else 0
    for x, y, z in grid.to_physical(random_voxels(draw, liver, lesions).tolist()) if lesions else ():
        size = draw.uniform(4, 22)
        lesion = canvas.ellipsoid((x, y, z), (size, size, size), rough=0.1) < 1
        tissue = draw.choice((Tissue.CYST, Tissue.TUMOR, Tissue.TUMOR))
        canvas.tissues = torch.where(lesion & liver, int(tissue), canvas.tissues)
    core = blur(liver.float(), 8.0, grid).clamp(0, 1)
    for scale, thick in ((62.0, 5.0), (38.0, 3.4), (24.0, 2.3), (15.0, 1.5)):
        radius = thick * draw.uniform(0.7, 1.2) * (0.35 + 0.65 * ((core - 0.5) * 2).clamp(0, 1))
        share = tubes(draw, grid, scale * draw.uniform(0.85, 1.2), radius) * liver
        canvas.overlays.append(Overlay(share, Tissue.LIVER_VESSEL))


def _is(canvas: Canvas, *kinds: Tissue) -> Tensor:
    mask = canvas.tissues == int(kinds[0])
    for kind in kinds[1:]:
        mask = mask | (canvas.tissues == int(kind))
    return mask
