"""Metrics as rows of a table, for the panel and the terminal alike; each row knows the place that it is about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from .measures import SOURCES, Measure, Point, StructureMetrics, measures_of
from .metrics import Metrics, WorstPlace, catalog
from .sentences import joined
from .sentences import marked as _
from .subjects import the

LANDMARK_STATISTICS = ("mean", "std", "p75", "p95", "max")
JACOBIAN_STATISTICS = ("min", "max", "std", "fold_percent", "sdlogj")
SINGLE_PLACES = _("The limits are for averages and percentiles; at single places it can be worse:")
_PLAIN_STRUCTURE_KEYS = ("volume_ml",)  # three volumes make no row of before and after


@dataclass(frozen=True, kw_only=True)
class MetricRow:
    """A row of the metrics table.

    Args:
        key: key of the measure in the catalog.
        measure: its words.
        structure: which structure or landmark the row is about, or from what it was measured; empty for the whole.
        before: as loaded; None where nothing was measured.
        after: with the transform, likewise.
        point_lps: where in the fixed scan, LPS mm; None where the row has no place of its own.
    """

    key: str
    measure: Measure
    structure: str = ""
    before: float | None = None
    after: float | None = None
    point_lps: Point | None = None

    @property
    def cells(self) -> tuple[str, str, str, str, str]:
        """Title, structure, before, after and unit as text."""
        shown = self.measure.text
        return self.measure.title, self.structure, shown(self.before), shown(self.after), self.measure.unit


def metric_rows(metrics: Metrics) -> list[MetricRow]:
    """Rows of the metrics of a run; what was not measured has no row. Single landmarks come last, the worst first."""
    rows = [*_structure_rows(metrics), *_landmark_rows(metrics), *_map_rows(metrics), *_similarity_rows(metrics)]
    landmarks = metrics.landmarks.landmarks if metrics.landmarks else ()
    for landmark in sorted(landmarks, key=lambda one: -one.after):
        rows.append(
            MetricRow(
                key="tre_mm",
                measure=catalog()["tre_mm"],
                structure=landmark.name,
                before=landmark.before,
                after=landmark.after,
                point_lps=landmark.point_lps,
            )
        )
    return [row for row in rows if row.before is not None or row.after is not None]


def left_out_text(metrics: Metrics) -> str:
    """How much masks leave out of the similarity, in words; empty without masks."""
    return joined(
        ", ",
        (
            _("{share:.1f} % of {scan}").format(share=share, scan=the(f"{name} scan"))
            for name, share in metrics.left_out_percent.items()
        ),
    )


def single_places_text(metrics: Metrics) -> str:
    """What the verdict's limits leave open: the largest distances, for which there are none; empty without them."""
    farthest = [place_text(place) for place in metrics.worst_places if catalog()[place.measure].unit == "mm"]
    return joined(" ", (SINGLE_PLACES, joined("; ", farthest))) if farthest else ""


def place_text(place: WorstPlace) -> str:
    """A worst place in words: what is worst there, how much, and in which structure."""
    what, value = place_title(place), place_value(place)
    if not place.structure:
        return joined(": ", (what, value))
    return _("{what}: {value}, {structure}").format(what=what, value=value, structure=place.structure)


def place_title(place: WorstPlace) -> str:
    """What is worst at a place."""
    what = {"hd_mm": _("Largest surface distance (HD)"), "uncertainty_mm.max": _("Largest expected error")}
    return what.get(place.measure, _("Smallest volume change (det J)"))


def place_value(place: WorstPlace) -> str:
    """The measure at a worst place with its unit."""
    measure = catalog()[place.measure]
    return f"{measure.text(place.value)} {measure.unit}".strip()


def position_text(point_lps: Point) -> str:
    """An LPS point as a radiologist reads it: the patient's side and millimeters from the scanner's origin."""
    sides = (letters[int(value < 0)] for letters, value in zip(("LR", "PA", "SI"), point_lps, strict=True))
    return ", ".join(f"{side} {abs(value):.1f}" for side, value in zip(sides, point_lps, strict=True)) + " mm"


def _structure_rows(metrics: Metrics) -> Iterator[MetricRow]:
    farthest = next((place for place in metrics.worst_places if place.measure == "hd_mm"), None)
    for key, measure in measures_of(StructureMetrics).items():
        for name, one in metrics.structures.items() if key not in _PLAIN_STRUCTURE_KEYS else ():
            value = getattr(one, key)
            before, after = (None, value) if key == "volume_change_percent" else (value.before, value.after)
            point = farthest.point_lps if farthest and key == "hd_mm" and farthest.structure == name else None
            yield MetricRow(key=key, measure=measure, structure=name, before=before, after=after, point_lps=point)


def _landmark_rows(metrics: Metrics) -> Iterator[MetricRow]:
    errors = metrics.landmarks
    if errors is None:
        return
    worst = max(errors.landmarks, key=lambda one: one.after, default=None)
    for name in LANDMARK_STATISTICS:
        key = f"tre_mm.{name}"
        yield MetricRow(
            key=key,
            measure=catalog()[key],
            structure=_("landmarks"),
            before=getattr(errors.before, name),
            after=getattr(errors.after, name),
            point_lps=worst.point_lps if worst is not None and name == "max" else None,
        )


def _map_rows(metrics: Metrics) -> Iterator[MetricRow]:
    """Rows about the map itself, and about the error that is to be expected of it."""
    deformation, points = metrics.deformation, {place.measure: place.point_lps for place in metrics.worst_places}
    if deformation.folds:
        points["jacobian.fold_percent"] = deformation.folds[0].point_lps
    for name in JACOBIAN_STATISTICS:
        yield _row(f"jacobian.{name}", getattr(deformation.jacobian, name), points)
    if deformation.jacobian_in_mask is not None:
        yield _row("jacobian_in_mask.min", deformation.jacobian_in_mask.min, points)
    for key, spread in (
        ("displacement_mm", deformation.displacement_mm),
        ("inverse_consistency_mm", deformation.inverse_consistency_mm),
        ("uncertainty_mm", metrics.uncertainty_mm),
    ):
        source = SOURCES.get(getattr(spread, "source", ""), "")
        for name in ("mean", "p95", "max") if spread is not None else ():
            yield replace(_row(f"{key}.{name}", getattr(spread, name), points), structure=source)


def _similarity_rows(metrics: Metrics) -> Iterator[MetricRow]:
    found = metrics.similarity
    if found is None:
        return
    for key, change in (("similarity.local_ncc", found.local_ncc), ("overlap_percent", found.overlap_percent)):
        yield MetricRow(key=key, measure=catalog()[key], before=change.before, after=change.after)
    yield _row("in_place_percent", found.in_place_percent, {})


def _row(key: str, value: float | None, points: dict[str, Point]) -> MetricRow:
    return MetricRow(key=key, measure=catalog()[key], after=value, point_lps=points.get(key))
