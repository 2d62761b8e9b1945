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
from ..core.files import written_whole
from ..core.images import LabelMap, Scan
from ..core.presets import Preset
from ..core.progress import Monitor
from ..engine import metrics as measures
from ..engine.evaluation import Evaluation
from . import charts, numbers
from .case import Case
from .pictures import Picture, PlanePictures, Scale, finest_mm, scale_of
from .places import Place, telling_places
from .planes import planes_through
from .texts import LEVELS, REASON_WORDS, glossary

TIMES = " \N{MULTIPLICATION SIGN} "


@dataclass(frozen=True, eq=False)
class ShownPlane:
    """A plane of a place: its name, where it cuts, its pictures."""

    name: str
    position: str
    pictures: list[Picture]


@dataclass(frozen=True, eq=False)
class ShownPlace:
    """A place with its planes."""

    place: Place
    position: str
    planes: list[ShownPlane]


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
    first_look = "Outlines" if case.structures else "Checkerboard"
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
        glance=[picture for plane in places[-1].planes for picture in plane.pictures if picture.title == first_look],
        jacobian_legend=charts.jacobian_legend(),
        length_legend=charts.millimeter_legend(scale.longest_mm),
        uncertainty_legend=charts.millimeter_legend(scale.uncertainty_mm) if scale.uncertainty_mm else None,
        similarity_legend=charts.similarity_legend() if case.similarity is not None else None,
        grid_mm=scale.grid_mm,
        version=__version__,
        definitions=charts.definitions(),
        **_numbers(case),
    )
    with written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _numbers(case: Case) -> dict[str, Any]:
    """All of the page that comes from the metrics; what was not measured is None or empty."""
    metrics = case.result.metrics.to_json()
    verdict = metrics.get("verdict")
    return {
        "metrics": metrics,
        "verdict": verdict,
        "level": LEVELS.get(verdict["level"], (verdict["level"], "")) if verdict else None,
        "reasons": _reasons(verdict) if verdict else [],
        "tiles": _tiles(metrics),
        "structures": numbers.structure_table(metrics),
        "structure_charts": _present(
            charts.structure_bars(metrics, "dice", "Dice", "", True),
            charts.structure_bars(metrics, "hd95_mm", "HD95", "mm", False),
            charts.structure_bars(metrics, "asd_mm", "ASD", "mm", False),
        ),
        "errors": numbers.error_table(metrics),
        "worst_landmarks": numbers.landmark_table(metrics),
        "error_chart": _error_chart(case),
        "jacobian": numbers.jacobian_table(metrics),
        "histogram": charts.jacobian_histogram(case.determinants, case.focus_name),
        "consistency": numbers.consistency_table(metrics),
        "uncertainty": numbers.uncertainty_table(metrics),
        "similarity": numbers.similarity_table(metrics),
        "folds": metrics.get("folds"),
        "fold_count": metrics.get("fold_count", len(metrics.get("folds") or ())),
        "consistency_source": _consistency_source(metrics),
        "times": numbers.time_table(metrics),
        "provenance": _provenance(metrics),
        "glossary": glossary(metrics),
    }


def _reasons(verdict: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Reasons of the verdict as (severity, what that means, text), the gravest first."""
    order = list(REASON_WORDS)
    reasons = [(reason.get("severity", verdict["level"]), reason["text"]) for reason in verdict.get("reasons", [])]
    reasons.sort(key=lambda reason: order.index(reason[0]) if reason[0] in order else len(order))
    return [(severity, REASON_WORDS.get(severity, "Note"), text) for severity, text in reasons]


def _consistency_source(metrics: dict[str, Any]) -> str:
    found = metrics.get("inverse_consistency_mm") or {}
    return found.get("source") or found.get("method") or "numerical inverse"


def _tiles(metrics: dict[str, Any]) -> list[tuple[str, numbers.Number, numbers.Number | None, str]]:
    """The few numbers of the first screen: heading, number, the same before, unit."""
    tiles = []
    if metrics.get("tre_mm"):
        before, after = (numbers.number(metrics, ("tre_mm", when, "mean"), 2) for when in numbers.WHEN)
        tiles.append(("Mean landmark error", after, before, "mm"))
    worst = [(pair["after"], name) for name, pair in (metrics.get("dice") or {}).items() if pair["after"] is not None]
    if worst:
        name = min(worst)[1]
        before, after = (numbers.number(metrics, ("dice", name, when), 3) for when in numbers.WHEN)
        tiles.append((f"Dice, {name}" if len(worst) == 1 else f"Lowest Dice: {name}", after, before, ""))
    folds = [
        ("Folded voxels, fixed segmentation", numbers.number(metrics, ("jacobian_in_mask", "fold_percent"), 3)),
        ("Folded voxels", numbers.number(metrics, ("jacobian", "fold_percent"), 3)),
    ]
    tiles += [(heading, shown, None, "%") for heading, shown in folds if shown][:1]
    consistency = numbers.number(metrics, ("inverse_consistency_mm", "p95"), 3)
    tiles.append(("Inverse consistency, 95 %", consistency, None, "mm"))
    return [(title, after, before, unit) for title, after, before, unit in tiles if after and after.value is not None]


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


def _places(case: Case, scale: Scale, monitor: Monitor) -> list[ShownPlace]:
    shown = []
    for place in telling_places(case):
        planes = []
        for plane in planes_through(place.point, case.box, finest_mm(case)):
            monitor.check()
            pictures = PlanePictures(case, plane, place.point, scale).all()
            planes.append(ShownPlane(plane.name, plane.position, pictures))
        shown.append(ShownPlace(place, ", ".join(plane.position for plane in reversed(planes)), planes))
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


def _provenance(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """Rows of what made the result: model, versions, device, settings."""
    known = metrics.get("provenance") or {}
    rows = [("Model", metrics.get("model") or "none: the result is by optimization alone")] if known else []
    if metrics.get("model") and known.get("model_sha256"):
        rows.append(("Checksum of the model (SHA-256)", known["model_sha256"]))
    titles = (
        ("version", "DeepLargeDeformReg"),
        ("torch", "PyTorch"),
        ("simpleitk", "SimpleITK"),
        ("python", "Python"),
        ("start", "Start"),
    )
    rows += [(title, str(known[key])) for key, title in titles if known.get(key)]
    if metrics.get("device"):
        rows.append(("Device", metrics["device"]))
    if "refinement_steps" in known:
        rows.append(("Refinement steps", ", ".join(str(n) for n in known["refinement_steps"]) or "none"))
    settings = known.get("settings") or {}
    rows += [(f"Setting: {key.replace('_', ' ')}", _plain(value)) for key, value in settings.items()]
    return [(title, text) for title, text in rows if text]


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _present(*found: charts.Chart | None) -> list[charts.Chart]:
    return [chart for chart in found if chart is not None]
