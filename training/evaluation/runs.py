"""Registers and measures the pairs of a cohort, one after the other or several at a time."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from statistics import fmean
from typing import Any

import torch
from DeepLargeDeformRegLib.core.cases import landmark_values, structure_values
from DeepLargeDeformRegLib.core.errors import CancelledError, RegistrationError
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import LabelMap, Scan
from DeepLargeDeformRegLib.core.images import Pair as ScanPair
from DeepLargeDeformRegLib.core.labels import match_labels
from DeepLargeDeformRegLib.core.settings import RegistrationSettings
from DeepLargeDeformRegLib.engine.evaluation import warped_labels
from DeepLargeDeformRegLib.engine.fields import DisplacementField
from DeepLargeDeformRegLib.engine.metrics import MeasureInput, measure, surface_distances
from DeepLargeDeformRegLib.engine.models import RegistrationModel, load_model
from DeepLargeDeformRegLib.engine.registration.pipeline import RegistrationRequest, register

from ..config import Config
from ..data import Pair
from ..release.figures import predict_pair
from .challenges import FieldExport

Row = dict[str, Any]
_log = logging.getLogger(__name__)


def evaluate_pairs(
    pairs: Sequence[Pair],
    settings: RegistrationSettings,
    export: FieldExport | None = None,
    workers: int = 1,
    threads: int | None = None,
    alone: Config | None = None,
) -> Iterator[tuple[int, Row]]:
    """Number and row (see :func:`evaluate_pair`) of each pair, as they are done.

    Rows do not depend on ``workers``: each pair is registered by itself, by as many threads as before. (With another
    number of threads sums are rounded in another order, which optimization carries into the fourth digit or so.)

    Args:
        pairs: of the cohort.
        settings: of all registrations.
        export: writes fields for a challenge, too.
        workers: processes that register at a time. One that dies, of too little memory say, costs its pair alone.
        threads: of the processor for a pair; its cores divided by the workers by default.
        alone: see :func:`evaluate_pair`.
    """
    threads = threads or max(1, (os.cpu_count() or 1) // workers)
    if workers == 1:
        torch.set_num_threads(threads)
        for number, pair in enumerate(pairs):
            yield number, evaluate_pair(pair, settings, export, alone)
        return
    # Imported here: a cohort that is registered by one process needs no Dask.
    import dask
    from distributed import Client, KilledWorker, LocalCluster, as_completed

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(
            n_workers=min(workers, len(pairs)),
            threads_per_worker=1,
            memory_limit=None,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        submit = partial(client.submit, _in_worker, pure=False)
        futures = [submit(pair, settings, export, threads, alone) for pair in pairs]
        numbers = {future.key: number for number, future in enumerate(futures)}
        waiting = as_completed(futures)
        del futures
        lost = []
        for future in waiting:
            number = numbers[future.key]
            if isinstance(future.exception(), KilledWorker):
                lost.append(number)
            else:
                yield number, future.result()
            future.release()  # else it would be computed anew if the worker that keeps it were lost
        # A process takes the pairs that wait for it along; alone, only the pair that ended it does so again.
        for number in sorted(lost):
            future = submit(pairs[number], settings, export, threads, alone)
            yield number, _lost(pairs[number]) if isinstance(future.exception(), KilledWorker) else future.result()


def evaluate_pair(
    pair: Pair, settings: RegistrationSettings, export: FieldExport | None = None, alone: Config | None = None
) -> Row:
    """Register one pair: ``fixed``, ``moving``, ``values`` by measure, ``errors_mm`` of its landmarks.

    A pair that cannot be registered gives a row with ``error`` instead: one bad scan does not end a cohort.

    Args:
        pair: with structures, landmarks or both; without them only the field is measured.
        settings: of the registration. Landmarks measure, they never guide.
        export: writes the field for a challenge, too.
        alone: measure the bare network of ``settings.model`` as the papers do: aligned as this configuration says,
            one pass, folds as they are; without it, the whole pipeline.

    Raises:
        CancelledError: if it was cancelled.
    """
    row = _names(pair)
    try:
        fixed, moving = pair.fixed.image(), pair.moving.image()
        scans = ScanPair(Scan(fixed, pair.fixed.labels()), Scan(moving, pair.moving.labels()))
        scans = scans.with_landmarks(pair.landmarks())
        if alone is None:
            result = register(RegistrationRequest(pair=scans, settings=settings))
            field, warped = result.field, result.warped.labels
            numbers: Mapping[str, Any] = result.metrics.to_json()
        else:
            field, numbers, warped = _alone(scans, pair, settings.model or alone.name, alone)
        if export is not None:
            export.write(field, pair, fixed.grid, moving.grid)
    except CancelledError:
        raise
    except RegistrationError as error:
        return row | {"error": error.message}
    except Exception as error:
        # A defect, not bad data: told in full, but no reason to lose the hours that the other pairs took.
        _log.exception("A pair ended with an unexpected error")
        return row | {"error": f"{type(error).__name__}: {error}"}
    values = run_values(numbers) | asd_in_voxels(scans.fixed.labels, scans.moving.labels, warped)
    return row | {"values": values, "errors_mm": _landmark_errors(numbers)}


def run_values(numbers: Mapping[str, Any]) -> dict[str, float]:
    """Measures of one registration; ``before: ...`` as loaded, ``dice: liver`` of one structure, ``dice`` the mean.

    ``in mask: ...`` is of det J within the fixed structures, as the Learn2Reg challenge counts on lungs.
    A structure that left the fixed scan's view altogether has Dice 0 and no distances.
    """
    values: dict[str, float] = {}
    for when, prefix in (("after", ""), ("before", "before: ")):
        values |= structure_values(numbers, when, prefix) | landmark_values(numbers, when, prefix)
    jacobian = numbers["jacobian"]
    names = {"fold_percent": "fold_percent", "sdlogj": "sdlogj", "sdlogj_learn2reg": "sdlogj_learn2reg"}
    names |= {"std": "jacobian_std", "min": "jacobian_min", "max": "jacobian_max"}
    for prefix, found in (("", jacobian), ("in mask: ", numbers.get("jacobian_in_mask") or {})):
        values |= {prefix + name: found[key] for key, name in names.items() if found.get(key) is not None}
    seconds: Mapping[str, float] = numbers["seconds"]
    return values | {"seconds": sum(seconds.values()) - seconds.get("measure", 0.0)}


def asd_in_voxels(fixed: LabelMap | None, moving: LabelMap | None, warped: LabelMap | None) -> dict[str, float]:
    """Average surface distance of each structure in voxels of the fixed scan, and their mean, ``asd_voxels``.

    As papers that give distances without a unit count: every voxel is a unit cube, whatever its spacing.
    """
    if fixed is None or moving is None or warped is None:
        return {}
    names = {label.value: label.name for label in fixed.labels}
    unit = ImageGrid.axis_aligned(fixed.grid.size, (1.0, 1.0, 1.0))
    values = {}
    for first, second in match_labels(fixed, moving):
        distances = surface_distances(fixed.array == first, warped.array == second, unit)
        if distances is not None:
            values[f"asd_voxels: {names.get(first, f'label {first}')}"] = distances.average
    return values | ({"asd_voxels": fmean(values.values())} if values else {})


def _alone(
    scans: ScanPair, pair: Pair, name: str, config: Config
) -> tuple[DisplacementField, Mapping[str, Any], LabelMap | None]:
    """Field, metrics and warped labels of one pass of a network."""
    _, field, seconds = predict_pair(_model(name), pair, config)
    labels = warped_labels(scans, field)
    numbers = measure(MeasureInput(field=field, pair=scans, warped_labels=labels)).metrics.to_json()
    return field, {**numbers, "seconds": {"predict": seconds}}, labels


@cache
def _model(name: str) -> RegistrationModel:
    return load_model(name, "cuda" if torch.cuda.is_available() else "cpu")


def _names(pair: Pair) -> Row:
    return {"fixed": pair.fixed.name, "moving": pair.moving.name}


def _in_worker(
    pair: Pair, settings: RegistrationSettings, export: FieldExport | None, threads: int, alone: Config | None
) -> Row:
    torch.set_num_threads(threads)
    return evaluate_pair(pair, settings, export, alone)


def _lost(pair: Pair) -> Row:
    _log.error("A worker was lost, again")
    return _names(pair) | {"error": "Its process ended unexpectedly; most likely the memory was too small."}


def _landmark_errors(numbers: Mapping[str, Any]) -> dict[str, list[float]]:
    points = numbers.get("tre_mm", {}).get("landmarks", [])
    return {when: [point[when] for point in points] for when in ("before", "after")}
