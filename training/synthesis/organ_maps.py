"""Painted patients around real organs: label maps of many structures, and what they leave out drawn around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from torch import Tensor

from .abdomen import Extent, extent_of, paint_bowel, paint_liver, paint_lungs
from .draw import Draw, blur, smooth_noise, tubes
from .tissues import Tissue
from .torso import Canvas, Cavity, Overlay, Patient, cavity_around, paint_ribs, paint_spine, paint_table, paint_wall

_CONTENTS = (Tissue.FLUID, Tissue.BOWEL, Tissue.STOOL, Tissue.GAS, Tissue.ORAL_CONTRAST)
_HOLLOW = (Tissue.BOWEL, Tissue.STOOL)


@dataclass(frozen=True)
class Structure:
    """What a value of a label map is: the tissue that it is painted with and its label in the result (0: none)."""

    tissue: Tissue
    label: int


@dataclass(frozen=True, kw_only=True)
class TorsoLabels:
    """Labels in the result of what is drawn where a label map does not have it; 0 leaves it without a label."""

    liver: int
    lungs: int
    bone: int


def paint_organ_map(
    draw: Draw, values: Tensor, structures: Mapping[int, Structure], labels: TorsoLabels, grid: ImageGrid
) -> Patient:
    """A patient around the organs of a label map.

    Ribs, spine and lungs are drawn where the map has none; body wall, fat, bowel, the vessels of the liver and the
    table always.

    Args:
        draw: random numbers.
        values: of the label map, ``(D, H, W)`` int64, 0 elsewhere; there is a liver among them.
        structures: what each value is; others are left out.
        labels: of the result.
        grid: axis-aligned LPS.
    """
    canvas = Canvas(grid=grid, draw=draw)
    present = {value: one for value, one in structures.items() if bool((values == value).any())}
    liver = _union(values, [value for value, one in present.items() if one.label == labels.liver])
    contents = _union(values, list(present))
    has_bones = any(one.label == labels.bone for one in present.values())
    box = extent_of(liver, canvas)
    cavity = _cavity(canvas, contents, extent_of(contents, canvas), has_bones)
    paint_wall(canvas, cavity)
    paint_bowel(canvas, cavity)
    if not any(one.label == labels.lungs for one in present.values()):
        _label_lungs(canvas, paint_lungs(canvas, cavity, liver, box), labels.lungs)
    if not has_bones:
        paint_ribs(canvas, cavity, box.low + draw.uniform(-25, 25))
        paint_spine(canvas, cavity)
        bone = (canvas.tissues == int(Tissue.BONE)) | (canvas.tissues == int(Tissue.MARROW))
        canvas.labels = torch.where(bone, labels.bone, canvas.labels)
    paint_liver(canvas, liver.long() * labels.liver, box)
    for value, one in present.items():
        if one.label != labels.liver:
            _paint_structure(canvas, values == value, one)
    if draw.chance(0.8):
        paint_table(canvas, cavity)
    lung = canvas.tissues == int(Tissue.LUNG)
    canvas.overlays.append(Overlay(tubes(draw, grid, 22.0, 1.6) * lung, Tissue.LUNG_VESSEL))
    return canvas.finish(cavity.depth > 2)


def _union(values: Tensor, wanted: list[int]) -> Tensor:
    return torch.isin(values, torch.tensor(wanted, device=values.device))


def _cavity(canvas: Canvas, contents: Tensor, box: Extent, has_bones: bool) -> Cavity:
    draw = canvas.draw
    least = (110.0, 75.0) if has_bones else (draw.uniform(118, 160), draw.uniform(78, 112))
    half = (max(least[0], 0.52 * (box.left - box.right)), max(least[1], 0.52 * (box.back - box.front)))
    center = (box.middle[0] + draw.uniform(-6, 6), box.middle[1] + draw.uniform(-6, 6))
    return cavity_around(canvas, contents, center, half, draw.uniform(-0.02, 0.06), draw.uniform(2, 8))


def _label_lungs(canvas: Canvas, lungs: Tensor, label: int) -> None:
    canvas.labels = torch.where(lungs, label, canvas.labels)


def _paint_structure(canvas: Canvas, where: Tensor, one: Structure) -> None:
    draw, grid = canvas.draw, canvas.grid
    canvas.paint(where, one.tissue, one.label)
    if one.tissue in _HOLLOW:
        inner = blur(where.float(), 3.0, grid) > draw.uniform(0.7, 0.9)
        canvas.paint(inner & where, draw.choice(_CONTENTS), one.label)
    elif one.tissue == Tissue.BONE:
        canvas.paint((blur(where.float(), 3.0, grid) > 0.7) & where, Tissue.MARROW, one.label)
    elif one.tissue == Tissue.KIDNEY_CORTEX:
        inner = (blur(where.float(), 5.0, grid) > 0.7) & (smooth_noise(draw, grid, 14.0)[0] > -0.3)
        canvas.paint(inner & where, Tissue.KIDNEY_MEDULLA, one.label)
