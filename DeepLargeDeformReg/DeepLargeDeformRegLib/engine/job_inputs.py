"""What a job reads: both scans with their masks, structures and landmarks, and transforms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core import files
from ..core.errors import BadInputError, reading
from ..core.geometry import ImageGrid
from ..core.images import LabelMap, LandmarkPairs, Pair, Scan, notices_of_landmarks
from ..core.labels import notice_of_values, with_matches
from ..core.progress import Monitor
from ..core.sentences import marked as _
from . import fields
from .fields import DisplacementField
from .left_out import leave_out

if TYPE_CHECKING:
    from .job import EvaluateJob, RegistrationJob


def read_pair(
    job: RegistrationJob | EvaluateJob, warn: Callable[[str], None], notify: Callable[[str], None], monitor: Monitor
) -> Pair:
    """Both scans with what the job names; ``warn`` hears of faults of files, ``notify`` of what was made of them."""
    scans = []
    for name, path, segmentation, mask in (
        ("fixed", job.fixed, job.fixed_segmentation, job.fixed_mask),
        ("moving", job.moving, job.moving_segmentation, job.moving_mask),
    ):
        with reading("scan", path, name):
            volume = files.read_volume(path)
        if mask is not None:
            with reading("mask", mask, name):
                marked = files.read_label_map(mask, warn=warn, what=f"{name} mask", of=f"{name} scan")
            volume, warnings = leave_out(volume, marked, name)
            for warning in warnings:
                notify(warning)
        monitor.check()
        labels = None
        if segmentation is not None:
            with reading("segmentation", segmentation, name):
                labels = files.read_label_map(
                    segmentation,
                    volume.grid,
                    warn,
                    f"{name} segmentation",
                    f"{name} scan",
                )
            monitor.check()
        scans.append(Scan(volume, labels))
    fixed, moving = scans
    moving = replace(moving, labels=_matched(fixed.labels, moving.labels, job.match, notify))
    pair = Pair(fixed, moving).with_landmarks(_landmarks(job, fixed.grid, moving.grid))
    for notice in notices_of_landmarks(pair):
        notify(notice)
    return pair


def _matched(
    fixed: LabelMap | None, moving: LabelMap | None, match: Sequence[str], notify: Callable[[str], None]
) -> LabelMap | None:
    """The moving structures with the user's matches; tells of those that were matched by value alone."""
    if fixed is None or moving is None:
        if match:
            raise BadInputError(
                _("Structures are matched between two segmentations; give both, or leave the match out.")
            )
        return moving
    moving = with_matches(fixed, moving, match) if match else moving
    notice = notice_of_values(fixed, moving)
    if notice is not None:
        notify(notice)
    return moving


def _landmarks(
    job: RegistrationJob | EvaluateJob, fixed_grid: ImageGrid, moving_grid: ImageGrid
) -> LandmarkPairs | None:
    if job.landmarks:
        if job.fixed_landmarks or job.moving_landmarks:
            raise BadInputError(
                _("Landmarks are given twice, as a table of pairs and as a file a scan; leave one of them out.")
            )
        with reading("landmarks", job.landmarks):
            return files.read_landmark_pairs(job.landmarks)
    if not job.fixed_landmarks and not job.moving_landmarks:
        return None
    if not job.fixed_landmarks or not job.moving_landmarks:
        raise BadInputError(_("Landmarks are needed in both scans; only one of the two files is named."))
    with reading("landmarks", job.fixed_landmarks, "fixed"):
        fixed = files.read_landmarks(job.fixed_landmarks, fixed_grid)
    with reading("landmarks", job.moving_landmarks, "moving"):
        moving = files.read_landmarks(job.moving_landmarks, moving_grid)
    return files.pair_landmarks(fixed, moving)


def field_of(path: str, grid: ImageGrid) -> DisplacementField:
    """The displacements of a transform's file on a grid, mm."""
    with reading("transform", path):
        return fields.sampled_on(grid, fields.read_sampler(path))
