"""What the model cards that ship say to people, listed for the tool that collects what can be translated.

Written by ``python -m Testing.packaging.card_texts --write``; a test holds it up to date.
"""

from __future__ import annotations

from .sentences import marked as _

_TEXTS = (
    _("Hippocampus MR, LapIRN"),
    _(
        "T1-weighted MR crops around one hippocampus, of two different people, 1 mm, centers of the "
        "crops aligned. Not for whole brains: crop around the hippocampus first."
    ),
    _("Dice, mean of structures"),
    _("100 pairs of 30 subjects of neither training nor validation"),
    _("HD95, mean of structures"),
    _("folds (det J <= 0)"),
    _("SDlogJ (log det J over det J > 0)"),
    _("SDlogJ of Learn2Reg"),
    _("time of the network"),
    _("a pair, CPU (1 thread)"),
    _("Hippocampus MR, LDGNet"),
    _("Hippocampus MR, mlVIRNET"),
    _("Hippocampus MR, semantically guided"),
    _("Hippocampus MR, VIRNET"),
    _("Hippocampus MR, VoxelMorph"),
    _("Liver CT"),
    _(
        "Coarse alignment of the livers of two abdominal CT scans, of one patient or of two, any "
        "contrast phase, livers in the middle of the grid. Not for lungs or other organs: training "
        "aligned livers alone. Fine-tuned on two processor cores: it finds livers whose middles are far "
        "apart better than the weights that it started from did, and is still to be trained at scale, on "
        "all segments (liver-ct-synthetic, a GPU)."
    ),
    _(
        "livers of two abdominal CTs (CHAOS 1, the TotalSegmentator example), each on the other, middles "
        "of the livers aligned; the weights that training started from knew the second one's image, "
        "without outlines"
    ),
)
CARD_TEXTS = {str(text): text for text in _TEXTS}
