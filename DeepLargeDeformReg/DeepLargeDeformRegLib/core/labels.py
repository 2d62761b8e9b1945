"""Structures of label maps: which ones two scans share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .errors import BadInputError
from .images import Label, LabelMap, Pair
from .sentences import marked as _
from .subjects import the
from .text import pairs_of_same_name, plain_name

Matches = tuple[tuple[int, int], ...]
"""Pairs of label values (fixed, moving), one for each structure that two segmentations share."""


def match_labels(fixed: LabelMap, moving: LabelMap) -> Matches:
    """Pairs of label values (fixed, moving) of the structures that both have.

    Those that the user matched (:func:`with_matches`); else those of the same name
    (:func:`.text.plain_name`); else those of the same value.

    Raises:
        BadInputError: if several structures of a scan have one name that the other scan has too: which of them belong
            together cannot be known.
    """
    return _matched(fixed, moving) or _of_same_value(fixed, moving)


def shared_structures(pair: Pair) -> Matches:
    """The structures that both scans of a pair have; none unless both have a segmentation."""
    if pair.fixed.labels is None or pair.moving.labels is None:
        return ()
    return match_labels(pair.fixed.labels, pair.moving.labels)


def with_matches(fixed: LabelMap, moving: LabelMap, matches: Sequence[str]) -> LabelMap:
    """The moving structures, knowing which fixed structures the user says they are; all others match nothing.

    Args:
        fixed: fixed structures.
        moving: moving structures.
        matches: ``FIXED=MOVING`` each, by name (in any case) or value.

    Raises:
        BadInputError: for text of another form, a structure that is not there, or one that is matched twice.
    """
    counterparts: dict[int, int] = {}
    for text in matches:
        first, equals, second = text.partition("=")
        if not equals or not first.strip() or not second.strip():
            raise BadInputError(_("The match '{text}' must be FIXED=MOVING, liver=5 for example.").format(text=text))
        ours, theirs = _find(fixed, first, "fixed"), _find(moving, second, "moving")
        if theirs in counterparts or ours in counterparts.values():
            raise BadInputError(
                _("The match '{text}' names a structure that another match has; each can have one only.").format(
                    text=text
                )
            )
        counterparts[theirs] = ours
    labels = tuple(replace(label, counterpart=counterparts.get(label.value)) for label in moving.labels)
    return replace(moving, labels=labels)


def notice_of_values(fixed: LabelMap, moving: LabelMap) -> str | None:
    """A sentence for the user if structures were matched by their values alone, which may mean different organs."""
    if _matched(fixed, moving):
        return None
    pairs = _of_same_value(fixed, moving)
    if not pairs:
        return None
    names = [{label.value: label.name for label in labels.labels} for labels in (fixed, moving)]
    listed = ", ".join(
        f"{ours} ({names[0][ours]} = {names[1][theirs]})" if names[0][ours] != names[1][theirs] else f"{ours}"
        for ours, theirs in pairs[:5]
    )
    if len(pairs) > 5:
        listed = _("{listed} and {count} more").format(listed=listed, count=len(pairs) - 5)
    return _(
        "Structures were matched by value alone: {listed}. Check that each value means the "
        "same organ in both segmentations; if not, say which belong together."
    ).format(listed=listed)


def _matched(fixed: LabelMap, moving: LabelMap) -> Matches:
    """What the user matched, else what has the same name."""
    chosen = [(label.counterpart, label.value) for label in moving.labels if label.counterpart is not None]
    # Of a pair that was swapped, the fixed structures know.
    chosen += [(label.value, label.counterpart) for label in fixed.labels if label.counterpart is not None]
    if chosen:
        return tuple(chosen)
    named = [[label for label in one.labels if not _is_nameless(label)] for one in (fixed, moving)]
    names = [[plain_name(label.name) for label in labels] for labels in named]
    for own, other in (names, names[::-1]):
        double = next((name for name in own if own.count(name) > 1 and name in other), None)
        if double is not None:
            raise BadInputError(
                _(
                    "{count} structures of a segmentation are called '{double}', so that it is unclear which "
                    "belong together; give each its own name."
                ).format(count=own.count(double), double=double)
            )
    return tuple((named[0][first].value, named[1][second].value) for first, second in pairs_of_same_name(*names))


def _of_same_value(fixed: LabelMap, moving: LabelMap) -> Matches:
    values = {label.value for label in moving.labels}
    return tuple((label.value, label.value) for label in fixed.labels if label.value in values)


def _is_nameless(label: Label) -> bool:
    """True if the name was made from the value, as that of a file that has no names."""
    return plain_name(label.name) == f"label {label.value}"


def _find(labels: LabelMap, text: str, side: str) -> int:
    """Value of the structure of that name, else of that value."""
    for label in labels.labels:
        if plain_name(label.name) == plain_name(text):
            return label.value
    for label in labels.labels:
        if str(label.value) == text.strip():
            return label.value
    there = ", ".join(f"{label.name} ({label.value})" for label in labels.labels[:10])
    raise BadInputError(
        _("{segmentation} has no structure '{text}'; it has {there}.").format(
            segmentation=the(f"{side} segmentation", first=True), text=text.strip(), there=there
        )
    )
