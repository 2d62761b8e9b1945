"""A result as DICOM objects for radiotherapy, which refer to the series that Slicer loaded the scans from."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from . import segmentations, transforms, volumes
from .errors import SceneError
from .export import not_written
from .lazy_sitk import sitk
from .results import RunResult
from .words import say_error

if TYPE_CHECKING:
    from ..core.files.dicom_reference import DicomReference

INSTANCES = "DICOM.instanceUIDs"
"""Attribute in which Slicer's DICOM readers keep what a volume was loaded from, joined with blanks."""


def save_dicom(run: RunResult, folder: Path) -> list[Path]:
    """Write the transform and the propagated segmentation as DICOM objects into a folder; return the files.

    Args:
        run: the result.
        folder: made if it is not there.

    Raises:
        SceneError: if a scan was not loaded from DICOM, was moved since, or a file cannot be written.
    """
    from ..core.errors import RegistrationError
    from ..core.files.dicom_objects import write_dicom
    from ..core.geometry import ImageGrid

    nodes = [run.get(role) for role in ("fixed", "moving", "transform")]
    if any(node is None for node in nodes):
        raise SceneError(_("This result has no scans or no transform any more."))
    fixed, moving, transform = nodes
    try:
        series = series_of(fixed, "fixed"), series_of(moving, "moving")
        with tempfile.TemporaryDirectory(dir=slicer.app.temporaryPath) as place:
            path = Path(place) / "transform.nrrd"
            transforms.export_transform(transform, path)
            field = sitk.ReadImage(str(path))
        labels = None
        if run.get("segmentation") is not None:
            labels = segmentations.read_labels(run.get("segmentation"), volumes.image_of(fixed))
        displacement, grid = sitk.GetArrayViewFromImage(field), ImageGrid.from_image(field)
        return write_dicom(folder, displacement, grid, labels, *series)
    except RegistrationError as error:
        raise SceneError(say_error(error)) from error
    except OSError as error:
        raise SceneError(not_written(folder.name)) from error


def series_of(node: Any, name: str) -> DicomReference:
    """The DICOM series that Slicer loaded a volume from, as DICOM objects refer to it.

    Args:
        node: volume node.
        name: of the scan: ``"fixed"`` or ``"moving"``.

    Raises:
        SceneError: if it was not loaded from DICOM, or its files are not in Slicer's DICOM database any more.
        BadInputError: if its series has no UIDs, or lies elsewhere.
    """
    from ..core.files.dicom_reference import check_place, read_reference
    from ..core.geometry import ImageGrid

    instances = (node.GetAttribute(INSTANCES) or "").split()
    if not instances:
        raise SceneError(
            _(
                "{name} was not loaded from DICOM, so that no DICOM objects can be written: they refer to the UIDs "
                "of both scans. Load both with Slicer's DICOM module and register them again."
            ).format(name=node.GetName())
        )
    database = getattr(slicer, "dicomDatabase", None)
    files = [] if database is None else [str(database.fileForInstance(instance) or "") for instance in instances]
    if not files or not all(file and Path(file).is_file() for file in files):
        raise SceneError(
            _("The DICOM files of {name} are not in Slicer's DICOM database any more; import them again.").format(
                name=node.GetName()
            )
        )
    reference = read_reference(list(dict.fromkeys(files)), name)
    check_place(reference, ImageGrid.from_image(volumes.image_of(node)), name)
    return reference
