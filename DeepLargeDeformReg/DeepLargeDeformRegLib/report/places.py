"""The most telling places of a registration: where a reader should look first, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..core.display import MAPS
from ..core.metrics import WorstPlace
from ..core.rows import place_value
from .case import Case, Structure
from .planes import Points, sample
from .texts import VOLUME_CHANGE

CLOSE_MM = 6.0  # two reasons to look at nearly the same place share its pictures
MOST_PLACES = 3  # with pictures: what a reader looks at, and prints
CANDIDATES = 20_000  # voxels among which the worst that the moving scan covers is looked for


@dataclass(frozen=True, eq=False)
class Place:
    """A point of the fixed scan, LPS mm, why it is shown, and the titles of the pictures that show it best."""

    title: str
    reason: str
    point: Points
    shows: tuple[str, ...]


def telling_places(case: Case) -> list[Place]:
    """The places where a reader should look first: close ones joined, at most three.

    In this order: the worst volume change, the largest surface distance, the largest expected error, the poorest
    match, the largest deformation.
    """
    found = [_worst_jacobian(case), _largest_distance(case), _largest_error(case)]
    found += [_poorest_match(case), _largest_deformation(case)]
    joined: list[Place] = []
    for place in found:
        if place is None:
            continue
        near = [i for i, other in enumerate(joined) if np.linalg.norm(other.point - place.point) < CLOSE_MM]
        if near:
            other = joined[near[0]]
            reason = f"{other.reason} Here too, {place.title[:1].lower()}{place.title[1:]}: {place.reason}"
            joined[near[0]] = replace(other, reason=reason, shows=(*other.shows, *place.shows))
        elif len(joined) < MOST_PLACES:
            joined.append(place)
    if not joined:
        point = np.array(case.fixed.grid.center)
        joined = [Place("Middle of the fixed scan", "Nothing else stands out.", point, ("Difference after",))]
    return joined


def middle(case: Case) -> tuple[str, Points]:
    """A first look at the case: the middle of the structure that overlaps least, or else of what matters."""
    for structure in _worst_first(case):
        point = _center(case, structure)
        if point is not None:
            return f"the middle of {structure.name}", point
    points = case.coarse_points
    if not len(points):
        return "the middle of the fixed scan", np.array(case.fixed.grid.center)
    return "the middle of the body", points[int(np.linalg.norm(points - points.mean(axis=0), axis=1).argmin())]


def _largest_distance(case: Case) -> Place | None:
    """Where the outline of a structure is farthest from its propagated one."""
    worst = _worst(case, "hd_mm")
    if worst is None:
        return None
    reason = f"The outlines of {worst.structure} are {place_value(worst)} apart (HD)."
    return Place("Largest surface distance", reason, np.array(worst.point_lps), ())


def _largest_deformation(case: Case) -> Place | None:
    points = case.coarse_points
    if not len(points):
        return None
    there = case.mapped(points)[0]
    beyond = case.beyond_affine(points, there)
    worst = int(beyond.argmax())
    whole = float(np.linalg.norm(there[worst] - points[worst]))
    reason = (
        f"The map moves this point by {whole:.1f} mm, {beyond[worst]:.1f} mm of it beyond the closest affine map."
    )
    return Place("Largest deformation", reason, points[worst], ("Deformed grid",))


def _worst_jacobian(case: Case) -> Place | None:
    folds = case.result.metrics.deformation.folds
    grid = case.result.jacobian.grid
    if folds:
        deepest = min(folds, key=lambda fold: fold.worst)
        reason = f"det J falls to {deepest.worst:.2f}: the map turns tissue inside out."
        return Place("Deepest fold", reason, np.array(deepest.point_lps), (VOLUME_CHANGE,))
    inside = np.flatnonzero(case.inside(case.focus))
    if not len(inside):
        return None
    values = case.result.jacobian.array.ravel()[inside].astype(np.float64)
    severity = np.where(values > 0, np.abs(np.log(np.maximum(values, 1e-6))), 1e3 - values)
    worst = np.argpartition(severity, -min(CANDIDATES, len(severity)))[-CANDIDATES:]
    worst = worst[np.argsort(-severity[worst])]
    index = np.stack(np.unravel_index(inside[worst], grid.shape), axis=-1)[:, ::-1]
    points = grid.to_physical(index)
    covered = case.mapped(points)[1]
    if not covered.any():
        return None
    first = int(covered.argmax())
    value = float(values[worst[first]])
    if value <= 0:
        text = f"det J is {value:.2f}: the map folds."
    else:
        text = f"det J is {value:.2f}: the map makes tissue {_times(value)} than it was in the fixed scan."
    return Place("Worst volume change", text, points[first], (VOLUME_CHANGE,))


def _times(value: float) -> str:
    return f"{value:.1f} times larger" if value > 1 else f"{1 / value:.1f} times smaller"


def _poorest_match(case: Case) -> Place | None:
    """Where the scans are least alike, among the places that have something to compare."""
    points, similarity = case.coarse_points, case.similarity
    if similarity is None or not len(points):
        return None
    values = sample(similarity, points, nearest=True)
    defined = np.isfinite(values) & similarity.grid.contains(points)
    if not defined.any():
        return None
    worst = int(np.where(defined, values, np.inf).argmin())
    reason = f"The local similarity of the scans is {values[worst]:.2f} here (1: alike, 0: nothing in common)."
    return Place("Poorest match", reason, points[worst], (MAPS["local_similarity"].title,))


def _largest_error(case: Case) -> Place | None:
    worst = _worst(case, "uncertainty_mm.max")
    if worst is None:
        return None
    reason = f"An error of {place_value(worst)} is to be expected here, as estimated from the scans."
    return Place("Largest expected error", reason, np.array(worst.point_lps), (MAPS["uncertainty_mm"].title,))


def _worst(case: Case, measure: str) -> WorstPlace | None:
    """The place of the metrics where a measure is at its worst."""
    return next((place for place in case.result.metrics.worst_places if place.measure == measure), None)


def _worst_first(case: Case) -> list[Structure]:
    """The structures that overlap least after registration first."""
    found = case.result.metrics.structures

    def overlap(structure: Structure) -> float:
        after = found[structure.name].dice.after if structure.name in found else None
        return 2.0 if after is None else after

    return sorted(case.structures, key=overlap)


def _center(case: Case, structure: Structure) -> Points | None:
    """The voxel of a structure next to its centroid, which itself may lie outside of a hollow one."""
    labels = case.pair.fixed.labels
    if labels is None:
        return None
    index = np.argwhere(labels.array == structure.fixed_value)[:, ::-1]
    if not len(index):
        return None
    points = labels.grid.to_physical(index)
    return points[int(np.linalg.norm(points - points.mean(axis=0), axis=1).argmin())]
