"""Structures of label maps from many sources: which organ each is, and the tissue that it is painted with."""

from __future__ import annotations

import json
from pathlib import Path

from ..synthesis.tissues import Tissue

ORGANS = ("liver", "spleen", "right kidney", "left kidney", "lungs", "bone")
"""Classes 1, 2, ... of the network; class 0 is everything else."""
CLASS = {name: index + 1 for index, name in enumerate(ORGANS)}
MIRRORED = {CLASS["right kidney"]: CLASS["left kidney"]}

_BONES = (
    "vertebra",
    "rib",
    "hip",
    "sacrum",
    "femur",
    "humerus",
    "scapula",
    "clavicula",
    "sternum",
    "skull",
)  # as TotalSegmentator names them
_TISSUES = {
    "liver": Tissue.LIVER,
    "spleen": Tissue.SPLEEN,
    "kidney": Tissue.KIDNEY_CORTEX,
    "lung": Tissue.LUNG,
    "gallbladder": Tissue.GALLBLADDER,
    "stomach": Tissue.BOWEL,
    "duodenum": Tissue.BOWEL,
    "bowel": Tissue.BOWEL,
    "colon": Tissue.STOOL,
    "esophagus": Tissue.BOWEL,
    "pancreas": Tissue.BOWEL,
    "aorta": Tissue.ARTERY,
    "artery": Tissue.ARTERY,
    "trunk": Tissue.ARTERY,
    "vena": Tissue.VEIN,
    "vein": Tissue.VEIN,
    "heart": Tissue.HEART,
    "atrial": Tissue.HEART,
    "bladder": Tissue.FLUID,
    "spinal": Tissue.CORD,
    "brain": Tissue.CORD,
    "trachea": Tissue.AIRWAY,
    "cartilage": Tissue.DISC,
}


def structure_names(meta: Path) -> dict[int, str]:
    """Names of the values of a label map, in lower case with blanks, from the ``meta.json`` beside it."""
    labels = json.loads(meta.read_text(encoding="utf-8"))["labels"]
    labels = labels.get("labels", labels)
    named = {int(value): entry["name"] if isinstance(entry, dict) else entry for value, entry in labels.items()}
    return {value: name.lower().replace("_", " ") for value, name in named.items()}


def organ_of(name: str) -> int:
    """Class of a structure; 0 if it is none of :data:`ORGANS`."""
    if name.startswith(("liver", "segment ", "tumor", "portal vein", "hepatic vein")):
        return CLASS["liver"]
    if name == "spleen":
        return CLASS["spleen"]
    if "kidney" in name and "cyst" not in name:
        return CLASS["right kidney"] if "right" in name else CLASS["left kidney"]
    if name.startswith("lung"):
        return CLASS["lungs"]
    if name.startswith(_BONES):
        return CLASS["bone"]
    return 0


def tissue_of(name: str) -> Tissue:
    """Tissue that a structure is painted with; muscle for what has no entry of its own."""
    if organ_of(name) == CLASS["bone"]:
        return Tissue.BONE
    return next((tissue for part, tissue in _TISSUES.items() if part in name), Tissue.MUSCLE)
