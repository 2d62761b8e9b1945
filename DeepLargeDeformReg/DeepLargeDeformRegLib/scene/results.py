"""One result: the nodes that a run made, kept in one subject-hierarchy folder and found again in a saved scene."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..core.display import MAPS
from ..core.measures import Fold
from ..core.metrics import Metrics, Verdict
from .transforms import keep_linear_interpolation
from .volumes import remove_node

RECORD_ATTRIBUTE = "DeepLargeDeformReg.result"
ROLE_PREFIX = "DeepLargeDeformReg.result."
ROLES = (
    "fixed",
    "moving",
    "fixed_segmentation",
    "moving_segmentation",
    "fixed_landmarks",
    "moving_landmarks",
    "transform",
    "warped",
    "segmentation",
    "fixed_organs",
    "moving_organs",
    "organs",
    "jacobian",
    "table",
    "folds",
    "landmarks",
    "report",
    "linear",
    "deformable",
    *MAPS,
    "charts",
    "chart_parts",
)
INPUT_ROLES = ROLES[:6]


@dataclass
class RunResult:
    """A run in the scene.

    Args:
        node: the script node that records the run: node references by role, and metrics and settings as JSON.
    """

    node: Any
    _metrics: Metrics | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Name for people, as "Run 2"."""
        return self.node.GetName()

    @property
    def metrics(self) -> Metrics:
        """Metrics of the run."""
        if self._metrics is None:
            self._metrics = Metrics.from_json(json.loads(self.node.GetParameter("metrics") or "{}"))
        return self._metrics

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the run."""
        return json.loads(self.node.GetParameter("settings") or "{}")

    @property
    def report(self) -> str:
        """The HTML report; empty if none was written."""
        node = self.get("report")
        return node.GetText() if node is not None else ""

    @property
    def verdict(self) -> Verdict | None:
        """Whether it may be used; None if the run was not judged."""
        return self.metrics.verdict

    @property
    def folds(self) -> tuple[Fold, ...]:
        """Folding list, the largest first."""
        return self.metrics.deformation.folds

    def get(self, role: str) -> Any:
        """Node of a role of :data:`ROLES`, or None; the first where a role has several."""
        return self.node.GetNodeReference(ROLE_PREFIX + role)

    def get_all(self, role: str) -> list[Any]:
        """All nodes of a role: charts have several."""
        count = self.node.GetNumberOfNodeReferences(ROLE_PREFIX + role)
        nodes = [self.node.GetNthNodeReference(ROLE_PREFIX + role, index) for index in range(count)]
        return [node for node in nodes if node is not None]

    def outputs(self) -> list[Any]:
        """All nodes that the run made."""
        return [node for role in ROLES if role not in INPUT_ROLES for node in self.get_all(role)]

    def add(self, role: str, nodes: Iterable[Any]) -> None:
        """Record further outputs of a role, and put them into the run's folder.

        Raises:
            KeyError: for an unknown role.
        """
        if role not in ROLES:
            raise KeyError(role)
        nodes = list(nodes)
        for node in nodes:
            self.node.AddNodeReferenceID(ROLE_PREFIX + role, node.GetID())
        if role not in INPUT_ROLES:
            into_folder(self.name, nodes)


def _record(node: Any) -> bool:
    return node.GetAttribute(RECORD_ATTRIBUTE) is not None


def list_results() -> list[RunResult]:
    """All runs in the scene, oldest first."""
    nodes = [node for node in slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode") if _record(node)]
    return [RunResult(node) for node in sorted(nodes, key=lambda node: int(node.GetAttribute(RECORD_ATTRIBUTE)))]


def restore() -> None:
    """Make the results of a scene that was read what they were when it was saved.

    Slicer reads displacement grids with cubic interpolation; they were computed, and are judged, with linear.
    """
    for run in list_results():
        for role in ("transform", "deformable"):
            if run.get(role) is not None:
                keep_linear_interpolation(run.get(role))


def next_number() -> int:
    """Number of the next run."""
    return 1 + max((int(run.node.GetAttribute(RECORD_ATTRIBUTE)) for run in list_results()), default=0)


def add_result(
    nodes: Mapping[str, Any],
    metrics: Metrics,
    settings: Mapping[str, Any],
    number: int | None = None,
) -> RunResult:
    """Record a run and put its output nodes into one subject-hierarchy folder.

    Args:
        nodes: node, or list of nodes, by role; None where there is none.
        metrics: metrics of the run.
        settings: settings of the run.
        number: number of the run; None takes the next.

    Raises:
        KeyError: for an unknown role.
    """
    number = next_number() if number is None else number
    record = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", _("Run {number}").format(number=number))
    record.SetAttribute(RECORD_ATTRIBUTE, str(number))
    record.SetHideFromEditors(True)
    record.SetParameter("metrics", json.dumps(metrics.to_json()))
    record.SetParameter("settings", json.dumps(dict(settings)))
    run = RunResult(record)
    for role, found in nodes.items():
        run.add(role, found if isinstance(found, list) else [] if found is None else [found])
    return run


def _folder_title(name: str) -> str:
    return _("Registration, {run}").format(run=name.lower())


def into_folder(name: str, nodes: list[Any]) -> None:
    """Put nodes into the subject-hierarchy folder of a run, made at the first need."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    if hierarchy is None or not nodes:
        return
    scene = hierarchy.GetSceneItemID()
    folder = hierarchy.GetItemChildWithName(scene, _folder_title(name))
    folder = folder or hierarchy.CreateFolderItem(scene, _folder_title(name))
    for node in nodes:
        item = hierarchy.GetItemByDataNode(node)
        if item:
            hierarchy.SetItemParent(item, folder)


def remove_result(run: RunResult, with_outputs: bool = True) -> None:
    """Remove a run; its output nodes too, except those that another run uses."""
    others = [other for other in list_results() if other.node is not run.node]
    kept = {node for other in others for role in ROLES for node in other.get_all(role)}
    if with_outputs:
        for node in run.outputs():
            if node not in kept:
                remove_node(node)
        _remove_empty_folder(run.name)
    slicer.mrmlScene.RemoveNode(run.node)


def _remove_empty_folder(name: str) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    folder = hierarchy.GetItemChildWithName(hierarchy.GetSceneItemID(), _folder_title(name)) if hierarchy else 0
    if folder and not hierarchy.GetNumberOfItemChildren(folder):
        hierarchy.RemoveItem(folder)
