"""Structures that a registration finds in its two scans by itself, where nobody outlined them."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, replace

import numpy as np

from ...core.errors import ModelMissingError
from ...core.geometry import ImageGrid
from ...core.images import Label, LabelMap, Pair
from ...core.progress import Monitor
from ...core.sentences import marked as _
from .. import fields
from ..fields import DisplacementField, warp_labels
from .lungs import lungs_of
from .model import SegmentationModel, load_segmentation
from .organs import FoundOrgans, find_organs
from .structures import Structures

LUNGS = "lungs"
"""Instead of the name of a segmentation model: lungs, found by thresholds."""

_TOLD_MM3 = {"liver": 2e5, "spleen": 5e4, "lungs": 1e6}
"""Organs whose overlap is told, where both scans show at least that much of them; a sliver tells nothing."""

_log = logging.getLogger(__name__)
_loaded: dict[str, SegmentationModel] = {}
_lock = threading.Lock()

_WEIGHTS = {"liver": 1.0, "spleen": 0.5, "right kidney": 0.3, "left kidney": 0.3, "lungs": 0.3, "bone": 0.1}
"""How much each structure counts: the liver most, as a scan of the abdomen holds it whole; of lungs it holds an end
whose shape changes with every slice, and bone is fixed in nobody's pose."""


@dataclass(frozen=True, eq=False, kw_only=True)
class FoundAnatomy:
    """What was found in both scans of a pair, not reviewed by anybody.

    Args:
        fixed: outlines in the fixed scan, on a grid of their own.
        moving: likewise in the moving scan; the values are the same structures.
        structures: soft masks of both, which guide softly; None where the outlines guide as a user's do.
    """

    fixed: LabelMap
    moving: LabelMap
    structures: tuple[Structures, Structures] | None = None


def find_anatomy(pair: Pair, name: str, monitor: Monitor | None = None) -> FoundAnatomy | None:
    """Find structures in both scans.

    Args:
        pair: scans in Hounsfield units.
        name: :data:`LUNGS`, or the name of a segmentation model.
        monitor: progress and cancellation.

    Returns:
        What both scans show; None if that is nothing, or if the model is not installed.
    """
    monitor = monitor or Monitor()
    monitor.report("anatomy", 0.0, _("Finding organs"))
    if name == LUNGS:
        return _lungs(pair, monitor)
    try:
        model = _model(name)
    except ModelMissingError as error:
        _log.warning("no organs are found: %s", error.message)
        return None
    fixed = find_organs(pair.fixed.volume, model, monitor)
    monitor.report("anatomy", 0.5, _("Finding organs"))
    moving = None if fixed is None else find_organs(pair.moving.volume, model, monitor)
    if fixed is None or moving is None:
        return None
    shared = [index for index in fixed.trusted if index in moving.trusted]
    if not shared:
        return None
    structures = (_shared(fixed, moving, shared), _shared(moving, fixed, shared))
    return FoundAnatomy(fixed=fixed.label_map(), moving=moving.label_map(), structures=structures)


def not_reviewed(labels: LabelMap, grid: ImageGrid) -> LabelMap:
    """Automatic outlines on a grid, with names that say so."""
    names = tuple(replace(label, name=f"{label.name} (automatic, not reviewed)") for label in labels.labels)
    named = LabelMap(labels.array, labels.grid, names)
    return named if grid is labels.grid else warp_labels(named, fields.identity(grid), grid)


def overlaps(anatomy: FoundAnatomy, field: DisplacementField) -> dict[str, float]:
    """Dice of each large organ after a map from fixed to moving points, where both scans have data; by name.

    Bone has the pose of its patient and small organs are found less surely: that they lie apart says little.
    """
    fixed, moving = anatomy.fixed, anatomy.moving
    warped = warp_labels(moving, field, fixed.grid).array
    covered = fields.covered(moving.grid, fields.resample(field, fixed.grid))[0, 0].numpy()
    names = {label.name: label.value for label in moving.labels}
    found = {}
    for label in fixed.labels:
        if label.name not in names or label.name not in _TOLD_MM3:
            continue
        first, second = fixed.mask(label.value) & covered, (warped == names[label.name]) & covered
        if min(first.sum(), second.sum()) * fixed.grid.voxel_volume > _TOLD_MM3[label.name]:
            found[label.name] = float(2 * (first & second).sum() / (first.sum() + second.sum()))
    return found


def _lungs(pair: Pair, monitor: Monitor) -> FoundAnatomy | None:
    fixed = lungs_of(pair.fixed.volume)
    monitor.report("anatomy", 0.5, _("Finding the lungs"))
    moving = None if fixed is None else lungs_of(pair.moving.volume)
    if fixed is None or moving is None:
        return None
    return FoundAnatomy(fixed=_as_one(fixed), moving=_as_one(moving))


def _as_one(lungs: LabelMap) -> LabelMap:
    """Both lungs as one structure: of a scan that is cropped to one, nobody knows for sure which one it is."""
    return LabelMap(
        lungs.mask().astype(np.int16), lungs.grid, (Label(value=1, name="lungs", color=lungs.labels[0].color),)
    )


def _model(name: str) -> SegmentationModel:
    with _lock:
        if name not in _loaded:
            _loaded[name] = load_segmentation(name)
        return _loaded[name]


def _shared(one: FoundOrgans, other: FoundOrgans, channels: list[int]) -> Structures:
    """The structures that both scans show; each counts as sure as the less sure of the two is."""
    weights = tuple(
        _WEIGHTS.get(one.labels[index].name, 0.3) * min(one.confidence[index], other.confidence[index])
        for index in channels
    )
    return Structures(one.probabilities[:, channels], one.grid, weights)
