"""Filling the template: one HTML file that opens without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

from ..engine import field as fields
from ..engine.files import written_whole
from ..engine.images import Volume
from ..engine.pipeline import RegistrationRequest, RegistrationResult, warp_volume
from .figures import overview

MEASURES = (("dice", "Dice", 3), ("asd_mm", "ASD, mm", 2), ("hd95_mm", "HD95, mm", 2))


def write_report(path: Path, request: RegistrationRequest, result: RegistrationResult) -> None:
    """Write the report of a registration, whole or not at all. It names no patient and no file.

    Args:
        path: .html file.
        request: what was registered.
        result: what came out.
    """
    fixed = request.fixed
    still = fields.identity(fixed.grid)
    as_loaded = warp_volume(request.moving, still, fixed.grid)
    jacobian = Volume(
        fields.jacobian_determinant(fields.resample(result.field, fixed.grid))[0, 0].numpy(), fixed.grid
    )
    environment = Environment(
        loader=PackageLoader("DeepLargeDeformRegLib", "report"), autoescape=select_autoescape(["html"])
    )
    page = environment.get_template("template.html").render(
        metrics=result.metrics,
        pictures=overview(fixed, as_loaded, result.warped, jacobian),
        structures=_structures(result.metrics),
        scans=[_describe("Fixed", fixed), _describe("Moving", request.moving)],
    )
    with written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _structures(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table: a structure, a measure, before and after as text."""
    rows = []
    for key, title, digits in MEASURES:
        for name, values in metrics.get(key, {}).items():
            before, after = (_number(values[when], digits) for when in ("before", "after"))
            rows.append({"structure": name, "measure": title, "before": before, "after": after})
    return sorted(rows, key=lambda row: row["structure"])


def _number(value: float | None, digits: int) -> str:
    return "not defined" if value is None else f"{value:.{digits}f}"


def _describe(name: str, volume: Volume) -> str:
    size = " x ".join(str(n) for n in volume.grid.size)
    spacing = " x ".join(f"{s:.2f}" for s in volume.grid.spacing)
    return f"{name}: {size} voxels of {spacing} mm"
