"""What the report says in words about its numbers and pictures; the words of the numbers come from the catalog."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.display import DIFFERENCE, MAPS
from ..core.metrics import catalog

DETERMINANT = "Volume change (det J)"
"""How the catalog names det J, and the title of its table."""
VOLUME_CHANGE = "Volume change"
"""Title of the picture of det J."""
FOUND_ORGANS = "Organs found automatically"
"""Title of the picture with their outlines."""
# Entries of the metrics file that are explained where they are there, with the key of the catalog.
_EXPLAINED = {
    "dice": "dice",
    "asd_mm": "asd_mm",
    "hd95_mm": "hd95_mm",
    "hd_mm": "hd_mm",
    "tre_mm": "tre_mm",
    "jacobian": "jacobian.sdlogj",
    "inverse_consistency_mm": "inverse_consistency_mm",
    "uncertainty_mm": "uncertainty_mm",
    "similarity": "similarity.local_ncc",
    "in_place_percent": "in_place_percent",
}
_VERDICT = "Compares the numbers with limits and lists each one that is exceeded; it replaces no look."
_DETERMINANT = (
    "Volume of tissue in the moving scan over that in the fixed scan: 1 is no change, 2 is twice as large, 0 or less "
    "means that the map folds, which tissue cannot do."
)
_PICTURES = (
    ("Before, after", "The moving scan as it was loaded, and registered; black where it has no data."),
    ("Difference", DIFFERENCE + " Of no use between modalities."),
    ("Checkerboard", "Fixed and registered scan in turns: edges should run on across the squares."),
    (
        "Deformed grid",
        "The regular grid of the moving scan as the map bends it on the fixed scan; the colors give the part of the "
        "displacement that is beyond the closest affine map.",
    ),
)


def glossary(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Terms and explanations of what the report shows.

    Args:
        metrics: content of the metrics file.
    """
    words = catalog()
    terms = [("Verdict", _VERDICT)] if metrics.get("verdict") else []
    if metrics.get("jacobian"):
        terms.append((DETERMINANT, _DETERMINANT))
    terms += [(words[key].title, words[key].description) for entry, key in _EXPLAINED.items() if metrics.get(entry)]
    similarity = [(MAPS["local_similarity"].title, MAPS["local_similarity"].description)]
    return [*terms, *(similarity if metrics.get("similarity") else []), *_PICTURES]
