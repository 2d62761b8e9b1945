"""Painted thoraxes: the shapes of real lungs, with lobes, vessels and airways drawn into and a body around them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine.device import constant
from torch import Tensor

from .draw import Draw, blur, smooth_noise, tube_distance, tube_share
from .lung_maps import LungParts
from .tissues import Tissue
from .torso import (
    Box,
    Canvas,
    Cavity,
    Overlay,
    Patient,
    ScannedPatient,
    cavity_around,
    paint_ribs,
    paint_spine,
    paint_table,
    paint_wall,
)

RIGHT_LUNG, LEFT_LUNG = 1, 2
STRUCTURES = {
    "left upper lobe": 1,
    "left lower lobe": 2,
    "right upper lobe": 3,
    "right middle lobe": 4,
    "right lower lobe": 5,
    "left lung": 6,
    "right lung": 7,
    "lungs": 8,
    "heart": 9,
    "vertebrae": 10,
}
UNIONS = {6: (1, 2), 7: (3, 4, 5), 8: (1, 2, 3, 4, 5, 6, 7)}


def paint_thorax(draw: Draw, lungs: Tensor, grid: ImageGrid, parts: LungParts | None = None) -> Patient:
    """A patient around a pair of lungs.

    Args:
        draw: random numbers.
        lungs: 1 in the right and 2 in the left lung, ``(D, H, W)`` int64.
        grid: axis-aligned LPS.
        parts: what is known of the inside of the lungs; the rest is drawn.

    Raises:
        BadInputError: if a lung is missing.
    """
    canvas = Canvas(grid=grid, draw=draw)
    boxes = {}
    for lung in (RIGHT_LUNG, LEFT_LUNG):
        where = lungs == lung
        if not bool(where.any()):
            raise BadInputError("A lung is missing in the mask, or lies outside of the training grid.")
        boxes[lung] = canvas.box(where)
    either = lungs > 0
    cavity = _cavity(canvas, either, boxes)
    paint_wall(canvas, cavity)
    low = min(box[2][0] for box in boxes.values())
    high = max(box[2][1] for box in boxes.values())
    canvas.paint(cavity.inside & (canvas.z > high + 4), Tissue.MUSCLE)
    below = _paint_below(canvas, cavity, either, low)
    x, y = _paint_mediastinum(canvas, cavity, below, (low, high))
    paint_ribs(canvas, cavity, low - draw.uniform(0, 40))
    _paint_lungs(canvas, lungs, boxes, parts or LungParts())
    _paint_trachea(canvas, (x, y), (low, high), either)
    paint_table(canvas, cavity)
    patient = canvas.finish(cavity.depth > 0)
    return Patient(
        grid=grid,
        tissues=patient.tissues,
        labels=patient.labels,
        texture=_density(draw, patient, canvas, cavity),
        overlays=patient.overlays,
        breathing=patient.breathing,
    )


def sides_of(labels: Tensor) -> Tensor:
    """1 in the right lung, 2 in the left one and 0 elsewhere, of the structures of the thorax ``(D, H, W)``."""
    result = torch.zeros_like(labels)
    for side, name in ((RIGHT_LUNG, "right lung"), (LEFT_LUNG, "left lung")):
        value = STRUCTURES[name]
        result = torch.where(torch.isin(labels, constant((value, *UNIONS[value]), labels)), side, result)
    return result


def scanned_thorax(patient: ScannedPatient) -> ScannedPatient:
    """The patient of a real scan with its lungs, and with what lies between them and under them as what breathes.

    Bones and all that is outside of them stay out of it: ribs hardly move.
    """
    lungs = sides_of(patient.labels) > 0
    hull = (blur(lungs.float(), 22.0, patient.grid) > 0.3) | lungs
    under = hull.flip(0).int().cummax(dim=0).values.flip(0).bool()  # of each column all below its highest lung
    soft = blur((patient.image > 180).float(), 3.0, patient.grid) < 0.25
    return replace(patient, breathing=under & soft, lungs=lungs & (patient.image < 100))


def _cavity(canvas: Canvas, lungs: Tensor, boxes: Mapping[int, Box]) -> Cavity:
    ends = [(min(b[axis][0] for b in boxes.values()), max(b[axis][1] for b in boxes.values())) for axis in range(2)]
    center = ((ends[0][0] + ends[0][1]) / 2, (ends[1][0] + ends[1][1]) / 2)
    half = (0.47 * (ends[0][1] - ends[0][0]), 0.45 * (ends[1][1] - ends[1][0]))
    return cavity_around(canvas, lungs, center, half, canvas.draw.uniform(0.04, 0.10), margin_mm=2.5)


def _paint_below(canvas: Canvas, cavity: Cavity, lungs: Tensor, low: float) -> Tensor:
    """The organs under the diaphragm: liver on the right, stomach and spleen on the left. Returns their mask."""
    draw, grid = canvas.draw, canvas.grid
    bottom = torch.where(lungs, canvas.z, 1e4).amin(dim=0)
    known = (bottom < 1e3).float()
    flat = ImageGrid.axis_aligned((*grid.size[:2], 1), grid.spacing)
    weight = blur(known[None], 14.0, flat)[0]
    height = blur(torch.where(known > 0, bottom, 0.0)[None], 14.0, flat)[0] / weight.clamp_min(1e-3)
    floor = torch.where(weight > 0.02, height, low)
    floor = torch.where(known > 0, torch.minimum(bottom, floor + 8), floor) - 3
    below = cavity.inside & (canvas.z < floor[None]) & ~lungs
    canvas.paint(below, Tissue.MUSCLE)
    organs = below & (canvas.z < floor[None] - 3)
    canvas.paint(organs, Tissue.FAT)
    side = canvas.x - cavity.center[0] + 6 * smooth_noise(draw, grid, 60.0)[0]
    canvas.paint(organs & (side < draw.uniform(10, 40)) & (cavity.depth > 4), Tissue.LIVER)
    stomach = canvas.ellipsoid(
        (cavity.center[0] + 0.45 * cavity.half[0], cavity.center[1] - 15, low - 5),
        (draw.uniform(35, 55), draw.uniform(30, 50), draw.uniform(40, 60)),
        rough=0.08,
    )
    canvas.paint(organs & (stomach < 1) & (side > 0), Tissue.BOWEL)
    content = draw.choice((Tissue.FLUID, Tissue.GAS, Tissue.STOOL))
    canvas.paint(organs & (stomach < 0.86) & (side > 0), content)
    spleen = (side > 0.5 * cavity.half[0]) & (canvas.y > cavity.center[1]) & (stomach > 1.1)
    canvas.paint(organs & spleen & (cavity.depth > 4), Tissue.SPLEEN)
    return below


def _paint_mediastinum(
    canvas: Canvas, cavity: Cavity, below: Tensor, span: tuple[float, float]
) -> tuple[float, float]:
    """Heart, great vessels and spine between the lungs. Returns x and y of the vertebral bodies, LPS mm."""
    draw = canvas.draw
    low, high = span
    height = high - low
    between = cavity.inside & ~below
    x, y = paint_spine(canvas, cavity)
    near = ((canvas.x - x).abs() < 28) & ((canvas.y - y).abs() < 24)
    bone = (canvas.tissues == int(Tissue.BONE)) | (canvas.tissues == int(Tissue.MARROW))
    canvas.labels = torch.where(bone & near, STRUCTURES["vertebrae"], canvas.labels)
    center = (cavity.center[0] + draw.uniform(10, 25), cavity.center[1] - 0.3 * cavity.half[1], low + 0.35 * height)
    axes = (draw.uniform(50, 68), draw.uniform(42, 58), draw.uniform(48, 66))
    heart = canvas.ellipsoid(center, axes, tilt=-0.2, rough=0.05)
    free = between & ~near
    canvas.paint((heart < 1) & free, Tissue.HEART, STRUCTURES["heart"])
    canvas.paint(canvas.tube(x + draw.uniform(8, 18), y - 26, draw.uniform(9, 13)) & free, Tissue.ARTERY)
    arch = canvas.z < low + 0.75 * height
    canvas.paint(canvas.tube(x - 4, y - 62, draw.uniform(12, 16)) & free & arch & (heart > 1), Tissue.ARTERY)
    canvas.paint(canvas.tube(x - 30, y - 58, draw.uniform(8, 11)) & free & (heart > 1), Tissue.VEIN)
    return x, y


def _paint_lungs(canvas: Canvas, lungs: Tensor, boxes: Mapping[int, Box], parts: LungParts) -> None:
    draw, grid = canvas.draw, canvas.grid
    canvas.paint(lungs > 0, Tissue.LUNG)
    distance = torch.full(grid.shape, 1e3, device=draw.device)
    hilum = distance.clone()
    for lung, (across, along, up) in boxes.items():
        here = lungs == lung
        is_right = lung == RIGHT_LUNG
        height, depth = up[1] - up[0], along[1] - along[0]
        # The oblique fissure runs from high in the back to low in front.
        steep = draw.uniform(0.8, 1.3) * 0.7 * height / depth
        middle = (up[0] + draw.uniform(0.38, 0.5) * height, along[0] + 0.5 * depth)
        wave = 5 * smooth_noise(draw, grid, 70.0)[0]
        oblique = (canvas.z - middle[0] - steep * (canvas.y - middle[1]) + wave) / math.sqrt(1 + steep**2)
        names = ("right upper lobe", "right lower lobe") if is_right else ("left upper lobe", "left lower lobe")
        upper = here & (oblique > 0)
        canvas.labels = torch.where(here, STRUCTURES[names[1]], canvas.labels)
        canvas.labels = torch.where(upper, STRUCTURES[names[0]], canvas.labels)
        shells = [torch.where(here, oblique.abs(), 1e3)]
        if is_right:
            level = canvas.z - up[0] - draw.uniform(0.45, 0.58) * height + 4 * smooth_noise(draw, grid, 70.0)[0]
            canvas.labels = torch.where(upper & (level < 0), STRUCTURES["right middle lobe"], canvas.labels)
            shells.append(torch.where(upper, level.abs(), 1e3))
        for shell in shells:
            distance = torch.minimum(distance, shell)
        inner = across[1] if is_right else across[0]
        root = (inner, along[0] + 0.6 * depth, up[0] + 0.5 * height)
        away = ((canvas.x - root[0]) ** 2 + (canvas.y - root[1]) ** 2 + (canvas.z - root[2]) ** 2).sqrt()
        hilum = torch.minimum(hilum, torch.where(here, away, 1e3))
    inside = (lungs > 0).float()
    if parts.lobes is not None:
        canvas.labels = torch.where((lungs > 0) & (parts.lobes > 0), parts.lobes, canvas.labels)
        # A lobe that is half there, blurred, is at its border; borders with other lungs lie outside.
        halves = [(parts.lobes == lobe).float() for lobe in parts.lobes.unique().tolist() if lobe]
        edge = torch.stack([blur(half, 4.0, grid) for half in halves]).amax(dim=0)
        distance = torch.where(blur(inside, 4.0, grid) > 0.95, 10 * (edge - 0.5).clamp_min(0), 1e3)
    # Vessels are thick at the hilum, thin in the periphery, and keep away from the fissures.
    taper = torch.exp(-hilum / draw.uniform(35, 55)) * (distance / 6).clamp(0.15, 1)
    drawn = ((55.0, 6.0), (32.0, 4.5), (18.0, 3.2), (12.0, 2.2))
    for scale, thick in drawn if parts.vessels is None else drawn[2:]:  # no map has the thin ones
        radius = draw.uniform(0.8, 1.3) * thick * (0.22 + 0.78 * taper)
        share = tube_share(tube_distance(draw, grid, scale), radius, grid) * inside
        canvas.overlays.append(Overlay(share, Tissue.LUNG_VESSEL))
    if parts.vessels is not None:
        canvas.overlays.append(Overlay(parts.vessels.clamp(0, 1) * inside, Tissue.LUNG_VESSEL))
    if parts.airways is not None:
        canvas.overlays.append(Overlay(parts.airways.clamp(0, 1) * inside, Tissue.AIRWAY))
    for scale, thick in ((60.0, 5.0), (36.0, 3.0)) if parts.airways is None else ():
        line = tube_distance(draw, grid, scale)
        radius = thick * taper
        wall = tube_share(line, radius + 1.3, grid) * (taper > 0.15) * inside
        canvas.overlays.append(Overlay(wall, Tissue.AIRWAY_WALL))
        canvas.overlays.append(Overlay(tube_share(line, radius, grid) * (taper > 0.15) * inside, Tissue.AIRWAY))
    sheet = (0.8 / grid.spacing[2]) * torch.exp(-((distance / (0.5 * max(grid.spacing))) ** 2)) * inside
    canvas.overlays.append(Overlay(sheet.clamp(0, 1), Tissue.FISSURE))


def _paint_trachea(canvas: Canvas, spine: tuple[float, float], span: tuple[float, float], lungs: Tensor) -> None:
    draw = canvas.draw
    x, y = spine[0] + draw.uniform(-6, 4), spine[1] - draw.uniform(34, 46)
    carina = span[0] + draw.uniform(0.58, 0.68) * (span[1] - span[0])
    radius = draw.uniform(7, 10)
    windpipe = ((canvas.x - x) ** 2 + (canvas.y - y) ** 2).sqrt() + 0 * canvas.z
    windpipe = torch.where(canvas.z > carina, windpipe, 1e3)
    # The main bronchi go down and out, by about 45 degrees.
    fall = (carina - canvas.z).clamp_min(0)
    limit = draw.uniform(30, 50)
    sides = [((canvas.x - x - s * 0.9 * fall) ** 2 + (canvas.y - y - 0.1 * fall) ** 2).sqrt() for s in (-1, 1)]
    bronchi = torch.where((canvas.z <= carina) & (fall < limit), torch.minimum(*sides), 1e3) * 0.8
    tube = torch.minimum(windpipe, bronchi)
    canvas.paint((tube < radius + 1.5) & ~lungs, Tissue.MUSCLE)
    canvas.paint((tube < radius) & ~lungs, Tissue.AIRWAY)


def _density(draw: Draw, patient: Patient, canvas: Canvas, cavity: Cavity) -> Tensor:
    """Texture with what lungs have besides: denser at the back by gravity, patches of emphysema."""
    lung = patient.tissues == int(Tissue.LUNG)
    gravity = draw.uniform(0, 2.5) * (canvas.y - cavity.center[1]) / cavity.half[1]
    holes = (smooth_noise(draw, patient.grid, 24.0)[0] - draw.uniform(0.8, 2.5)).clamp_min(0)
    return torch.where(lung, patient.texture + gravity - 3 * draw.uniform(0, 1) * holes, patient.texture)
