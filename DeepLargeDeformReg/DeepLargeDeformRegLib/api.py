"""The Python interface: ``from DeepLargeDeformRegLib import register, warp, evaluate, models``.

Works on arrays, SimpleITK images and paths alike, and needs no Slicer; docs/python.md has examples. Torch is imported
with the first registration.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from .core import files
from .core.errors import BadInputError
from .core.files.common import written_whole
from .core.geometry import ImageGrid
from .core.images import LabelMap, LandmarkPairs, Pair, Scan, Volume, notices_of_landmarks
from .core.labels import notice_of_values, with_matches
from .core.metrics import Metrics
from .core.progress import Monitor, ProgressEvent
from .core.settings import RegistrationSettings

if TYPE_CHECKING:
    from .engine.evaluation import Evaluation
    from .engine.fields import DisplacementField
    from .engine.models import ModelCard

PathLike = str | os.PathLike[str]
Image = PathLike | sitk.Image | npt.NDArray[Any]
"""A scan or label map: a path, a SimpleITK image, or an array (z, y, x), whose spacing is to be given."""
Transform = PathLike | sitk.Transform
Points = tuple[npt.ArrayLike, npt.ArrayLike]
Spacing = Sequence[float]
Progress = Callable[[ProgressEvent], None]


@dataclass(frozen=True, eq=False)
class Registration:
    """A transform on its two scans, measured.

    Args:
        metrics: all measures, the verdict and notes among them (docs/metrics.md).
        evaluation: what the other properties are made of, in the engine's types.
    """

    metrics: Metrics
    evaluation: Evaluation

    @cached_property
    def transform(self) -> sitk.DisplacementFieldTransform:
        """From fixed to moving points, LPS mm, as ``SimpleITK.Resample`` takes it."""
        from .engine import fields

        return fields.to_sitk(self.evaluation.field)

    @cached_property
    def warped(self) -> sitk.Image:
        """The moving scan on the fixed grid."""
        return self.evaluation.warped.volume.to_image()

    @cached_property
    def labels(self) -> sitk.Image | None:
        """The moving structures on the fixed grid; None without any."""
        labels = self.evaluation.warped.labels
        return None if labels is None else labels.grid.to_image(labels.array)

    @cached_property
    def jacobian(self) -> sitk.Image:
        """det J on the transform's grid: 2 where the moving anatomy has twice the volume, 0 or less at folds."""
        return self.evaluation.jacobian.to_image()

    def save(
        self,
        *,
        transform: PathLike | None = None,
        warped: PathLike | None = None,
        labels: PathLike | None = None,
        jacobian: PathLike | None = None,
        metrics: PathLike | None = None,
        report: PathLike | None = None,
    ) -> None:
        """Write what is named, each file whole or not at all.

        Raises:
            BadInputError: for a file ending that cannot be written, or labels where there are none.
            OutputError: if a file cannot be written.
        """
        from .engine import fields

        if transform is not None:
            fields.write_transform(self.evaluation.field, transform)
        if warped is not None:
            files.write_volume(self.evaluation.warped.volume, warped)
        if labels is not None:
            if self.evaluation.warped.labels is None:
                raise BadInputError("There are no labels to save: the moving scan came without any.")
            files.write_label_map(self.evaluation.warped.labels, labels)
        if jacobian is not None:
            files.write_volume(self.evaluation.jacobian, jacobian)
        if report is not None:
            from .report import write_report

            write_report(Path(report), self.evaluation)
        if metrics is not None:
            with written_whole(metrics) as path:
                path.write_text(json.dumps(self.metrics.to_json(), indent=2) + "\n", encoding="utf-8")

    def save_dicom(self, folder: PathLike, *, fixed: PathLike, moving: PathLike) -> None:
        """Write the transform and the propagated structures as DICOM objects, for radiotherapy; all or nothing.

        ``registration.dcm`` is a Deformable Spatial Registration, ``segmentation.dcm`` a Segmentation with the moving
        structures on the fixed scan, if there are any; both belong to the study of the fixed scan.

        Args:
            folder: made if it is not there.
            fixed: DICOM folder that the fixed scan was read from (``folder#2`` for its second series).
            moving: likewise.

        Raises:
            BadInputError: if a scan is not from DICOM, or does not lie where its DICOM files say.
            OutputError: if a file cannot be written.
        """
        from .engine.dicom_output import dicom_series, write_dicom_objects

        write_dicom_objects(folder, self.evaluation, dicom_series(folder, fixed, moving))


def register(
    fixed: Image,
    moving: Image,
    *,
    fixed_spacing: Spacing | None = None,
    moving_spacing: Spacing | None = None,
    fixed_labels: Image | None = None,
    moving_labels: Image | None = None,
    match: Sequence[str] = (),
    landmarks: Points | None = None,
    fixed_mask: Image | None = None,
    moving_mask: Image | None = None,
    initial_transform: Transform | None = None,
    region: Image | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Registration:
    """Register the moving scan to the fixed one.

    Args:
        fixed: fixed scan.
        moving: moving scan.
        fixed_spacing: (x, y, z) mm, where the fixed scan is an array.
        moving_spacing: likewise for the moving one.
        fixed_labels: structures of the fixed scan, on its grid; an array takes its spacing.
        moving_labels: structures of the moving scan.
        match: ``"FIXED=MOVING"`` each: which structures belong together, by name or value.
        landmarks: corresponding points of the fixed and the moving scan, (n, 3) each, LPS mm.
        fixed_mask: what is not 0, as a stent that one scan alone shows, does not count (elastix: the opposite).
        moving_mask: likewise for the moving scan.
        initial_transform: from fixed to moving points, instead of a pre-alignment.
        region: mask of the part of the fixed scan that matters.
        progress: called with each :class:`~.core.progress.ProgressEvent`.
        settings: those of :class:`~.core.settings.RegistrationSettings`: preset, model, refine, fold_free, device ...

    Raises:
        BadInputError: if the scans or settings cannot be used.
        MemoryExhaustedError: if the scans do not fit into memory even at a coarse resolution.
    """
    chosen = RegistrationSettings.from_json(settings)
    ours = _scan("fixed", fixed, fixed_spacing, fixed_labels, fixed_mask)
    theirs = _scan("moving", moving, moving_spacing, moving_labels, moving_mask)
    pair, notices = _pair(ours, theirs, match, landmarks)
    from .engine import fields
    from .engine.registration import pipeline

    initial = initial_transform
    if isinstance(initial, str | os.PathLike):
        initial = fields.read_transform(initial)
    result = pipeline.register(
        pipeline.RegistrationRequest(
            pair=pair,
            settings=chosen,
            initial_transform=initial,
            region=None if region is None else _labels(region, pair.fixed.volume, "region of interest"),
        ),
        Monitor(progress),
    )
    return _measured(result, notices)


def warp(
    moving: Image,
    transform: Transform,
    reference: Image,
    *,
    spacing: Spacing | None = None,
    reference_spacing: Spacing | None = None,
    labels: bool = False,
) -> sitk.Image:
    """A scan or label map through a transform.

    Args:
        moving: what is warped.
        transform: from points of the reference to points of ``moving``.
        reference: the result is on its grid.
        spacing: (x, y, z) mm, where ``moving`` is an array.
        reference_spacing: likewise for the reference.
        labels: ``moving`` holds labels: nearest neighbor instead of linear interpolation.

    Raises:
        BadInputError: if one of them cannot be used.
    """
    from .engine import fields

    grid = _volume(reference, reference_spacing, "reference").grid
    field = _sampler(transform)
    if not labels:
        return fields.warp_volume(_volume(moving, spacing, "moving scan"), field, grid).to_image()
    if isinstance(moving, str | os.PathLike):
        found = files.read_label_map(moving)
    else:
        volume = _volume(moving, spacing, "label map")
        found = _labels(moving, volume, "label map")
    warped = fields.warp_labels(found, field, grid)
    return warped.grid.to_image(warped.array)


def evaluate(
    transform: Transform,
    fixed: Image,
    moving: Image,
    *,
    fixed_spacing: Spacing | None = None,
    moving_spacing: Spacing | None = None,
    fixed_labels: Image | None = None,
    moving_labels: Image | None = None,
    match: Sequence[str] = (),
    landmarks: Points | None = None,
    fixed_mask: Image | None = None,
    moving_mask: Image | None = None,
    progress: Progress | None = None,
) -> Registration:
    """Apply a transform from anywhere to the moving scan, and measure and judge it.

    Args:
        transform: from fixed to moving points.
        fixed: and the others as in :func:`register`.

    Raises:
        BadInputError: if one of them cannot be used.
    """
    pair, notices = _pair(
        _scan("fixed", fixed, fixed_spacing, fixed_labels, fixed_mask),
        _scan("moving", moving, moving_spacing, moving_labels, moving_mask),
        match,
        landmarks,
    )
    from .engine import evaluation, fields

    field = fields.sampled_on(pair.fixed.grid, _sampler(transform))
    return _measured(evaluation.evaluate(field, pair, monitor=Monitor(progress)), notices)


def models() -> list[ModelCard]:
    """Cards of the installed models."""
    from .engine.models import list_models

    return list_models()


def _scan(
    name: str, image: Image, spacing: Spacing | None, labels: Image | None, mask: Image | None
) -> tuple[Scan, list[str]]:
    """A scan with what is known of it, and what the user should know of its mask."""
    from .engine.left_out import leave_out

    volume = _volume(image, spacing, f"{name} scan")
    found = None if labels is None else _labels(labels, volume, f"{name} labels")
    if mask is None:
        return Scan(volume, found), []
    marked = files.read_label_map(mask) if isinstance(mask, str | os.PathLike) else None
    volume, notices = leave_out(volume, marked or _labels(mask, volume, f"{name} mask"), name)
    return Scan(volume, found), notices


def _pair(
    fixed: tuple[Scan, list[str]], moving: tuple[Scan, list[str]], match: Sequence[str], landmarks: Points | None
) -> tuple[Pair, list[str]]:
    """Both scans, and what the user should know of masks and of how structures were matched."""
    scans, notices = [fixed[0], moving[0]], [*fixed[1], *moving[1]]
    ours, theirs = scans[0].labels, scans[1].labels
    if ours is not None and theirs is not None:
        if match:
            scans[1] = replace(scans[1], labels=with_matches(ours, theirs, match))
        notice = notice_of_values(ours, scans[1].labels or theirs)
        notices += [notice] if notice else []
    elif match:
        raise BadInputError("Structures are matched between two segmentations; give both, or leave the match out.")
    points = None if landmarks is None else LandmarkPairs(np.asarray(landmarks[0]), np.asarray(landmarks[1]))
    pair = Pair(*scans).with_landmarks(points)
    return pair, [*notices, *notices_of_landmarks(pair)]


def _volume(image: Image, spacing: Spacing | None, what: str) -> Volume:
    if isinstance(image, str | os.PathLike):
        return files.read_volume(image)
    if isinstance(image, sitk.Image):
        return Volume.from_image(image)
    return Volume(_array(image, what).astype(np.float32), _grid(image, spacing, what))


def _labels(image: Image, volume: Volume, what: str) -> LabelMap:
    """Structures on the grid of their scan."""
    if isinstance(image, str | os.PathLike):
        return files.read_label_map(image, volume.grid, what=what)
    if isinstance(image, sitk.Image):
        array, grid = sitk.GetArrayFromImage(image), ImageGrid.from_image(image)
    else:
        array, grid = _array(image, what), volume.grid
    if array.shape != volume.grid.shape:
        raise BadInputError(f"The {what} have the shape {array.shape}, their scan has {volume.grid.shape}.")
    if not np.issubdtype(array.dtype, np.integer):
        if not np.array_equal(array, np.round(array)):
            raise BadInputError(f"The {what} must be whole numbers, one for each structure.")
        array = array.astype(np.int32)
    return LabelMap(array.astype(np.int32) if array.dtype.itemsize > 2 else array.astype(np.int16), grid)


def _array(image: Any, what: str) -> npt.NDArray[Any]:
    array = np.asarray(image)
    if array.ndim != 3:
        raise BadInputError(f"The {what} has {array.ndim} dimensions; 3 are needed, (z, y, x).")
    return array


def _grid(image: Any, spacing: Spacing | None, what: str) -> ImageGrid:
    if spacing is None:
        raise BadInputError(f"The {what} is an array; give its spacing too, (x, y, z) in mm.")
    return ImageGrid.axis_aligned(np.asarray(image).shape[::-1], spacing)


def _sampler(transform: Transform) -> Callable[[ImageGrid], DisplacementField]:
    """What gives the displacements of a transform or of its file on any grid."""
    from .engine import fields

    if isinstance(transform, str | os.PathLike):
        return fields.read_sampler(transform)
    return fields.sampler(transform)


def _measured(evaluation: Evaluation, notices: list[str]) -> Registration:
    measured = evaluation.metrics
    return Registration(replace(measured, warnings=(*notices, *measured.warnings)), evaluation)
