"""The most telling places of a registration: where a reader should look first, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .case import Case, Structure
from .planes import Points, sample

CLOSE_MM = 6.0  # two reasons to look at nearly the same place share its pictures
MOST_STRUCTURES = 2
CANDIDATES = 20_000  # voxels among which the worst that the moving scan covers is looked for


@dataclass(frozen=True, eq=False)
class Place:
    """A point of the fixed scan, LPS mm, and why it is shown."""

    title: str
    reason: str
    point: Points


def telling_places(case: Case) -> list[Place]:
    """The places of a case: deformation, Jacobian, match, uncertainty, centers of structures; close ones joined."""
    found = [_largest_deformation(case), _worst_jacobian(case), _poorest_match(case), _most_uncertain(case)]
    found += [_center(case, structure) for structure in _structures_to_show(case)]
    joined: list[Place] = []
    for place in found:
        if place is None:
            continue
        near = [i for i, other in enumerate(joined) if np.linalg.norm(other.point - place.point) < CLOSE_MM]
        if near:
            other = joined[near[0]]
            reason = f"{other.reason} Here too, {place.title[:1].lower()}{place.title[1:]}: {place.reason}"
            joined[near[0]] = replace(other, reason=reason)
        else:
            joined.append(place)
    if not joined:
        joined = [Place("Middle of the fixed scan", "Nothing else stands out.", np.array(case.fixed.grid.center))]
    return joined


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
    return Place("Largest deformation", reason, points[worst])


def _worst_jacobian(case: Case) -> Place | None:
    folds = case.result.metrics.deformation.folds
    grid = case.result.jacobian.grid
    if folds:
        deepest = min(folds, key=lambda fold: fold.worst)
        reason = f"det J falls to {deepest.worst:.2f}: the map turns tissue inside out."
        return Place("Deepest fold", reason, np.array(deepest.point_lps, dtype=np.float64))
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
    return Place("Worst Jacobian", text, points[first])


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
    return Place("Poorest match", reason, points[worst])


def _most_uncertain(case: Case) -> Place | None:
    points, uncertainty = case.coarse_points, case.uncertainty
    if uncertainty is None or not len(points):
        return None
    values = np.nan_to_num(sample(uncertainty, points), nan=-1.0)
    worst = int(values.argmax())
    reason = f"An error of {values[worst]:.1f} mm is to be expected here, as estimated from the scans."
    return Place("Largest expected error", reason, points[worst])


def _structures_to_show(case: Case) -> list[Structure]:
    """Those that overlap least after registration, since these need a look."""
    found = case.result.metrics.structures

    def overlap(structure: Structure) -> float:
        after = found[structure.name].dice.after if structure.name in found else None
        return 2.0 if after is None else after

    return sorted(case.structures, key=overlap)[:MOST_STRUCTURES]


def _center(case: Case, structure: Structure) -> Place | None:
    """The voxel of a structure next to its centroid, which itself may lie outside of a hollow one."""
    labels = case.pair.fixed.labels
    if labels is None:
        return None
    index = np.argwhere(labels.mask(structure.fixed_value))[:, ::-1]
    if not len(index):
        return None
    points = labels.grid.to_physical(index)
    nearest = int(np.linalg.norm(points - points.mean(axis=0), axis=1).argmin())
    found = case.result.metrics.structures.get(structure.name)
    dice = found.dice.after if found is not None else None
    reason = (
        "The middle of the structure." if dice is None else f"Dice of the structure after registration: {dice:.3f}."
    )
    return Place(f"Center of {structure.name}", reason, points[nearest])
