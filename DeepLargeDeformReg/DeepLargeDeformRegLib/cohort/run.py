"""A cohort from its table to its tables: what is to be done, by whom, and what came out."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import SimpleITK as sitk

from ..core.cases import NOT_REGISTERED, UNREADABLE
from ..core.errors import BadInputError
from ..core.files.common import write_text
from ..core.presets import find_preset
from ..core.sentences import counted
from ..core.sentences import marked as _
from ..core.settings import RegistrationSettings
from . import local
from .atlas import Fusion, check_atlases, fuse_files
from .folder import METRICS, REPORT, CohortFolder, Fingerprints, Record
from .local import Outcome, Task
from .page import cohort_page
from .pairs import CohortPair
from .summary import Row, cases_csv, row_of, summary_csv

OUTPUTS = {
    "transform": ("output_transform", "transform.nii.gz"),
    "inverse": ("output_inverse", "inverse.nii.gz"),
    "volume": ("output_volume", "warped.nii.gz"),
    "segmentation": ("output_segmentation", "warped_segmentation.nii.gz"),
    "jacobian": ("output_jacobian", "jacobian.nii.gz"),
    "uncertainty": ("output_uncertainty", "uncertainty.nii.gz"),
    "maps": ("output_maps", "maps"),
    "dicom": ("output_dicom", "dicom"),
    "report": ("report", REPORT),
}
"""What can be written for each pair: entry of the job, file in the pair's folder."""
DEFAULT_OUTPUTS = ("transform", "volume", "segmentation", "report")
SECONDS_BETWEEN_TABLES = 30.0
"""The tables of what is finished so far are written so often: who looks on sees the cohort grow."""


@dataclass(frozen=True, kw_only=True)
class CohortRequest:
    """What the user wants of a cohort.

    Args:
        pairs: see :func:`.pairs.read_pairs`.
        output: folder of the results.
        settings: of all pairs; a pair may have a preset and a model of its own.
        outputs: of :data:`OUTPUTS`; a segmentation where the pair has a moving one.
        workers: processes at a time; None plans them.
        scheduler: address of a Dask scheduler instead of processes of this machine.
        retry_failed: register those pairs again that failed in an earlier run.
        atlas: fusion of the propagated labels of all pairs, which then have one fixed scan; see :mod:`.atlas`.
        jobs: module with the kinds of jobs of the workers.
    """

    pairs: Sequence[CohortPair]
    output: Path
    settings: RegistrationSettings = field(default_factory=RegistrationSettings)
    outputs: Sequence[str] = DEFAULT_OUTPUTS
    workers: int | None = None
    scheduler: str | None = None
    retry_failed: bool = False
    atlas: str | None = None
    jobs: str = local.JOBS


@dataclass(frozen=True, kw_only=True)
class CohortProgress:
    """Where a cohort stands: pairs done in this run and before it, of how many; seconds of this run and to go."""

    done: int
    resumed: int
    failed: int
    total: int
    seconds: float = 0.0
    seconds_left: float | None = None
    last: str = ""


Listener = Callable[[CohortProgress], None]
Tell = Callable[[str], None]


def run_cohort(request: CohortRequest, listen: Listener = lambda _: None, tell: Tell = lambda _: None) -> list[Row]:
    """Register all pairs that are not finished, and write ``cohort.csv``, ``summary.csv`` and ``cohort.html``.

    One bad pair does not stop the rest. A run that ends in whatever way is taken up where it was by the next one.

    Args:
        request: what the user wants.
        listen: told after each pair.
        tell: told in sentences what was planned and found.

    Returns:
        A row for each pair, in the order of the table.

    Raises:
        BadInputError: if the settings cannot be, or another run works in the folder.
    """
    unknown = sorted(set(request.outputs) - set(OUTPUTS))
    if unknown:
        raise BadInputError(
            _("There is no output {unknown}; there are {outputs}.").format(
                unknown=", ".join(unknown), outputs=", ".join(OUTPUTS)
            )
        )
    if request.atlas is not None:
        check_atlases(request.pairs, request.atlas)
        request = dataclasses.replace(request, outputs=tuple(dict.fromkeys((*request.outputs, "segmentation"))))
    folder = CohortFolder(request.output)
    with folder.locked():
        folder.sweep()
        prints = _fingerprints(request)
        tasks, finished, failed = _open(request, folder, prints)
        if finished or failed:
            tell(
                _("{finished} pairs are finished, {failed} failed before; {count} are to be registered.").format(
                    finished=finished, failed=failed, count=len(tasks)
                )
            )
        _register(request, folder, tasks, prints, (finished, failed), listen, tell)
        rows = [_row(folder, pair.name) for pair in request.pairs]
        write_tables(rows, folder)
        if request.atlas is not None:
            written = [folder.of(row.name) / OUTPUTS["segmentation"][1] for row in rows if row.error is None]
            fuse_files(written, folder.path, cast(Fusion, request.atlas))
    return rows


def write_tables(rows: Sequence[Row], folder: CohortFolder) -> None:
    """Write the tables and the page of a cohort."""
    write_text(cases_csv(rows), folder.path / "cohort.csv")
    write_text(summary_csv(rows), folder.path / "summary.csv")
    reports = {row.name for row in rows if (folder.of(row.name) / REPORT).is_file()}
    write_text(cohort_page(rows, reports), folder.path / "cohort.html")


def job_of(pair: CohortPair, request: CohortRequest, folder: Path | None = None) -> dict[str, Any]:
    """JSON of a pair's job; without a folder what it asks for, without paths."""
    settings = request.settings
    if pair.preset is not None:
        settings = dataclasses.replace(settings, preset=pair.preset)
    if pair.model is not None:
        settings = dataclasses.replace(settings, model=pair.model)
    job: dict[str, Any] = {"settings": settings.to_json(), "match": list(pair.match)}
    outputs = [name for name in request.outputs if name != "segmentation" or "moving_segmentation" in pair.files]
    if folder is None:
        return job | {"outputs": sorted(outputs)}
    written = {key: str(folder / file) for key, file in (OUTPUTS[name] for name in outputs)}
    return job | dict(pair.files) | written | {"metrics": str(folder / METRICS)}


def inputs_of(pair: CohortPair, request: CohortRequest) -> dict[str, Any]:
    """What is kept of a pair's job, so that its result can be opened with its scans: their paths, and settings."""
    job = job_of(pair, request)
    return {**pair.files, "settings": job["settings"], "match": job["match"]}


def _fingerprints(request: CohortRequest) -> dict[str, str]:
    """Fingerprint of each pair; an unreadable file fails its pair later, not all of them now."""
    prints, found = Fingerprints(), {}
    weights: dict[str, str | None] = {}
    for pair in request.pairs:
        job = job_of(pair, request)
        settings = job["settings"]
        model = settings["model"] or find_preset(settings["preset"]).model
        if model is not None and model not in weights:
            weights[model] = _checksum(model)
        # Where it was computed does not change what a result is.
        job["settings"] = {key: value for key, value in settings.items() if key not in ("device", "memory_limit_mb")}
        try:
            found[pair.name] = prints.of(job, dict(pair.files), weights.get(model or ""))
        except OSError as error:
            found[pair.name] = f"unreadable: {error.strerror}"
    return found


def _checksum(model: str) -> str | None:
    """Checksum of a model's weights from its card; cards are read without the engine."""
    import json

    from ..resources import MODELS

    extra = [Path(name) for name in os.environ.get("DEEPLARGEDEFORMREG_MODELS", "").split(os.pathsep) if name]
    for place in (*extra, MODELS):
        card = place / f"{model}.json"
        if card.is_file():
            return str(json.loads(card.read_text(encoding="utf-8")).get("weights_sha256"))
    return None


def _open(request: CohortRequest, folder: CohortFolder, prints: dict[str, str]) -> tuple[list[CohortPair], int, int]:
    """Pairs to register; how many are finished, and how many failed before and are left so."""
    tasks, finished, failed = [], 0, 0
    for pair in request.pairs:
        record = folder.record(pair.name)
        if record is None or record.fingerprint != prints[pair.name]:
            tasks.append(pair)
        elif record.error is None and folder.metrics(pair.name) is not None:
            finished += 1
        elif record.error is not None and not request.retry_failed:
            failed += 1
        else:
            tasks.append(pair)
    return tasks, finished, failed


def _register(
    request: CohortRequest,
    folder: CohortFolder,
    pairs: Sequence[CohortPair],
    prints: dict[str, str],
    before: tuple[int, int],
    listen: Listener,
    tell: Tell,
) -> None:
    if not pairs:
        return
    tasks = [Task(pair.name, job_of(pair, request, folder.begin(pair.name))) for pair in pairs]
    inputs = {pair.name: inputs_of(pair, request) for pair in pairs}
    started, failed = time.monotonic(), before[1]
    shown = started
    for done, outcome in enumerate(_outcomes(request, tasks, pairs, tell), 1):
        name = outcome.task.name
        record = Record(fingerprint=prints[name], error=outcome.error, kind=outcome.kind, seconds=outcome.seconds)
        folder.finish(name, record, inputs[name])
        failed += outcome.error is not None
        if time.monotonic() - shown > SECONDS_BETWEEN_TABLES:
            ended = [pair.name for pair in request.pairs if folder.record(pair.name) is not None]
            write_tables([_row(folder, name) for name in ended], folder)
            shown = time.monotonic()
        seconds = time.monotonic() - started
        listen(
            CohortProgress(
                done=done,
                resumed=sum(before),
                failed=failed,
                total=len(request.pairs),
                seconds=seconds,
                seconds_left=seconds / done * (len(tasks) - done),
                last=name,
            )
        )


def _outcomes(
    request: CohortRequest, tasks: Sequence[Task], pairs: Sequence[CohortPair], tell: Tell
) -> Iterator[Outcome]:
    pairs_to_do = counted(len(tasks), _("1 pair"), _("{number} pairs"))
    if request.scheduler is not None:
        from .scheduler import run_on_scheduler

        tell(_("Registering {pairs} on {scheduler}.").format(pairs=pairs_to_do, scheduler=request.scheduler))
        return run_on_scheduler(tasks, request.scheduler, request.jobs)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    plan = local.plan_workers(
        len(tasks),
        _most_voxels(pairs),
        cores,
        local.free_memory(),
        gpus=local.count_gpus(request.settings.device),
        wanted=request.workers,
        threads=local.wanted_threads(),
    )
    workers = counted(plan.workers, _("1 worker"), _("{number} workers"))
    threads = counted(plan.threads, _("1 thread"), _("{number} threads"))
    tell(
        _("Registering {pairs} with {workers} of {threads} ({reason}).").format(
            pairs=pairs_to_do, workers=workers, threads=threads, reason=plan.reason
        )
    )
    return local.run_local(tasks, plan, request.jobs)


def _most_voxels(pairs: Sequence[CohortPair]) -> int:
    """Voxels of the largest fixed scan, from the headers; 256^3 where they tell nothing."""
    most, known = 0, {}
    for pair in pairs:
        path = pair.files["fixed"]
        if path not in known:
            reader = sitk.ImageFileReader()
            reader.SetFileName(path)
            try:
                reader.ReadImageInformation()
                known[path] = int(reader.GetSize()[0] * reader.GetSize()[1] * reader.GetSize()[2])
            except (RuntimeError, IndexError):
                known[path] = 256**3
        most = max(most, known[path])
    return most


def _row(folder: CohortFolder, name: str) -> Row:
    record, metrics = folder.record(name), folder.metrics(name)
    if record is None or record.error is not None or metrics is None:
        error = NOT_REGISTERED if record is None else record.error or UNREADABLE
        return Row(name=name, error=error, seconds=record.seconds if record else 0.0)
    return row_of(name, metrics, record.seconds)
