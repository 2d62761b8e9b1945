"""Accept, look here, or do not use: the verdict on a registration, always with its reasons and their numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .limits import Limits, load_limits

_ORDER = ("reject", "look", "accept")
_TITLES = {
    "accept": "Within all limits",
    "look": "Look before you use it",
    "reject": "Do not use",
}
FEWEST_LANDMARKS = 3  # fewer say nothing about the rest of the scan
ALIKE = "local_ncc"


@dataclass(frozen=True)
class Reason:
    """One reason of a verdict.

    Args:
        text: a sentence with the number.
        severity: ``"accept"``, ``"look"`` or ``"reject"``.
        value: the number; None where the reason is that there is none.
        limit: what it was held against: the limit that it breaks, or keeps.
        independent: it is evidence of accuracy that the registration has not seen.
    """

    text: str
    severity: str
    value: float | None = None
    limit: float | None = None
    independent: bool = False

    def to_json(self) -> dict[str, Any]:
        """Entry of the metrics."""
        return {"text": self.text, "severity": self.severity, "value": self.value, "limit": self.limit}


def judge(
    metrics: Mapping[str, Any],
    guided_by_labels: bool = False,
    guided_by_landmarks: bool = False,
    limits: Limits | None = None,
) -> dict[str, Any]:
    """Verdict on the metrics of a registration.

    The gravest reason decides. A registration is accepted only on evidence that it has not seen: landmarks or
    structures that did not guide it, within their limits. That the scans look alike, that the map does not fold and
    that it can be inverted is necessary, and proves nothing about accuracy (AAPM TG-132; Rohlfing, TMI 2012).

    Args:
        metrics: as measured; what is not there is not judged.
        guided_by_labels: the segmentations guided the registration.
        guided_by_landmarks: the landmarks did.
        limits: the table; by default the one that ships, or the site's.

    Returns:
        ``level``, ``title``, ``reasons`` (the gravest first) and ``limits``, as in docs/metrics.md.
    """
    table = limits or load_limits()
    reasons = [
        *_landmark_reasons(metrics, table, guided_by_landmarks),
        *_structure_reasons(metrics, table, guided_by_labels),
        *_map_reasons(metrics, table),
        *_similarity_reasons(metrics, table),
    ]
    if not any(reason.independent for reason in reasons):
        reasons += _coverage_reasons(metrics, table)
        guides = [name for name, used in (("outlines", guided_by_labels), ("landmarks", guided_by_landmarks)) if used]
        measured = [name for name, key in (("outlines", "dice"), ("landmarks", "tre_mm")) if metrics.get(key)]
        seen = [name for name in guides if name in measured]
        why = f"the {' and '.join(seen)} guided the registration" if seen else "no landmarks, no outlines were given"
        text = f"No independent evidence of accuracy: {why}. Check the anatomy that matters by eye."
        reasons.append(Reason(text, "look"))
    ordered = sorted(reasons, key=lambda reason: _ORDER.index(reason.severity))
    level = ordered[0].severity
    return {
        "level": level,
        "title": _TITLES[level],
        "reasons": [reason.to_json() for reason in ordered],
        "limits": table.name,
    }


def _landmark_reasons(metrics: Mapping[str, Any], limits: Limits, guided: bool) -> Iterator[Reason]:
    errors = metrics.get("tre_mm")
    if not errors:
        return
    before, after = errors["before"]["mean"], errors["after"]["mean"]
    count = len(errors.get("landmarks", ())) or FEWEST_LANDMARKS
    said = " (they guided the registration)" if guided else ""
    text = f"The landmarks are {after:.1f} mm apart on average, {before:.1f} mm as loaded{said}."
    yield _held(text, after, limits, "tre_mean_mm", not guided and count >= FEWEST_LANDMARKS)
    far = errors["after"].get("p95")
    if far is not None:
        reason = _held(f"One landmark in twenty is off by {far:.1f} mm or more.", far, limits, "tre_p95_mm")
        if reason.severity != "accept":
            yield reason
    text = f"The landmarks are {after - before:.1f} mm farther apart than as loaded."
    change = _held(text, after - before, limits, "tre_change_mm")
    if change.severity != "accept":
        yield change


def _structure_reasons(metrics: Mapping[str, Any], limits: Limits, guided: bool) -> Iterator[Reason]:
    overlaps = {name: pair for name, pair in (metrics.get("dice") or {}).items() if pair["after"] is not None}
    if not overlaps:
        return
    said = " (the outlines guided the registration)" if guided else ""
    worst = min(overlaps, key=lambda name: overlaps[name]["after"])
    value, loaded = overlaps[worst]["after"], overlaps[worst]["before"] or 0.0
    which = f"{worst}: " if len(overlaps) == 1 else f"{worst}, the least of {len(overlaps)} structures: "
    text = f"{which}Dice {value:.2f}, {loaded:.2f} as loaded{said}."
    reason = _held(text, value, limits, "dice", not guided)
    surface = (metrics.get("asd_mm") or {}).get(worst, {}).get("after")
    if reason.severity == "reject" and surface is not None and limits["asd_mm"].severity(surface) == "accept":
        # A thin structure loses its overlap at a distance that a thick one hardly notices.
        reason = replace(reason, severity="look", limit=limits["dice"].accept)
    yield reason
    changes = {name: pair["after"] - (pair["before"] or 0.0) for name, pair in overlaps.items()}
    worst = min(changes, key=lambda name: changes[name])
    change = _held(f"{worst}: Dice fell by {-changes[worst]:.2f}.", changes[worst], limits, "dice_change")
    if change.severity != "accept":
        yield change
    for key, what in (("asd_mm", "the surfaces are {:.1f} mm apart on average"), ("hd95_mm", "HD95 is {:.1f} mm")):
        distances = {name: pair["after"] for name, pair in (metrics.get(key) or {}).items()}
        known = {name: distance for name, distance in distances.items() if distance is not None}
        if known:
            worst = max(known, key=lambda name: known[name])
            yield _held(f"{worst}: {what.format(known[worst])}{said}.", known[worst], limits, key)


def _map_reasons(metrics: Mapping[str, Any], limits: Limits) -> Iterator[Reason]:
    """Plausibility of the map, in the structures where there are some (the rest is air or table), else everywhere."""
    jacobian = metrics["jacobian"]
    inside = metrics.get("jacobian_in_mask")
    folded, count = jacobian["fold_percent"], metrics.get("fold_count", 0)
    regions = f", in {count} region{'s' if count != 1 else ''}" if count else ""
    where = (
        "" if not inside or inside["fold_percent"] is None else f"; {inside['fold_percent']:.3f} % in the structures"
    )
    text = f"The map folds at {folded:.3f} % of the voxels{regions}{where}." if folded else "The map does not fold."
    yield _held(text, folded, limits, "fold_percent")
    judged = inside if inside and inside["p1"] is not None else jacobian
    place = "in the structures" if judged is inside else "in the scan"
    for key, text in (
        ("p1", "1 % of the voxels {} change their volume by a factor of {:.2f} (det J) or less."),
        ("p99", "1 % of the voxels {} change their volume by a factor of {:.1f} (det J) or more."),
    ):
        reason = _held(text.format(place, judged[key]), judged[key], limits, f"jacobian_{key}")
        if reason.severity != "accept":
            yield reason
    consistency = metrics.get("inverse_consistency_mm") or {}
    if consistency.get("p95") is not None:
        text = (
            f"There and back, 95 % of the points return within {consistency['p95']:.1f} mm ({consistency['source']})."
        )
        yield _held(text, consistency["p95"], limits, "inverse_consistency_p95_mm")
    uncertainty = (metrics.get("uncertainty_mm") or {}).get("mean")
    if uncertainty is not None:
        text = f"An error of {uncertainty:.1f} mm is to be expected on average, as estimated from the scans."
        reason = _held(text, uncertainty, limits, "uncertainty_mean_mm")
        # An estimate may raise doubts; it does not take the place of a measurement.
        if reason.severity != "accept":
            yield reason


def _similarity_reasons(metrics: Mapping[str, Any], limits: Limits) -> Iterator[Reason]:
    measures = metrics.get("similarity") or {}
    alike = measures.get(ALIKE) or {}
    after = alike.get("after")
    if after is not None:
        before = alike.get("before")
        loaded = "" if before is None else f", {before:.2f} as loaded"
        text = f"Where both have data, the scans are alike to {after:.2f} (local NCC, 0 to 1{loaded})."
        yield _held(text, after, limits, ALIKE)
    in_place = metrics.get("in_place_percent")
    if in_place is not None:
        text = f"{in_place:.0f} % of the neighborhoods fit best where the map puts them, not 5 or 10 mm beside."
        yield _held(text, in_place, limits, "in_place_percent")
    for key, name in ((ALIKE, "local NCC"), ("mutual_information", "mutual information")):
        pair = measures.get(key) or {}
        if pair.get("before") is None or pair.get("after") is None:
            continue
        change = pair["after"] - pair["before"]
        text = f"The scans are less alike than as loaded: {name} {pair['after']:.2f}, {pair['before']:.2f} before."
        reason = _held(text, change, limits, f"{key}_change")
        if reason.severity != "accept":
            yield reason


def _coverage_reasons(metrics: Mapping[str, Any], limits: Limits) -> Iterator[Reason]:
    """A small common field of view matters where nothing else shows that the right parts lie on each other."""
    covered = (metrics.get("overlap_percent") or {}).get("after")
    if covered is not None:
        reason = _held(
            f"The moving scan covers {covered:.0f} % of the fixed scan.", covered, limits, "overlap_percent"
        )
        if reason.severity != "accept":
            yield reason


def _held(text: str, value: float, limits: Limits, key: str, independent: bool = False) -> Reason:
    """Reason of a number held against its limit."""
    limit = limits[key]
    severity = limit.severity(value)
    against = limit.reject if severity == "reject" else limit.accept
    return Reason(text, severity, value, against, independent)
