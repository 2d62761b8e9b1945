"""A cohort in the scene: its table, and the result of a pair with the scans that it belongs to.

A cohort is the folder that ``deeplargedeformreg batch`` or the Batch section of the panel has written, on this
machine or another one that calls its files by the same paths.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..core.cases import NOT_REGISTERED, SHOWN, UNREADABLE, badness, text_of, title_of
from ..core.display import LEVELS
from ..core.errors import RegistrationError
from ..core.metrics import Metrics
from ..core.sentences import from_json
from . import markups, results, segmentations, transforms, volumes
from .color_map import show_as_jacobian
from .errors import SceneError
from .tables import metrics_table, text_table
from .words import say, say_error

PAGE = "cohort.html"
PAIR_ATTRIBUTE = "DeepLargeDeformReg.pair"
SCAN_ATTRIBUTE = "DeepLargeDeformReg.scan"


@dataclass(frozen=True, kw_only=True)
class CohortCase:
    """A pair in the table: name, key of the verdict, why there is no result, and its measures (``core/cases.py``)."""

    name: str
    verdict: str
    error: str
    values: Mapping[str, float]

    @property
    def state(self) -> str:
        """The verdict in words, or why there is no result."""
        return self.error or (say(LEVELS[self.verdict].title) if self.verdict in LEVELS else self.verdict)


def read_cohort(folder: Path) -> list[CohortCase]:
    """The pairs of a cohort, the worst first.

    Raises:
        SceneError: if the folder holds no table of a cohort.
    """
    try:
        with (folder / "cohort.csv").open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        cases = [_case(line, folder) for line in lines]
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise SceneError(
            _("{name} holds no results of a batch yet: start the batch, or choose its output folder.").format(
                name=folder.name
            ),
            str(error),
        ) from error
    return sorted(cases, key=lambda case: (*badness(case.verdict, case.error, case.values), case.name))


def _case(line: Mapping[str, str], folder: Path) -> CohortCase:
    values = {key: float(cell) for key, cell in line.items() if key not in ("name", "verdict", "error") and cell}
    error = _error(folder / "pairs" / line["name"], line["error"]) if line["error"] else ""
    return CohortCase(name=line["name"], verdict=line["verdict"], error=error, values=values)


def _error(place: Path, text: str) -> str:
    """Why a pair has no result; the table has it in English, its record as a sentence that can be translated."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        said = from_json(json.loads((place / "record.json").read_text(encoding="utf-8"))["error"])
        if said == text:
            return say(said)
    return say(next((one for one in (NOT_REGISTERED, UNREADABLE) if one == text), text))


def cohort_table(cases: list[CohortCase], name: str, node: Any = None) -> Any:
    """Table node of a cohort, a row a pair; ``node`` is overwritten, or a new one is made."""
    shown = [key for key in SHOWN if any(key in case.values for case in cases)]
    columns = {_("Pair"): [case.name for case in cases], _("Verdict"): [case.state for case in cases]}
    columns |= {say(title_of(key)): [text_of(key, case.values.get(key)) for case in cases] for key in shown}
    return text_table(columns, name, node)


def open_pair(folder: Path, name: str) -> results.RunResult:
    """Load the result of a pair: scans, structures, landmarks, transform and what else was written of it.

    A result that is open already is not loaded again, and neither is a scan that another pair has brought.

    Args:
        folder: of the cohort.
        name: of the pair.

    Raises:
        SceneError: if the pair has no result, or its files are not there any more; the scene is left as it was.
    """
    place = (folder / "pairs" / name).absolute()
    found = next((run for run in results.list_results() if run.node.GetAttribute(PAIR_ATTRIBUTE) == str(place)), None)
    if found is not None:
        return found
    made: dict[str, Any] = {}
    brought: list[Any] = []
    try:
        job = json.loads((place / "job.json").read_text(encoding="utf-8"))
        metrics = Metrics.from_json(json.loads((place / "metrics.json").read_text(encoding="utf-8")))
        for side in ("fixed", "moving"):
            made[side] = _scan(job[side], brought)
        _load_structures(made, job, place, name, brought)
        _load_landmarks(made, job, brought)
        _load_results(made, place, name, metrics, job["settings"])
    except (OSError, ValueError, KeyError, RuntimeError, RegistrationError) as error:
        for node in [*brought, *(node for role, node in made.items() if role not in results.INPUT_ROLES)]:
            volumes.remove_node(node)
        text = _(
            "The result of {name} could not be opened; see that its folder and scans are still there ({reason})."
        )
        raise SceneError(text.format(name=name, reason=say_error(error)), str(error)) from error
    run = results.add_result(made, metrics, job["settings"])
    run.node.SetAttribute(PAIR_ATTRIBUTE, str(place))
    return run


def _scan(path: str, brought: list[Any]) -> Any:
    """A scan of a pair: the node that is there already, or a new one."""
    for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        if node.GetAttribute(SCAN_ATTRIBUTE) == path:
            return node
    from ..core import files

    node = volumes.volume_from_image(files.read_volume(path).to_image(), Path(path).name.split(".")[0])
    node.SetAttribute(SCAN_ATTRIBUTE, path)
    brought.append(node)
    return node


def _load_structures(
    made: dict[str, Any], job: Mapping[str, Any], place: Path, name: str, brought: list[Any]
) -> None:
    """Segmentations of both scans, and the propagated one, whose segments are called as the moving ones."""
    warped = place / "warped_segmentation.nii.gz"
    for side in ("fixed", "moving"):
        path = job.get(f"{side}_segmentation")
        if path is None:
            continue
        labels = _labels(path)
        title = _("{scan}, structures").format(scan=made[side].GetName())
        made[f"{side}_segmentation"] = _segmentation(path, labels, title, made[side])
        brought.append(made[f"{side}_segmentation"])
        if side == "moving" and warped.is_file():
            made["segmentation"] = _segmentation(warped, labels, _("{run} labels").format(run=name), made["fixed"])


def _load_landmarks(made: dict[str, Any], job: Mapping[str, Any], brought: list[Any]) -> None:
    """Landmarks of both scans; those without names are numbered."""
    from ..core import files

    if "landmarks" in job:
        pairs = files.read_landmark_pairs(job["landmarks"])
        found = {"fixed": files.Landmarks(pairs.fixed), "moving": files.Landmarks(pairs.moving)}
    elif "fixed_landmarks" in job:
        found = {side: files.read_landmarks(job[f"{side}_landmarks"]) for side in ("fixed", "moving")}
    else:
        return
    for side, landmarks in found.items():
        role = f"{side}_landmarks"
        names = landmarks.names or [f"L{number}" for number in range(1, len(landmarks) + 1)]
        made[role] = markups.points_node(
            landmarks.points, names, _("{scan}, landmarks").format(scan=made[side].GetName())
        )
        made[role].SetNodeReferenceID(markups.BELONGS_TO_ROLE, made[side].GetID())
        brought.append(made[role])


def _labels(path: str) -> list[segmentations.SegmentLabel]:
    from ..core import files
    from ..core.files.label_maps import generic_color

    return [
        segmentations.SegmentLabel(
            value=label.value,
            segment_id=f"Segment_{label.value}",
            name=label.name,
            color=label.color or generic_color(label.value),
            terminology=label.terminology or "",
        )
        for label in files.read_label_map(path, warn=lambda _text: None).labels
    ]


def _segmentation(path: str | Path, labels: list[segmentations.SegmentLabel], name: str, reference: Any) -> Any:
    from ..core import files

    label_map = files.read_label_map(path, warn=lambda _text: None)
    image = label_map.grid.to_image(label_map.array)
    return segmentations.segmentation_from_label_map(image, labels, name, reference=reference)


def _load_results(
    made: dict[str, Any], place: Path, name: str, metrics: Metrics, settings: Mapping[str, Any]
) -> None:
    """What the batch has written of a pair; only the transform must be there."""
    made["transform"] = transforms.read_transform(
        place / "transform.nii.gz",
        _("{run} transform").format(run=name),
        fixed=made["fixed"],
        moving=made["moving"],
        attributes={"model": metrics.model or "none", "settings": json.dumps(dict(settings))},
    )
    for role, title in (("warped", _("{run} warped")), ("jacobian", _("{run} volume change"))):
        path = place / f"{role}.nii.gz"
        if path.is_file():
            made[role] = volumes.read_volume(path, title.format(run=name))
    if "warped" in made:
        volumes.share_window(made["fixed"], made["warped"])
    if "jacobian" in made:
        show_as_jacobian(made["jacobian"])
    made["table"] = metrics_table(metrics, _("{run} metrics").format(run=name))
    report = place / "report.html"
    if report.is_file():
        made["report"] = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", _("{run} report").format(run=name))
        made["report"].SetForceCreateStorageNode(True)
        made["report"].SetText(report.read_text(encoding="utf-8"))
