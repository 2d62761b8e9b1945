"""What the report says in words: the verdict's levels, and one sentence for each number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Level of the verdict -> word of the banner, and what a reader should do.
LEVELS = {
    "accept": ("Accept", "Nothing measured speaks against using this registration."),
    "look": ("Look here", "Look at the places below before using this registration."),
    "reject": ("Do not use", "Measured limits are exceeded; do not use this registration as it is."),
}

# Severity of a reason, the gravest first -> what it means, for those who do not see its mark.
REASON_WORDS = {"reject": "Against use", "look": "To be looked at", "accept": "In favor"}

# Entry of the metrics that must be there -> term and explanation.
_GLOSSARY = (
    (
        "verdict",
        "Verdict",
        "Compares the numbers with limits and lists each one that is exceeded; it replaces no look.",
    ),
    ("dice", "Dice", "Overlap of the fixed and the propagated structure: 1 is perfect, 0 is none (Dice 1945)."),
    ("asd_mm", "ASD", "Average distance of the two surfaces of a structure, in mm: 0 is perfect."),
    ("hd95_mm", "HD95", "95 percent of the surface points are at most this far from the other surface."),
    ("hd_mm", "HD", "Hausdorff distance: the largest distance between the two surfaces; one stray voxel decides it."),
    ("volume_ml", "Volume", "Volume of the structure; the propagated one should be close to the fixed one."),
    (
        "tre_mm",
        "Landmark error",
        "Target registration error (TRE): distance between where the map takes a fixed landmark and where its "
        "partner was marked in the moving scan; it includes the error of marking (Fitzpatrick and West 2001).",
    ),
    (
        "jacobian",
        "det J",
        "Jacobian determinant of the map: the volume of tissue in the moving scan over that in the fixed scan; 1 is "
        "no change, 2 is twice as large, 0 or less means that the map folds, which tissue cannot do.",
    ),
    (
        "jacobian",
        "SDlogJ",
        "Standard deviation of log det J: how unevenly the map changes volume; 0 for a rigid map. The variant of "
        "Learn2Reg is computed differently and never comparable with the other one.",
    ),
    (
        "inverse_consistency_mm",
        "Inverse consistency error",
        "How far a point ends from where it began when mapped to the moving scan and back, in mm; with a numerical "
        "inverse it finds folds, and says nothing about accuracy.",
    ),
    (
        "uncertainty_mm",
        "Uncertainty",
        "The error to expect, in mm, estimated from how the scans still differ and how much the map bends: where it "
        "is large, trust no detail.",
    ),
    ("overlap_percent", "Coverage", "Share of the fixed scan for which the moving scan has data."),
    (
        "similarity",
        "Similarity",
        "How well the gray values of the two scans fit together; a good value proves nothing.",
    ),
    (
        "in_place_percent",
        "In place",
        "Share of the neighborhoods that fit best where the map puts them, not 5 or 10 mm beside: few are, where the "
        "map is beside the truth, however plausible it looks.",
    ),
)
_PICTURES = (
    ("Before, after", "The moving scan as it was loaded, and through the transform; black where it has no data."),
    (
        "Difference",
        "Moving minus fixed scan: middle gray is equal, white brighter, black darker; of no use between modalities.",
    ),
    ("Checkerboard", "Fixed and registered scan in turns: edges should run on across the squares."),
    (
        "Local similarity",
        "How alike the scans are around each point (squared correlation in a cube of about 17.5 mm): dark is where "
        "the match is doubtful; striped is where neither scan has an edge, so that nothing can be compared.",
    ),
    (
        "Deformed grid",
        "The regular grid of the moving scan as the map bends it on the fixed scan; the colors give the part of the "
        "displacement that is beyond the closest affine map.",
    ),
)


def glossary(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Terms and explanations of what the report shows."""
    return [(term, text) for key, term, text in _GLOSSARY if metrics.get(key)] + list(_PICTURES)
