"""Filling the template: one HTML file that opens without a network."""

from __future__ import annotations

import base64
import datetime
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from .. import __version__
from ..core.display import LEVELS, MAPS
from ..core.files import written_whole
from ..core.images import LabelMap, Scan
from ..core.metrics import Metrics, Verdict, catalog
from ..core.presets import Preset
from ..core.progress import Monitor
from ..core.rows import left_out_text, place_title, place_value, position_text, single_places_text
from ..engine import metrics as measures
from ..engine.evaluation import Evaluation
from . import charts, numbers
from .case import Case
from .colors import FIXED_CSS, PROPAGATED_CSS
from .pictures import Picture, PlanePictures, Scale, finest_mm, scale_of
from .places import Place, middle, telling_places
from .planes import planes_through
from .texts import FOUND_ORGANS, VOLUME_CHANGE, glossary

SHOWN_FOLDS = 20
TIMES = " \N{MULTIPLICATION SIGN} "


@dataclass(frozen=True, eq=False)
class ShownRow:
    """One kind of picture of a place, in its three planes.

    Args:
        title: the kind.
        legend: markup of its colors, empty where it has none or where they were explained before.
        shown: in the page itself; else a picture is seen when a reader switches to it.
        pictures: one a plane.
    """

    title: str
    legend: str
    shown: bool
    pictures: list[Picture]


@dataclass(frozen=True, eq=False)
class ShownPlace:
    """A place with its pictures: the names of the planes with where they cut, and a row for each kind."""

    place: Place
    position: str
    planes: list[str]
    rows: list[ShownRow]


def write_report(
    path: Path,
    evaluation: Evaluation,
    *,
    title: str | None = None,
    preset: Preset | None = None,
    region: LabelMap | None = None,
    monitor: Monitor | None = None,
) -> None:
    """Write the report of a transform on its pair, whole or not at all. It names no patient and no file.

    Args:
        path: .html file.
        evaluation: the scans, the transform, and what was measured.
        title: heading that the user chose; the one place where a name can get into the report.
        preset: for whose kind of scans the transform was made; its gray window limits that of the pictures.
        region: region of interest that the registration was limited to.
        monitor: asked for cancellation at every plane.
    """
    monitor = monitor or Monitor()
    case = Case.of(evaluation, preset, region)
    monitor.check()
    scale = scale_of(case)
    places = _places(case, scale, monitor)
    name, point = middle(case)
    first_look = _first_look(case)
    glance = [
        next(picture for picture in PlanePictures(case, plane, point, scale).all() if picture.title == first_look)
        for plane in planes_through(point, case.box, finest_mm(case))
    ]
    environment = Environment(
        loader=PackageLoader("DeepLargeDeformRegLib", "report"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = environment.get_template("style.css").render()
    page = environment.get_template("template.html").render(
        title=title or "Registration report",
        style=style,
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        written=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        scans=[
            _describe("Fixed", case.pair.fixed, case.windows[0]),
            _describe("Moving", case.pair.moving, case.windows[1]),
        ],
        places=places,
        glance=glance,
        glance_shows_found=_first_look(case) == FOUND_ORGANS,
        glance_at=f"{name}, {position_text(tuple(point))}",
        fixed_color=FIXED_CSS,
        propagated_color=PROPAGATED_CSS,
        grid_mm=scale.grid_mm,
        version=__version__,
        definitions=charts.definitions(),
        **_numbers(case),
    )
    with written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _numbers(case: Case) -> dict[str, Any]:
    """All of the page that comes from the metrics; what was not measured is None or empty."""
    found = case.result.metrics
    metrics = found.to_json()
    return {
        "metrics": metrics,
        "verdict": found.verdict,
        "level": LEVELS.get(found.verdict.level, LEVELS["look"]) if found.verdict else None,
        "reasons": _reasons(found.verdict) if found.verdict else [],
        "single_places": single_places_text(found),
        "worst": [
            (place_title(place), place_value(place), place.structure or "-", position_text(place.point_lps))
            for place in found.worst_places
        ],
        "tiles": _tiles(metrics),
        "structures": numbers.structure_table(metrics),
        "structure_charts": _present(*(charts.structure_bars(metrics, key) for key in ("dice", "hd95_mm", "asd_mm"))),
        "errors": numbers.error_table(metrics),
        "worst_landmarks": numbers.landmark_table(metrics),
        "error_chart": _error_chart(case),
        "jacobian": numbers.jacobian_table(metrics),
        "histogram": charts.jacobian_histogram(case.determinants, case.focus_name),
        "lengths": numbers.length_table(metrics, ("displacement_mm", "inverse_consistency_mm", "uncertainty_mm")),
        "similarity": numbers.similarity_table(metrics),
        "folds": numbers.fold_table(metrics["folds"][:SHOWN_FOLDS]) if "folds" in metrics else None,
        "fold_count": max(found.deformation.fold_count, len(found.deformation.folds)),
        "consistency_source": found.deformation.inverse_consistency_mm.source,
        "times": numbers.time_table(metrics),
        "provenance": _provenance(found),
        "glossary": glossary(metrics),
    }


def _reasons(verdict: Verdict) -> list[tuple[str, str, str]]:
    """Reasons of the verdict as (severity, what that means, text), the gravest first."""
    order = list(LEVELS)
    known = [reason for reason in verdict.reasons if reason.severity in LEVELS]
    known.sort(key=lambda reason: order.index(reason.severity))
    return [(reason.severity, LEVELS[reason.severity].reason, reason.text) for reason in known]


def _tiles(metrics: dict[str, Any]) -> list[tuple[str, numbers.Number, numbers.Number | None, str]]:
    """The few numbers of the first screen: heading, number, the same before, unit."""
    words = catalog()
    found: list[tuple[str, numbers.Number | None, numbers.Number | None]] = []
    if metrics.get("tre_mm"):
        before, after = (numbers.number(metrics, ("tre_mm", when, "mean"), words["tre_mm"]) for when in numbers.WHEN)
        found.append((words["tre_mm.mean"].title, after, before))
    dice = [(pair["after"], name) for name, pair in (metrics.get("dice") or {}).items() if pair["after"] is not None]
    if dice:
        name = min(dice)[1]
        before, after = (numbers.number(metrics, ("dice", name, when), words["dice"]) for when in numbers.WHEN)
        found.append((f"Dice, {name}" if len(dice) == 1 else f"Lowest Dice: {name}", after, before))
    part = "jacobian_in_mask" if metrics.get("jacobian_in_mask") else "jacobian"
    for path in ((part, "fold_percent"), ("inverse_consistency_mm", "p95"), ("uncertainty_mm", "mean")):
        measure = words[".".join(path)]
        found.append((measure.title, numbers.number(metrics, path, measure), None))
    return [(title, after, before, after.unit) for title, after, before in found if after and after.value is not None]


def _error_chart(case: Case) -> charts.Chart | None:
    """From the errors that the metrics list, else from the landmarks themselves."""
    found = case.result.metrics.landmarks
    if found is not None and found.landmarks:
        return charts.cumulative_errors(*([getattr(one, when) for one in found.landmarks] for when in numbers.WHEN))
    landmarks = case.pair.landmarks
    if landmarks is None:
        return None
    before = np.linalg.norm(landmarks.fixed - landmarks.moving, axis=1)
    return charts.cumulative_errors(list(before), list(measures.landmark_errors(case.field, landmarks)))


def _first_look(case: Case) -> str:
    """The picture that shows best how well the scans meet."""
    if case.structures:
        return "Outlines"
    return FOUND_ORGANS if case.found else "Checkerboard"


def _places(case: Case, scale: Scale, monitor: Monitor) -> list[ShownPlace]:
    """The telling places; the colors of each kind of map are explained where it is first seen."""
    legends = {
        VOLUME_CHANGE: charts.jacobian_legend(),
        "Deformed grid": charts.millimeter_legend(scale.longest_mm) + f" mm; a line every {scale.grid_mm:g} mm",
        MAPS["local_similarity"].title: charts.similarity_legend(),
        MAPS["uncertainty_mm"].title: charts.millimeter_legend(scale.uncertainty_mm or 1.0) + " mm",
    }
    shown = []
    for place in telling_places(case):
        planes = planes_through(place.point, case.box, finest_mm(case))
        columns = []
        for plane in planes:
            monitor.check()
            columns.append(PlanePictures(case, plane, place.point, scale).all())
        wanted = (_first_look(case), "After", *(place.shows or ("Difference after",)))
        rows = []
        for pictures in zip(*columns, strict=True):
            title = pictures[0].title
            seen = title in wanted
            rows.append(ShownRow(title, legends.pop(title, "") if seen else "", seen, list(pictures)))
        names = [f"{plane.name.capitalize()}, {plane.position}" for plane in planes]
        shown.append(ShownPlace(place, position_text(tuple(place.point)), names, rows))
    return shown


def _describe(name: str, scan: Scan, window: tuple[float, float]) -> dict[str, str]:
    grid, labels = scan.grid, scan.labels
    return {
        "name": name,
        "size": TIMES.join(str(n) for n in grid.size),
        "spacing": TIMES.join(f"{s:.2f}" for s in grid.spacing),
        "extent": TIMES.join(f"{e:.0f}" for e in grid.extent),
        "axes": "along the patient's axes" if grid.is_axis_aligned else "rotated or permuted",
        "window": f"{window[0]:.4g} to {window[1]:.4g}",
        "structures": "none" if labels is None else f"{len(labels.labels)}",
    }


def _provenance(metrics: Metrics) -> list[tuple[str, str]]:
    """Rows of what made the result: model, versions, device, settings; empty where it was made elsewhere."""
    known = metrics.provenance
    if known is None:
        return []
    settings = {key.replace("_", " "): _plain(value) for key, value in known.settings.items()}
    rows = [
        ("Model", metrics.model or "none: the result is by optimization alone"),
        ("Checksum of the model (SHA-256)", known.model_sha256 or "" if metrics.model else ""),
        ("Versions", f"DeepLargeDeformReg {known.version}, PyTorch {known.torch}, SimpleITK {known.simpleitk}"),
        ("Python", known.python),
        ("Device", metrics.device or ""),
        ("Initial field", known.initial_field),
        ("Left out by masks", left_out_text(metrics)),
        ("Refinement steps", ", ".join(str(steps) for steps in known.refinement_steps) or "none"),
        ("Settings", "; ".join(f"{name}: {value}" for name, value in settings.items() if value)),
    ]
    return [(title, text) for title, text in rows if text]


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _present(*found: charts.Chart | None) -> list[charts.Chart]:
    return [chart for chart in found if chart is not None]
