"""Structures of label maps: which ones two scans share."""

from __future__ import annotations

from .images import LabelMap


def match_labels(fixed: LabelMap, moving: LabelMap) -> tuple[tuple[int, int], ...]:
    """Pairs of label values (fixed, moving) of the structures that both have: by name, else by value."""
    by_name = {label.name.casefold(): label.value for label in moving.labels}
    pairs = [
        (label.value, by_name[label.name.casefold()]) for label in fixed.labels if label.name.casefold() in by_name
    ]
    if not pairs:
        values = {label.value for label in moving.labels}
        pairs = [(label.value, label.value) for label in fixed.labels if label.value in values]
    return tuple(pairs)
