"""The inputs of a registration as sentences name them. Standard library only: Slicer loads this."""

from __future__ import annotations

from .sentences import marked as _

# Whole phrases, as other languages bend article and adjective with the noun.
_PHRASES = {
    "scan": (_("The scan"), _("the scan")),
    "segmentation": (_("The segmentation"), _("the segmentation")),
    "landmarks": (_("The landmarks"), _("the landmarks")),
    "transform": (_("The transform"), _("the transform")),
    "initial transform": (_("The initial transform"), _("the initial transform")),
    "region of interest": (_("The region of interest"), _("the region of interest")),
    "fixed scan": (_("The fixed scan"), _("the fixed scan")),
    "moving scan": (_("The moving scan"), _("the moving scan")),
    "fixed segmentation": (_("The fixed segmentation"), _("the fixed segmentation")),
    "moving segmentation": (_("The moving segmentation"), _("the moving segmentation")),
    "fixed mask": (_("The fixed mask"), _("the fixed mask")),
    "moving mask": (_("The moving mask"), _("the moving mask")),
    "fixed landmarks": (_("The fixed landmarks"), _("the fixed landmarks")),
    "moving landmarks": (_("The moving landmarks"), _("the moving landmarks")),
    "fixed DICOM series": (_("The fixed DICOM series"), _("the fixed DICOM series")),
    "moving DICOM series": (_("The moving DICOM series"), _("the moving DICOM series")),
}


def the(subject: str, first: bool = False) -> str:
    """An input, such as ``"fixed scan"``, with its article: within a sentence, or as its first word."""
    phrases = _PHRASES.get(subject, (f"The {subject}", f"the {subject}"))
    return phrases[0] if first else phrases[1]
