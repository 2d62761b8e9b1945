"""All that is measured on one registration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...core.geometry import ImageGrid
from ...core.images import LabelMap, Pair, Volume
from ...core.labels import shared_structures
from ...core.measures import DeformationMetrics, Spread, StructureMetrics
from ...core.metrics import Metrics, WorstPlace
from ...core.progress import Monitor
from ...core.sentences import marked as _
from .. import fields
from ..fields import DisplacementField, as_tensor, warp_labels
from ..fields.slabs import by_slabs
from .deformation import consistency_map, fold_regions, jacobian_statistics, summarize_consistency
from .landmarks import landmark_metrics
from .overlap import label_overlap
from .similarity import similarity_metrics
from .statistics import planes_of, spread_of, summarize_spread
from .verdict import judge
from .worst import largest_error, smallest_determinant


@dataclass(frozen=True, eq=False, kw_only=True)
class MeasureInput:
    """What is measured, and on what.

    Args:
        field: fixed to moving, mm, linear part included; from whatever registration.
        pair: the scans, with the segmentations and landmarks that there are.
        warped_labels: moving segmentation on the fixed grid, through the field, if there is one.
        backward: moving to fixed, if a registration of its own was run in that direction.
        uncertainty: expected error of the displacement, mm, on any grid, beyond whose border it goes on; if it was
            estimated.
        found_organs: Dice after registration of structures that were found automatically, by name.
        guided_by_labels: the segmentations guided the registration, so their overlap is no independent evidence.
        guided_by_landmarks: likewise the landmarks.
    """

    field: DisplacementField
    pair: Pair
    warped_labels: LabelMap | None = None
    backward: DisplacementField | None = None
    uncertainty: Volume | None = None
    found_organs: Mapping[str, float] | None = None
    guided_by_labels: bool = False
    guided_by_landmarks: bool = False


@dataclass(frozen=True, eq=False)
class Measured:
    """The metrics, judged, and what was measured at each place.

    Args:
        metrics: the numbers and the verdict.
        maps: ``inverse_consistency_mm``, ``local_similarity`` and ``uncertainty_mm``, those that there are, on coarse
            grids of their own, NaN where they are not defined; :mod:`..maps` puts them on the fixed grid.
    """

    metrics: Metrics
    maps: dict[str, Volume]


def measure(inputs: MeasureInput, monitor: Monitor | None = None) -> Measured:
    """Measure a registration on its field, its scans, and the segmentations and landmarks that there are."""
    monitor = monitor or Monitor()
    map_, fixed = inputs.field, inputs.pair.fixed
    error = consistency_map(map_, inputs.backward, monitor)
    maps = {"inverse_consistency_mm": error}
    monitor.report("measure", 0.2, _("Measuring the result"))
    deformation, *worst = _deformation(inputs, error)
    monitor.report("measure", 0.4, _("Measuring the structures"))
    structures, farthest = _overlap(inputs, monitor)
    worst.append(farthest)
    landmarks = inputs.pair.landmarks
    monitor.report("measure", 0.7, _("Comparing the scans"))
    similarity, compared = similarity_metrics(fixed.volume, inputs.pair.moving.volume, map_)
    maps["local_similarity"] = compared.local
    uncertainty = None
    if inputs.uncertainty is not None:
        uncertainty, largest = _expected_error(inputs, inputs.uncertainty)
        worst.append(largest)
        maps["uncertainty_mm"] = inputs.uncertainty
    metrics = Metrics(
        deformation=deformation,
        structures=structures,
        landmarks=landmark_metrics(map_, landmarks) if landmarks is not None and len(landmarks) else None,
        similarity=similarity,
        uncertainty_mm=uncertainty,
        worst_places=tuple(place for place in worst if place is not None),
        found_organs=inputs.found_organs or {},
        left_out_percent=_left_out(inputs.pair),
    )
    verdict = judge(metrics, inputs.guided_by_labels, inputs.guided_by_landmarks)
    return Measured(replace(metrics, verdict=verdict), maps)


def _deformation(inputs: MeasureInput, error: Volume) -> tuple[DeformationMetrics, WorstPlace | None]:
    """Plausibility of the map, and where it is least plausible; det J is gone afterwards, as it may be gigabytes."""
    field, labels = inputs.field, inputs.pair.fixed.labels
    jacobian = Volume(fields.jacobian_determinant(field)[0, 0].numpy(), field.grid)
    inside = _in_structures(labels, field.grid)
    folds, count = fold_regions(jacobian, labels)
    u = field.displacement[:1]
    found = DeformationMetrics(
        jacobian=jacobian_statistics(jacobian.array),
        jacobian_in_mask=None if inside is None else jacobian_statistics(jacobian.array, inside),
        folds=folds,
        fold_count=count,
        displacement_mm=spread_of(
            lambda: (fields.lengths(u[:, :, place]).flatten().numpy() for place in planes_of(jacobian.array))
        ),
        inverse_consistency_mm=summarize_consistency(error, inputs.backward is not None),
    )
    return found, smallest_determinant(jacobian, inside, labels)


def _expected_error(inputs: MeasureInput, uncertainty: Volume) -> tuple[Spread, WorstPlace | None]:
    """The expected error on the field's grid where it matters, and where it is largest.

    It matters within the fixed structures, or else where the moving scan has data.
    """
    field, labels, moving = inputs.field, inputs.pair.fixed.labels, inputs.pair.moving.grid
    grid, source = field.grid, as_tensor(uncertainty)
    structures = None if labels is None or not labels.array.any() else _on_grid(labels, grid).array

    def error(part: ImageGrid, place: slice) -> Tensor:
        values = fields.regrid(source, uncertainty.grid, part, padding="border")
        if structures is not None:
            matters = torch.from_numpy(structures[place] != 0)[None, None]
        else:
            matters = fields.covered(moving, DisplacementField(field.displacement[:, :, place], part))
        return values.masked_fill_(~matters, float("nan"))

    counted = Volume(by_slabs(grid, source, error)[0, 0].numpy(), grid)
    return summarize_spread(counted.array), largest_error(counted, None, labels)


def _overlap(inputs: MeasureInput, monitor: Monitor) -> tuple[dict[str, StructureMetrics], WorstPlace | None]:
    """Measures of the structures that both segmentations have, before and after; none without any."""
    fixed, moving, warped = inputs.pair.fixed.labels, inputs.pair.moving.labels, inputs.warped_labels
    shared = shared_structures(inputs.pair)
    if fixed is None or moving is None or warped is None or not shared:
        return {}, None
    monitor.check()
    as_loaded = warp_labels(moving, fields.identity, inputs.pair.fixed.grid)
    monitor.check()
    return label_overlap(fixed, as_loaded, warped, moving, shared)


def _left_out(pair: Pair) -> dict[str, float]:
    """Share of each scan that a mask leaves out, %; nothing of those without one."""
    sides = {"fixed": pair.fixed.volume.counted, "moving": pair.moving.volume.counted}
    return {name: 100.0 * float(1 - counted.mean()) for name, counted in sides.items() if counted is not None}


def _in_structures(labels: LabelMap | None, grid: ImageGrid) -> npt.NDArray[np.bool_] | None:
    """Voxels of a grid within the fixed structures; None without a segmentation."""
    if labels is None:
        return None
    return _on_grid(labels, grid).mask()


def _on_grid(labels: LabelMap, grid: ImageGrid) -> LabelMap:
    return labels if labels.grid == grid else warp_labels(labels, fields.identity, grid)
