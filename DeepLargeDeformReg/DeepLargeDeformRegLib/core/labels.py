"""Structures of label maps: which ones two scans share."""

from __future__ import annotations

from .errors import BadInputError
from .images import LabelMap, Pair

Matches = tuple[tuple[int, int], ...]
"""Pairs of label values (fixed, moving), one for each structure that two segmentations share."""


def match_labels(fixed: LabelMap, moving: LabelMap) -> Matches:
    """Pairs of label values (fixed, moving) of the structures that both have: by name, else by value.

    Names are compared without case and surplus blanks.

    Raises:
        BadInputError: if several structures of a scan have one name that the other scan has too: which of them belong
            together cannot be known.
    """
    names = [[" ".join(label.name.casefold().split()) for label in one.labels] for one in (fixed, moving)]
    for own, other in (names, names[::-1]):
        double = next((name for name in own if own.count(name) > 1 and name in other), None)
        if double is not None:
            raise BadInputError(
                f"{own.count(double)} structures of a segmentation are called '{double}', so that it is unclear "
                "which "
                "belong together; give each its own name."
            )
    by_name = {name: label.value for name, label in zip(names[1], moving.labels, strict=True)}
    pairs = [
        (label.value, by_name[name]) for name, label in zip(names[0], fixed.labels, strict=True) if name in by_name
    ]
    if not pairs:
        values = {label.value for label in moving.labels}
        pairs = [(label.value, label.value) for label in fixed.labels if label.value in values]
    return tuple(pairs)


def shared_structures(pair: Pair) -> Matches:
    """The structures that both scans of a pair have; none unless both have a segmentation."""
    if pair.fixed.labels is None or pair.moving.labels is None:
        return ()
    return match_labels(pair.fixed.labels, pair.moving.labels)
