"""The metrics of a registration: one frozen record of all that was measured, how it was made, and the verdict.

A measurement builds a :class:`Metrics`; :meth:`Metrics.to_json` makes the content of ``metrics.json`` of it (see
docs/metrics.md), and :meth:`Metrics.from_json` reads that back in scene and report. Standard library only: Slicer
loads this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Annotated, Any

from .measures import (
    DeformationMetrics,
    ErrorSummary,
    JacobianStatistics,
    LandmarkMetrics,
    Measure,
    Point,
    SimilarityMetrics,
    Spread,
    StructureMetrics,
    measures_of,
)
from .records import from_plain, to_plain
from .sentences import Sentence, from_json
from .sentences import marked as _


@dataclass(frozen=True, kw_only=True)
class WorstPlace:
    """Where a measure is at its worst, whether within its limit or not.

    Args:
        measure: key of the measure: ``"hd_mm"``, ``"jacobian.min"`` or ``"uncertainty_mm.max"``.
        value: what it is there, in the measure's unit.
        point_lps: where, in the fixed scan, LPS mm.
        structure: the fixed structure there, or None.
    """

    measure: str
    value: float
    point_lps: Point
    structure: str | None = None


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One reason of a verdict.

    Args:
        text: a sentence with the number.
        severity: a key of :data:`.display.LEVELS`.
        value: the number; None where the reason is that there is none.
        limit: what it was held against: the limit that it breaks, or keeps.
        independent: it is evidence of accuracy that the registration has not used.
    """

    text: str
    severity: str
    value: float | None = None
    limit: float | None = None
    independent: bool = False


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a registration may be used.

    Args:
        level: a key of :data:`.display.LEVELS`.
        title: the level in words.
        reasons: what speaks for and against it, the gravest first.
        limits: name of the table of limits.
    """

    level: str
    title: str = ""
    reasons: tuple[Reason, ...] = ()
    limits: str = ""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """With what a registration was made: versions, settings, initial field, steps, checksum of the model."""

    version: str = ""
    torch: str = ""
    simpleitk: str = ""
    python: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    initial_field: str = ""
    refinement_steps: tuple[int, ...] = ()
    model_sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """All that was measured on a registration, and how it was made; what was not measured is None or empty.

    Args:
        deformation: plausibility of the map.
        structures: by the name of the fixed structure.
        landmarks: target registration error.
        similarity: of the scans; None without a moving scan.
        uncertainty_mm: error to expect, within the fixed structures or else where the moving scan has data.
        worst_places: where the measures are at their worst.
        found_organs: Dice after registration of the structures that were found automatically in both scans, by name.
            Nobody reviewed them: they can raise a doubt, and prove nothing.
        left_out_percent: share of a scan that a mask leaves out of the similarity, by ``"fixed"`` and ``"moving"``.
        verdict: None where the result was not judged.
        warnings: what the user should know, in sentences.
        seconds: time of each stage.
        device: where it was computed.
        model: name of the network's card; None without a network.
        linear_lps: linear part of the map, 4 x 4, LPS mm.
        provenance: None for a transform that was made elsewhere.
    """

    deformation: DeformationMetrics = field(default_factory=DeformationMetrics)
    structures: Mapping[str, StructureMetrics] = field(default_factory=dict)
    landmarks: Annotated[
        LandmarkMetrics | None,
        Measure(
            title=_("Landmark error"),
            unit="mm",
            digits=2,
            better="lower",
            description=_(
                "Target registration error: distance between where the map takes a fixed landmark and where "
                "its partner was marked in the moving scan; it includes the error of marking (Fitzpatrick "
                "and West, TMI 2001)."
            ),
        ),
    ] = None
    similarity: SimilarityMetrics | None = None
    uncertainty_mm: Annotated[
        Spread | None,
        Measure(
            title=_("Expected error"),
            unit="mm",
            digits=2,
            better="lower",
            description=_(
                "Error to expect, estimated from how the scans still differ and how much the map bends; "
                "where it is large, trust no detail."
            ),
        ),
    ] = None
    worst_places: tuple[WorstPlace, ...] = ()
    found_organs: Mapping[str, float] = field(default_factory=dict)
    left_out_percent: Mapping[str, float] = field(default_factory=dict)
    verdict: Verdict | None = None
    warnings: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    device: str | None = None
    model: str | None = None
    linear_lps: tuple[tuple[float, ...], ...] | None = None
    provenance: Provenance | None = None

    def with_warning(self, warning: str | None) -> Metrics:
        """The same with one more warning; the same alone without one."""
        return replace(self, warnings=(*self.warnings, warning)) if warning else self

    def to_json(self) -> dict[str, Any]:
        """The content of metrics.json: what was not measured has no entry."""
        deformation, similarity = to_plain(self.deformation), to_plain(self.similarity) or {}
        folds = {key: deformation.pop(key) for key in ("folds", "fold_count")}
        entries = {key: value for key, value in deformation.items() if _is_defined(value)}
        if "jacobian" in entries or self.deformation.folds:
            entries |= folds
        for key in measures_of(StructureMetrics):
            values = {name: to_plain(getattr(one, key)) for name, one in self.structures.items()}
            if _is_defined(values):
                entries[key] = values
        if similarity:
            pairs = {key: similarity.pop(key) for key in ("local_ncc", "mutual_information")}
            entries |= {"similarity": pairs, **similarity}
        for name in ("landmarks", "uncertainty_mm", "worst_places", "found_organs", "left_out_percent", "verdict"):
            key = "tre_mm" if name == "landmarks" else name
            if getattr(self, name):
                entries[key] = to_plain(getattr(self, name))
        for name in ("seconds", "device", "model", "linear_lps", "warnings", "provenance"):
            if getattr(self, name) or self.provenance is not None:
                entries[name] = to_plain(getattr(self, name))
        said = [*self.warnings, *(reason.text for reason in (self.verdict.reasons if self.verdict else ()))]
        sentences = [one.to_json() for one in said if isinstance(one, Sentence)]
        return entries | ({"sentences": sentences} if sentences else {})

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Metrics:
        """Metrics from the content of metrics.json, of this version or an older one."""
        entries = {key: value for key, value in values.items() if value is not None}
        for key, name in (("seconds", "search"), ("provenance", "initial_field")):
            if "start" in entries.get(key, {}):  # the name of both in earlier files
                entries[key] = {name if old == "start" else old: value for old, value in entries[key].items()}
        keys = [key for key in measures_of(StructureMetrics) if key in entries]
        names = dict.fromkeys(name for key in keys for name in entries[key])
        alike = {**entries.get("similarity", {}), **entries}
        found = from_plain(
            cls,
            entries
            | {
                "deformation": entries,
                "structures": {
                    name: {key: entries[key][name] for key in keys if entries[key].get(name) is not None}
                    for name in names
                },
                "landmarks": entries.get("tre_mm"),
                "similarity": alike if "similarity" in entries or "overlap_percent" in entries else None,
            },
        )
        sentences = {str(text): text for text in map(from_json, entries.get("sentences", ()))}
        return found._with_sentences(sentences) if sentences else found

    def _with_sentences(self, sentences: Mapping[str, str]) -> Metrics:
        """The same with what can be translated in the place of its English text."""
        warnings = tuple(sentences.get(one, one) for one in self.warnings)
        if self.verdict is None:
            return replace(self, warnings=warnings)
        reasons = tuple(replace(one, text=sentences.get(one.text, one.text)) for one in self.verdict.reasons)
        return replace(self, warnings=warnings, verdict=replace(self.verdict, reasons=reasons))


def _is_defined(value: Any) -> bool:
    """Whether there is a number anywhere in a plain value."""
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return isinstance(value, int | float) or any(_is_defined(part) for part in parts)


@cache
def catalog() -> dict[str, Measure]:
    """All measures by their key in metrics.json: the path to them there, joined with dots.

    Statistics of one measure, such as its mean, take unit, digits and direction from it.
    """
    found = dict(measures_of(StructureMetrics))
    landmarks = measures_of(Metrics)["landmarks"]
    found |= _statistics("tre_mm", landmarks, ErrorSummary)
    for part in ("jacobian", "jacobian_in_mask"):
        inside = part == "jacobian_in_mask"
        for name, measure in measures_of(JacobianStatistics).items():
            found[f"{part}.{name}"] = replace(
                measure, title=_in_segmentation(measure.title) if inside else measure.title
            )
    deformation = measures_of(DeformationMetrics)
    for key in ("displacement_mm", "inverse_consistency_mm"):
        found |= _statistics(key, deformation[key], Spread)
    found["round_trip_before_mm"] = deformation["round_trip_before_mm"]
    for name, measure in measures_of(SimilarityMetrics).items():
        found[f"similarity.{name}" if name in ("local_ncc", "mutual_information") else name] = measure
    return found | _statistics("uncertainty_mm", measures_of(Metrics)["uncertainty_mm"], Spread)


def _in_segmentation(title: str) -> str:
    return _("{measure} in the fixed segmentation").format(measure=title)


def _statistics(key: str, measure: Measure, record: type) -> dict[str, Measure]:
    """A measure, and each statistic of it that a record has."""
    each = {
        f"{key}.{name}": replace(
            measure, title=_("{measure}, {statistic}").format(measure=measure.title, statistic=one.title)
        )
        for name, one in measures_of(record).items()
    }
    return {key: measure, **each}
