"""Tissues of the painted patients and their attenuation at each contrast phase.

Typical attenuation of abdominal organs, HU, from textbooks of CT (unenhanced, late arterial, portal venous, delayed);
the ranges are wide on purpose, since dose, timing, tube voltage and disease move them far.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

import torch
from torch import Tensor

from .draw import Draw


class Tissue(IntEnum):
    """What a voxel consists of."""

    AIR = 0
    FAT = 1
    SKIN = 2
    MUSCLE = 3
    BONE = 4
    MARROW = 5
    DISC = 6
    CORD = 7
    LUNG = 8
    LIVER = 9
    LIVER_VESSEL = 10
    CYST = 11
    TUMOR = 12
    SPLEEN = 13
    KIDNEY_CORTEX = 14
    KIDNEY_MEDULLA = 15
    ARTERY = 16
    VEIN = 17
    HEART = 18
    FLUID = 19
    BOWEL = 20
    ORAL_CONTRAST = 21
    STOOL = 22
    GAS = 23
    GALLBLADDER = 24
    LUNG_VESSEL = 25
    AIRWAY = 26
    AIRWAY_WALL = 27
    FISSURE = 28
    MESENTERY = 29


PHASES = ("native", "arterial", "portal", "late")

_T = Tissue
_SAME: Mapping[Tissue, tuple[float, float]] = {
    _T.AIR: (-1000, -995),
    _T.FAT: (-115, -95),
    _T.SKIN: (-10, 40),
    _T.BONE: (350, 750),
    _T.MARROW: (100, 260),
    _T.DISC: (60, 110),
    _T.CORD: (20, 45),
    _T.LUNG: (-890, -780),
    _T.CYST: (0, 20),
    _T.FLUID: (0, 30),
    _T.ORAL_CONTRAST: (120, 400),
    _T.STOOL: (-150, 60),
    _T.GAS: (-990, -900),
    _T.GALLBLADDER: (0, 25),
    _T.AIRWAY: (-995, -960),
    _T.AIRWAY_WALL: (-300, 40),
    _T.FISSURE: (-650, -450),
    _T.MESENTERY: (-100, -60),
}
_BY_PHASE: Mapping[Tissue, tuple[tuple[float, float], ...]] = {
    _T.MUSCLE: ((45, 60), (48, 65), (52, 72), (50, 70)),
    _T.LIVER: ((35, 68), (50, 85), (85, 135), (75, 115)),
    _T.SPLEEN: ((40, 55), (90, 140), (105, 145), (85, 120)),
    _T.KIDNEY_CORTEX: ((28, 40), (140, 220), (160, 220), (130, 190)),
    _T.KIDNEY_MEDULLA: ((25, 38), (50, 90), (130, 200), (130, 190)),
    _T.ARTERY: ((35, 50), (220, 400), (130, 190), (90, 130)),
    _T.VEIN: ((35, 50), (40, 110), (110, 170), (90, 130)),
    _T.HEART: ((35, 50), (120, 260), (110, 160), (80, 120)),
    _T.BOWEL: ((25, 45), (40, 80), (60, 100), (50, 85)),
    _T.LUNG_VESSEL: ((0, 50), (60, 200), (50, 120), (30, 90)),
}
# What is told apart within the liver by a difference, so that it never vanishes by chance.
_VESSEL_CONTRAST = ((-22, -6), (8, 45), (25, 85), (10, 40))
_TUMOR_CONTRAST = ((-25, 5), (-30, 60), (-70, -15), (-45, 10))

_TEXTURE: Mapping[Tissue, float] = {
    _T.FAT: 9,
    _T.MESENTERY: 18,
    _T.MUSCLE: 9,
    _T.BONE: 120,
    _T.MARROW: 50,
    _T.LUNG: 22,
    _T.LIVER: 5,
    _T.TUMOR: 10,
    _T.SPLEEN: 5,
    _T.BOWEL: 12,
    _T.STOOL: 90,
    _T.HEART: 8,
    _T.SKIN: 10,
}


def attenuation(draw: Draw, phase: str) -> Tensor:
    """HU of each tissue, ``(number of tissues,)``, for one scan at a contrast phase."""
    index = PHASES.index(phase)
    table = [0.0] * len(Tissue)
    for tissue, span in _SAME.items():
        table[tissue] = draw.uniform(*span)
    for tissue, spans in _BY_PHASE.items():
        table[tissue] = draw.uniform(*spans[index])
    if draw.chance(0.15):  # fatty liver
        table[Tissue.LIVER] -= draw.uniform(15, 50)
    table[Tissue.LIVER_VESSEL] = table[Tissue.LIVER] + draw.uniform(*_VESSEL_CONTRAST[index])
    table[Tissue.TUMOR] = table[Tissue.LIVER] + draw.uniform(*_TUMOR_CONTRAST[index])
    return torch.tensor(table).to(draw.device, non_blocking=True)


def texture_strength(device: torch.device) -> Tensor:
    """Standard deviation (HU) of each tissue's texture, ``(number of tissues,)``."""
    strengths = [_TEXTURE.get(tissue, 0.0) for tissue in Tissue]
    return torch.tensor(strengths).to(device, non_blocking=True)
