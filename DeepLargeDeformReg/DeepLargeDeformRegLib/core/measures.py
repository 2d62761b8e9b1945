"""The catalog of measures: each number of a registration as a field of a frozen record, together with its words.

The annotation of a field is its entry in the catalog: title, unit, digits, which direction is better, description.
Report, panel, terminal and documentation take them from here (:func:`measures_of`, :func:`.metrics.catalog`). A new
measure of structures, of det J or of similarity is a new field here, beside its computation in ``engine/metrics``.
Standard library only: Slicer loads this.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Annotated, Literal

from .records import field_types
from .sentences import joined
from .sentences import marked as _

Better = Literal["higher", "lower", ""]
Point = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How a number is called and shown.

    Args:
        title: name for people, without the unit.
        unit: unit, may be empty.
        digits: decimals that are shown.
        better: which direction is better; empty where neither is.
        description: one sentence on what it is, with its source.
    """

    title: str
    unit: str = ""
    digits: int = 2
    better: Better = ""
    description: str = ""

    @property
    def heading(self) -> str:
        """Title with the unit, for a column or a row."""
        return joined(", ", (self.title, self.unit)) if self.unit else self.title

    def text(self, value: float | None) -> str:
        """A value of the measure without its unit; empty where there is none."""
        return "" if value is None or value != value else f"{value:.{self.digits}f}"


@cache
def measures_of(record: type) -> dict[str, Measure]:
    """The catalogue's entries of a record's own numbers, by the name of the field, in order."""
    found = {}
    for name, hint in field_types(record).items():
        measure = next((one for one in getattr(hint, "__metadata__", ()) if isinstance(one, Measure)), None)
        if measure is not None:
            found[name] = measure
    return found


@dataclass(frozen=True, kw_only=True)
class Change:
    """A number as loaded and with the transform; None where it is not defined."""

    before: float | None = None
    after: float | None = None

    @property
    def gain(self) -> float | None:
        """After minus before; None where one of them is not defined."""
        return None if self.before is None or self.after is None else self.after - self.before


@dataclass(frozen=True, kw_only=True)
class Volumes:
    """Volumes of a structure in the fixed and the moving segmentation, and of the propagated one, ml."""

    fixed: float | None = None
    moving: float | None = None
    warped: float | None = None


@dataclass(frozen=True, kw_only=True)
class StructureMetrics:
    """What was measured on one structure that both segmentations have."""

    dice: Annotated[
        Change,
        Measure(
            title=_("Dice"),
            digits=3,
            better="higher",
            description=_("Overlap 2|A and B| / (|A| + |B|): 1 is perfect, 0 is none (Dice, 1945)."),
        ),
    ] = Change()
    asd_mm: Annotated[
        Change,
        Measure(
            title=_("ASD"),
            unit="mm",
            digits=2,
            better="lower",
            description=_(
                "Average symmetric surface distance: the mean of both directions together (Heimann et al., TMI 2009)."
            ),
        ),
    ] = Change()
    hd95_mm: Annotated[
        Change,
        Measure(
            title=_("HD95"),
            unit="mm",
            digits=2,
            better="lower",
            description=_("Larger of both directions' 95th percentile surface distances."),
        ),
    ] = Change()
    hd_mm: Annotated[
        Change,
        Measure(
            title=_("HD"),
            unit="mm",
            digits=2,
            better="lower",
            description=_(
                "Hausdorff distance, the largest surface distance; one stray voxel decides it (Huttenlocher "
                "et al., PAMI 1993)."
            ),
        ),
    ] = Change()
    volume_ml: Annotated[
        Volumes,
        Measure(
            title=_("Volume"),
            unit="ml",
            digits=1,
            description=_("Volume of the fixed, the moving and the propagated structure."),
        ),
    ] = Volumes()
    volume_change_percent: Annotated[
        float | None,
        Measure(
            title=_("Volume change"),
            unit="%",
            digits=1,
            description=_("Volume of the moving structure against the fixed one."),
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class JacobianStatistics:
    """Statistics of det J, the Jacobian determinant of the map from fixed to moving points."""

    min: Annotated[
        float | None,
        Measure(
            title=_("Volume change (det J), smallest"),
            digits=3,
            description=_("Smallest det J; 0 or less is a fold."),
        ),
    ] = None
    max: Annotated[
        float | None, Measure(title=_("Volume change (det J), largest"), digits=3, description=_("Largest det J."))
    ] = None
    p1: Annotated[
        float | None,
        Measure(
            title=_("Volume change (det J), 1st percentile"), digits=3, description=_("1 % of the voxels have less.")
        ),
    ] = None
    p99: Annotated[
        float | None,
        Measure(
            title=_("Volume change (det J), 99th percentile"), digits=3, description=_("1 % of the voxels have more.")
        ),
    ] = None
    std: Annotated[
        float | None,
        Measure(
            title=_("Volume change (det J), standard deviation"),
            digits=3,
            description=_("Spread of det J over the voxels."),
        ),
    ] = None
    fold_percent: Annotated[
        float | None,
        Measure(
            title=_("Folded voxels"),
            unit="%",
            digits=3,
            better="lower",
            description=_("Voxels with det J <= 0, which tissue cannot do."),
        ),
    ] = None
    sdlogj: Annotated[
        float | None,
        Measure(
            title=_("SDlogJ"),
            digits=3,
            better="lower",
            description=_(
                "Standard deviation of log det J over det J > 0: how unevenly the map changes volume; 0 for "
                "a rigid map (Leow et al., TMI 2007)."
            ),
        ),
    ] = None
    sdlogj_learn2reg: Annotated[
        float | None,
        Measure(
            title=_("SDlogJ as in Learn2Reg"),
            digits=3,
            better="lower",
            description=_(
                "Standard deviation of log(clip(det J + 3, 1e-9, 1e9)) without a border of two voxels, never "
                "comparable with SDlogJ (Hering et al., TMI 2022)."
            ),
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Fold:
    """A connected region of det J <= 0: its volume, its smallest det J, where that is, and in which structure."""

    volume_mm3: float
    worst: float
    point_lps: Point
    structure: str | None = None


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Mean, 95th percentile and maximum of a length, in its unit; None where no voxel counts."""

    mean: Annotated[float | None, Measure(title=_("mean"))] = None
    p95: Annotated[float | None, Measure(title=_("95th percentile"))] = None
    max: Annotated[float | None, Measure(title=_("largest"))] = None


@dataclass(frozen=True, kw_only=True)
class ConsistencyMetrics(Spread):
    """Inverse consistency error, mm; ``source`` is ``"numerical inverse"`` or ``"backward run"``."""

    source: str = "numerical inverse"


SOURCES = {"numerical inverse": _("numerical inverse"), "backward run": _("backward run")}
"""The sources of the inverse consistency error in words."""


@dataclass(frozen=True, kw_only=True)
class DeformationMetrics:
    """Whether the map is plausible.

    Args:
        jacobian: det J on the whole grid.
        jacobian_in_mask: det J in the fixed segmentation; None without one.
        folds: connected regions of det J <= 0, the largest first, at most 20.
        fold_count: how many there are in all.
        displacement_mm: how far the map moves points.
        inverse_consistency_mm: how far points miss themselves there and back.
        round_trip_before_mm: mean distance by which the two directions of a symmetric run missed each other.
    """

    jacobian: JacobianStatistics = JacobianStatistics()
    jacobian_in_mask: JacobianStatistics | None = None
    folds: tuple[Fold, ...] = ()
    fold_count: int = 0
    displacement_mm: Annotated[
        Spread,
        Measure(
            title=_("Displacement"),
            unit="mm",
            digits=1,
            description=_(
                "How far the map moves points of the fixed scan, whether by a shift of the whole or by a deformation."
            ),
        ),
    ] = Spread()
    inverse_consistency_mm: Annotated[
        ConsistencyMetrics,
        Measure(
            title=_("Inverse consistency error"),
            unit="mm",
            digits=3,
            better="lower",
            description=_(
                "How far a point ends from where it began when mapped to the moving scan and back; with a "
                "numerical inverse it finds folds, and says nothing about accuracy (Christensen and Johnson, "
                "TMI 2001)."
            ),
        ),
    ] = ConsistencyMetrics()
    round_trip_before_mm: Annotated[
        float | None,
        Measure(
            title=_("Disagreement of the directions"),
            unit="mm",
            digits=3,
            better="lower",
            description=_(
                "Mean distance by which the two directions of a symmetric run missed each other before they "
                "were joined."
            ),
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class ErrorSummary:
    """Statistics of the landmark errors, mm; the standard deviation is that of the population."""

    mean: Annotated[float, Measure(title=_("mean"))]
    std: Annotated[float | None, Measure(title=_("standard deviation"))] = None
    p25: Annotated[float | None, Measure(title=_("25th percentile"))] = None
    p50: Annotated[float | None, Measure(title=_("median"))] = None
    p75: Annotated[float | None, Measure(title=_("75th percentile"))] = None
    p95: Annotated[float | None, Measure(title=_("95th percentile"))] = None
    max: Annotated[float | None, Measure(title=_("largest"))] = None


@dataclass(frozen=True, kw_only=True)
class LandmarkError:
    """Error of one landmark pair, mm, and where it lies in the fixed scan, LPS mm."""

    name: str
    before: float
    after: float
    point_lps: Point


@dataclass(frozen=True, kw_only=True)
class LandmarkMetrics:
    """Landmark errors as loaded and with the transform, and each landmark by itself."""

    before: ErrorSummary
    after: ErrorSummary
    landmarks: tuple[LandmarkError, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SimilarityMetrics:
    """How alike the scans are where both have data."""

    local_ncc: Annotated[
        Change,
        Measure(
            title=_("Similarity (local NCC)"),
            digits=3,
            better="higher",
            description=_(
                "Mean squared correlation of the scans in cubes of about 17.5 mm: 1 is alike, 0 nothing in "
                "common (Avants et al., MedIA 2008); a good value proves nothing."
            ),
        ),
    ] = Change()
    mutual_information: Annotated[
        Change,
        Measure(
            title=_("Mutual information"),
            unit="nats",
            digits=3,
            better="higher",
            description=_(
                "What the gray values of one scan tell of the other, from a joint histogram of 32 x 32 bins "
                "(Maes et al., TMI 1997)."
            ),
        ),
    ] = Change()
    in_place_percent: Annotated[
        float | None,
        Measure(
            title=_("Agrees best at this place"),
            unit="%",
            digits=1,
            better="higher",
            description=_(
                "Share of the neighborhoods that fit best where the map puts them, not 5 or 10 mm beside "
                "(after Saygili, Staring and Hendriks, TMI 2016)."
            ),
        ),
    ] = None
    overlap_percent: Annotated[
        Change,
        Measure(
            title=_("Fixed scan covered"),
            unit="%",
            digits=1,
            description=_("Share of the fixed scan for which the moving scan has data."),
        ),
    ] = Change()
