"""Accept, look here, or do not use: the verdict on a registration, always with its reasons and their numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ...core.display import LEVELS
from ...core.measures import SOURCES
from ...core.metrics import Metrics, Reason, Verdict
from ...core.sentences import joined
from ...core.sentences import marked as _
from .limits import Limits, load_limits

_ORDER = list(LEVELS)
FEWEST_LANDMARKS = 3  # fewer say nothing about the rest of the scan
ORGANS_APART = 0.7  # Dice of outlines found automatically; each alone errs by 0.05 to 0.15
# Scans that are nearly the same as loaded, and a map that hardly moves them: interpolation alone blurs one of them.
SAME_NCC = 0.95
SAME_MM = 0.5


def judge(
    metrics: Metrics,
    guided_by_labels: bool = False,
    guided_by_landmarks: bool = False,
    limits: Limits | None = None,
) -> Verdict:
    """Verdict on the metrics of a registration.

    The gravest reason decides. A registration is accepted only on evidence that it has not used: landmarks or
    structures that did not guide it, within their limits. That the scans look alike, that the map does not fold and
    that it can be inverted is necessary, and proves nothing about accuracy (AAPM TG-132; Rohlfing, TMI 2012).

    Args:
        metrics: as measured; what is not there is not judged.
        guided_by_labels: the segmentations guided the registration.
        guided_by_landmarks: the landmarks did.
        limits: the table; by default the one that ships, or the site's.

    Returns:
        The level, with its reasons, the gravest first.
    """
    table = limits or load_limits()
    reasons = [
        *_landmark_reasons(metrics, table, guided_by_landmarks),
        *_structure_reasons(metrics, table, guided_by_labels),
        *_map_reasons(metrics, table),
        *_similarity_reasons(metrics, table),
        *_organ_reasons(metrics),
    ]
    if not any(reason.independent for reason in reasons):
        reasons += _coverage_reasons(metrics, table)
        used = [
            name
            for name, guided, measured in (
                ("outlines", guided_by_labels, metrics.structures),
                ("landmarks", guided_by_landmarks, metrics.landmarks),
            )
            if guided and measured
        ]
        why = (
            _("the {used} guided the registration").format(used=joined(" and ", used))
            if used
            else _("no landmarks, no outlines were given")
        )
        text = _("No independent evidence of accuracy: {why}. Check the anatomy that matters by eye.").format(why=why)
        reasons.append(Reason(text=text, severity="look"))
    ordered = sorted(reasons, key=lambda reason: _ORDER.index(reason.severity))
    level = ordered[0].severity
    return Verdict(level=level, title=LEVELS[level].title, reasons=tuple(ordered), limits=table.name)


def _landmark_reasons(metrics: Metrics, limits: Limits, guided: bool) -> Iterator[Reason]:
    errors = metrics.landmarks
    if errors is None:
        return
    before, after = errors.before.mean, errors.after.mean
    count = len(errors.landmarks) or FEWEST_LANDMARKS
    said = _(" (they guided the registration)") if guided else ""
    text = _("The landmarks are {after:.1f} mm apart on average, {before:.1f} mm as loaded{said}.").format(
        after=after, before=before, said=said
    )
    yield _held(text, after, limits, "tre_mean_mm", not guided and count >= FEWEST_LANDMARKS)
    far = errors.after.p95
    if far is not None:
        text = _("One landmark in twenty is off by {far:.1f} mm or more.").format(far=far)
        yield from _doubt(text, far, limits, "tre_p95_mm")
    text = _("The landmarks are {after:.1f} mm farther apart than as loaded.").format(after=after - before)
    yield from _doubt(text, after - before, limits, "tre_change_mm")


def _structure_reasons(metrics: Metrics, limits: Limits, guided: bool) -> Iterator[Reason]:
    overlaps = {name: one.dice.after for name, one in metrics.structures.items() if one.dice.after is not None}
    if not overlaps:
        return
    said = _(" (the outlines guided the registration)") if guided else ""
    worst = min(overlaps, key=lambda name: overlaps[name])
    loaded = {name: metrics.structures[name].dice.before or 0.0 for name in overlaps}
    count = len(overlaps)
    which = _("{structure}, the least of {count} structures").format(structure=worst, count=count)
    text = _("{structure}: Dice {dice:.2f}, {loaded:.2f} as loaded{said}.").format(
        structure=which if count > 1 else worst, dice=overlaps[worst], loaded=loaded[worst], said=said
    )
    reason = _held(text, overlaps[worst], limits, "dice", not guided)
    surface = metrics.structures[worst].asd_mm.after
    if reason.severity == "reject" and surface is not None and limits["asd_mm"].severity(surface) == "accept":
        # A thin structure loses its overlap at a distance that a thick one hardly notices.
        reason = replace(reason, severity="look", limit=limits["dice"].accept)
    yield reason
    changes = {name: overlaps[name] - loaded[name] for name in overlaps}
    worst = min(changes, key=lambda name: changes[name])
    text = _("{structure}: Dice fell by {loss:.2f}.").format(structure=worst, loss=-changes[worst])
    yield from _doubt(text, changes[worst], limits, "dice_change")
    for key, template in (
        ("asd_mm", _("{structure}: the surfaces are {distance:.1f} mm apart on average{said}.")),
        ("hd95_mm", _("{structure}: HD95 is {distance:.1f} mm{said}.")),
    ):
        distances = {name: getattr(one, key).after for name, one in metrics.structures.items()}
        known = {name: distance for name, distance in distances.items() if distance is not None}
        if known:
            worst = max(known, key=lambda name: known[name])
            text = template.format(structure=worst, distance=known[worst], said=said)
            yield _held(text, known[worst], limits, key)


def _map_reasons(metrics: Metrics, limits: Limits) -> Iterator[Reason]:
    """Plausibility of the map, in the structures where there are some (the rest is air or table), else everywhere."""
    deformation = metrics.deformation
    whole, inside = deformation.jacobian, deformation.jacobian_in_mask
    if whole.fold_percent is not None:
        count = deformation.fold_count
        regions = _(", in 1 region") if count == 1 else _(", in {count} regions").format(count=count) if count else ""
        where = (
            ""
            if inside is None or inside.fold_percent is None
            else _("; {share:.3f} % in the structures").format(share=inside.fold_percent)
        )
        text = _("The map folds at {share:.3f} % of the voxels{regions}{where}.").format(
            share=whole.fold_percent, regions=regions, where=where
        )
        text = text if whole.fold_percent else _("The map does not fold.")
        yield _held(text, whole.fold_percent, limits, "fold_percent")
    judged, place = (
        (inside, _("in the structures")) if inside and inside.p1 is not None else (whole, _("in the scan"))
    )
    if judged.p1 is not None:
        text = _("1 % of the voxels {place} shrink to {share:.2f} of their volume (det J) or less.").format(
            place=place, share=judged.p1
        )
        yield from _doubt(text, judged.p1, limits, "jacobian_p1")
    if judged.p99 is not None:
        text = _("1 % of the voxels {place} grow to {factor:.1f} times their volume (det J) or more.").format(
            place=place, factor=judged.p99
        )
        yield from _doubt(text, judged.p99, limits, "jacobian_p99")
    consistency = deformation.inverse_consistency_mm
    if consistency.p95 is not None:
        text = _("There and back, 95 % of the points return within {distance:.1f} mm ({source}).").format(
            distance=consistency.p95, source=SOURCES.get(consistency.source, consistency.source)
        )
        yield _held(text, consistency.p95, limits, "inverse_consistency_p95_mm")
    expected = metrics.uncertainty_mm.mean if metrics.uncertainty_mm else None
    if expected is not None:
        # An estimate may raise doubts; it does not take the place of a measurement.
        text = _("An error of {expected:.1f} mm is to be expected on average, as estimated from the scans.").format(
            expected=expected
        )
        yield from _doubt(text, expected, limits, "uncertainty_mean_mm")


def _similarity_reasons(metrics: Metrics, limits: Limits) -> Iterator[Reason]:
    found = metrics.similarity
    if found is None:
        return
    alike = found.local_ncc
    if alike.after is not None:
        loaded = "" if alike.before is None else _(", {before:.2f} as loaded").format(before=alike.before)
        text = _("Where both have data, the scans are alike to {after:.2f} (local NCC, 0 to 1{loaded}).").format(
            after=alike.after, loaded=loaded
        )
        yield _held(text, alike.after, limits, "local_ncc")
    if found.in_place_percent is not None:
        text = _("{share:.0f} % of the neighborhoods agree best at this place, not 5 or 10 mm beside it.").format(
            share=found.in_place_percent
        )
        yield _held(text, found.in_place_percent, limits, "in_place_percent")
    if _same_scan_twice(metrics):
        text = _(
            "The scans were nearly the same as loaded (local NCC {before:.2f}), and the transform moves "
            "hardly anything; check that these are the two scans that you meant."
        ).format(before=alike.before)
        yield Reason(text=text, severity="look", value=alike.before)
        return  # that the scans are a little less alike now is interpolation
    for pair, name, key in (
        (alike, _("local NCC"), "local_ncc_change"),
        (found.mutual_information, _("mutual information"), "mutual_information_change"),
    ):
        if pair.gain is not None:
            text = _("The scans are less alike than as loaded: {name} {after:.2f}, {before:.2f} before.").format(
                name=name, after=pair.after, before=pair.before
            )
            yield from _doubt(text, pair.gain, limits, key)


def _same_scan_twice(metrics: Metrics) -> bool:
    """Nearly the same scan under nearly the identity."""
    moved = metrics.deformation.displacement_mm.max
    before = metrics.similarity.local_ncc.before if metrics.similarity else None
    return moved is not None and moved <= SAME_MM and before is not None and before >= SAME_NCC


def _organ_reasons(metrics: Metrics) -> Iterator[Reason]:
    """A doubt where organs that nobody reviewed lie apart; that they lie together proves nothing."""
    for name, dice in metrics.found_organs.items():
        if dice < ORGANS_APART:
            text = _(
                "What was found automatically as {name} in both scans overlaps only by Dice {dice:.2f}. "
                "Nobody reviewed these outlines; look there."
            ).format(name=name, dice=dice)
            yield Reason(text=text, severity="look")


def _coverage_reasons(metrics: Metrics, limits: Limits) -> Iterator[Reason]:
    """A small common field of view matters where nothing else shows that the right parts lie on each other."""
    covered = metrics.similarity.overlap_percent.after if metrics.similarity else None
    if covered is not None:
        text = _("The moving scan covers {covered:.0f} % of the fixed scan.").format(covered=covered)
        yield from _doubt(text, covered, limits, "overlap_percent")


def _held(text: str, value: float, limits: Limits, key: str, independent: bool = False) -> Reason:
    """Reason of a number held against its limit."""
    limit = limits[key]
    severity = limit.severity(value)
    against = limit.reject if severity == "reject" else limit.accept
    return Reason(text=text, severity=severity, value=value, limit=against, independent=independent)


def _doubt(text: str, value: float, limits: Limits, key: str) -> Iterator[Reason]:
    """The reason of a number that is beyond its limit; none of one that is within."""
    reason = _held(text, value, limits, key)
    if reason.severity != "accept":
        yield reason
