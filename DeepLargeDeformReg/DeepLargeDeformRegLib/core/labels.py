"""Structures of label maps: which ones two scans share."""

from __future__ import annotations

from .images import LabelMap, Pair

Matches = tuple[tuple[int, int], ...]
"""Pairs of label values (fixed, moving), one for each structure that two segmentations share."""


def match_labels(fixed: LabelMap, moving: LabelMap) -> Matches:
    """Pairs of label values (fixed, moving) of the structures that both have: by name, else by value."""
    by_name = {label.name.casefold(): label.value for label in moving.labels}
    pairs = [
        (label.value, by_name[label.name.casefold()]) for label in fixed.labels if label.name.casefold() in by_name
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
