"""A registration as DICOM objects: which series it refers to, and what is written of it."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import BadInputError
from ..core.files.common import PathLike
from ..core.files.dicom_objects import write_dicom
from ..core.files.dicom_reference import DicomReference, check_place, read_reference
from ..core.sentences import marked as _
from .evaluation import Evaluation

SeriesPair = tuple[DicomReference, DicomReference]


def dicom_series(folder: PathLike, fixed: PathLike, moving: PathLike) -> SeriesPair:
    """What the series of both scans say of themselves.

    Args:
        folder: where objects shall be written that refer to them.
        fixed: DICOM folder of the fixed scan.
        moving: likewise.

    Raises:
        BadInputError: if a scan is not from DICOM, or the folder is that of a scan.
    """
    series = read_reference(fixed, "fixed"), read_reference(moving, "moving")
    place = Path(folder).resolve()
    if any(place in (image.path.resolve().parent for image in one.images) for one in series):
        raise BadInputError(_("The folder for the DICOM objects holds a scan; choose another one."))
    return series


def write_dicom_objects(folder: PathLike, evaluation: Evaluation, series: SeriesPair) -> list[Path]:
    """Write the transform and the propagated structures; returns the files.

    Raises:
        BadInputError: if a scan does not lie where its series does.
        OutputError: if a file could not be written.
    """
    check_place(series[0], evaluation.pair.fixed.grid, "fixed")
    check_place(series[1], evaluation.pair.moving.grid, "moving")
    displacement = evaluation.field.displacement[0].permute(1, 2, 3, 0).numpy()
    return write_dicom(Path(folder), displacement, evaluation.field.grid, evaluation.warped.labels, *series)
