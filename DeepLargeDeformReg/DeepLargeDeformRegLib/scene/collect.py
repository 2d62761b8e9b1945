"""From the files of a finished job into the scene."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from ..core.display import MAPS, MOVING_COLOR
from ..core.metrics import Metrics
from . import exchange, markups, plots, results, segmentations, tables, transforms, volumes
from .color_map import show_as_jacobian, show_as_map
from .errors import SceneError
from .exchange import Inputs, Prepared, Targets
from .lazy_sitk import sitk
from .words import heading

_ORGANS = {
    "fixed_organs": _("organs of the fixed scan (automatic, not reviewed)"),
    "moving_organs": _("organs of the moving scan (automatic, not reviewed)"),
    "organs": _("organs carried over (automatic, not reviewed)"),
}


def collect(
    inputs: Inputs, targets: Targets, settings: Mapping[str, Any], prepared: Prepared, metrics: Metrics
) -> results.RunResult:
    """Take the files of a finished job into the scene: all of them, or none if one cannot be read.

    Raises:
        SceneError: if fixed or moving volume are gone; the scene is then left as it is.
    """
    gone = inputs.gone()
    if gone:
        raise SceneError(gone)
    slicer.mrmlScene.SaveStateForUndo()
    number = results.next_number()
    label = _("{moving} to {fixed}, run {number}").format(
        moving=inputs.moving.GetName(), fixed=inputs.fixed.GetName(), number=number
    )
    made: dict[str, Any] = {
        "fixed": inputs.fixed,
        "moving": inputs.moving,
        "fixed_segmentation": _present(inputs.fixed_segmentation),
        "moving_segmentation": _present(inputs.moving_segmentation),
        "fixed_landmarks": _present(inputs.fixed_landmarks),
        "moving_landmarks": _present(inputs.moving_landmarks),
    }
    try:
        _collect_transform(made, inputs, targets, settings, prepared, metrics, label)
        _collect_images(made, inputs, targets, prepared, label)
        _collect_measures(made, targets, prepared.payload, metrics, label)
    except Exception:
        for role, found in made.items():
            for node in found if isinstance(found, list) else [found]:
                if role not in results.INPUT_ROLES and node is not targets.node(role):
                    volumes.remove_node(node)
        raise
    return results.add_result(made, metrics, settings, number)


def _collect_transform(
    made: dict[str, Any],
    inputs: Inputs,
    targets: Targets,
    settings: Mapping[str, Any],
    prepared: Prepared,
    metrics: Metrics,
    label: str,
) -> None:
    path = prepared.payload["output_transform"]
    attributes = {
        "model": metrics.model or "none",
        "settings": json.dumps(dict(settings)),
        "version": metrics.provenance.version if metrics.provenance else "",
    }
    made["transform"] = transforms.read_transform(
        path,
        _("{run} transform").format(run=label),
        targets.node("transform"),
        fixed=inputs.fixed,
        moving=inputs.moving,
        attributes=attributes,
    )
    if "parts" in targets.wanted and metrics.linear_lps:
        matrix = np.array(metrics.linear_lps)
        made["linear"], made["deformable"] = transforms.linear_and_grid(sitk.ReadImage(path), matrix, label)
    if "landmarks" in targets.wanted and made["moving_landmarks"] is not None:
        made["landmarks"] = carried_landmarks(
            made["moving_landmarks"],
            made["transform"],
            _("{run} landmarks").format(run=label),
            targets.node("landmarks"),
        )
        markups.show_as_carried(made["landmarks"], MOVING_COLOR)


def _collect_images(made: dict[str, Any], inputs: Inputs, targets: Targets, prepared: Prepared, label: str) -> None:
    payload = prepared.payload
    if "warped" in targets.wanted:
        made["warped"] = volumes.read_volume(
            payload["output_volume"], _("{run} warped").format(run=label), targets.node("warped")
        )
        volumes.share_window(inputs.fixed, made["warped"])
    if "output_jacobian" in payload:
        made["jacobian"] = volumes.read_volume(
            payload["output_jacobian"], _("{run} volume change").format(run=label), targets.node("jacobian")
        )
        show_as_jacobian(made["jacobian"])
    for name, style in MAPS.items() if "output_maps" in payload else ():
        path = Path(payload["output_maps"]) / f"{name}.nrrd"
        if path.exists():
            made[name] = volumes.read_volume(path, f"{label} {heading(style)}", targets.node(name))
            show_as_map(made[name], name)
    if "output_segmentation" in payload and Path(payload["output_segmentation"]).exists():
        made["segmentation"] = segmentations.read_label_map(
            payload["output_segmentation"],
            prepared.moving_labels,
            _("{run} labels").format(run=label),
            targets.node("segmentation"),
            inputs.fixed,
        )
    for role, key in exchange.ORGANS.items():
        if key in payload and Path(payload[key]).exists():
            reference = inputs.moving if role == "moving_organs" else inputs.fixed
            made[role] = segmentations.read_organs(payload[key], f"{label} {_ORGANS[role]}", reference)


def _collect_measures(
    made: dict[str, Any], targets: Targets, payload: Mapping[str, Any], metrics: Metrics, label: str
) -> None:
    if "table" in targets.wanted:
        made["table"] = tables.metrics_table(metrics, _("{run} metrics").format(run=label), targets.node("table"))
    if "charts" in targets.wanted:
        charts = plots.charts_of(metrics, made.get("jacobian"), label)
        made["charts"] = [chart.node for chart in charts]
        made["chart_parts"] = [part for chart in charts for part in chart.parts]
    folds = metrics.deformation.folds
    if folds:
        made["folds"] = markups.fold_points(folds, _("{run} folds").format(run=label))
        made["folds"].GetDisplayNode().SetVisibility(False)
    if "report" in payload and Path(payload["report"]).exists():
        report = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", _("{run} report").format(run=label))
        report.SetForceCreateStorageNode(True)
        report.SetText(Path(payload["report"]).read_text(encoding="utf-8"))
        made["report"] = report


def carried_landmarks(moving: Any, transform: Any, name: str, node: Any = None) -> Any:
    """The moving landmarks where the transform brings them in the fixed volume."""
    points, names = markups.points_lps(moving)
    to_parent = transform.GetTransformToParent()
    ras = [to_parent.TransformPoint((-x, -y, z)) for x, y, z in points]
    carried = np.array(ras).reshape(-1, 3) * (-1.0, -1.0, 1.0)
    return markups.points_node(carried, names, name, node)


def _present(node: Any) -> Any:
    return node if node is not None and node.GetScene() is not None else None
