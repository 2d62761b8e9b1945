"""Registration and propagated structures as DICOM objects, for radiotherapy, written with pydicom, all or nothing.

A Deformable Spatial Registration (PS3.3 A.39.2) and a Segmentation (A.51) in the study of the fixed scan. pydicom is
imported when it is needed; 3D Slicer ships it.
"""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import __version__
from ..errors import BadInputError
from ..geometry import ImageGrid
from ..images import LabelMap
from ..sentences import marked as _
from .common import written_whole
from .dicom_reference import DicomReference
from .dicom_segmentation import code, decimals, fill_segmentation
from .outputs import folder_to_make
from .together import current_run

REGISTRATION, SEGMENTATION = "registration.dcm", "segmentation.dcm"
_REGISTRATION_CLASS, _SEGMENTATION_CLASS = "1.2.840.10008.5.1.4.1.1.66.3", "1.2.840.10008.5.1.4.1.1.66.4"
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
_MOST_BYTES = 2**32 - 2  # that one value of a DICOM object can hold
_IDENTITY = ["1", "0", "0", "0", "0", "1", "0", "0", "0", "0", "1", "0", "0", "0", "0", "1"]
_PATIENT_AND_STUDY = (  # of type 2: there, if empty
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
    *("ReferringPhysicianName", "StudyID", "AccessionNumber", "PositionReferenceIndicator"),
)


def write_dicom(
    folder: Path,
    displacement: npt.NDArray[np.floating],
    grid: ImageGrid,
    labels: LabelMap | None,
    fixed: DicomReference,
    moving: DicomReference,
) -> list[Path]:
    """Write ``registration.dcm`` and, with structures, ``segmentation.dcm`` into a folder; returns the files.

    Args:
        folder: made if it is not there.
        displacement: of the map from fixed to moving points, ``(D, H, W, 3)``, LPS mm.
        grid: of the displacement, in the frame of reference of the fixed scan.
        labels: the moving structures on the fixed grid; None without any.
        fixed: series of the fixed scan.
        moving: series of the moving scan.

    Raises:
        BadInputError: if the field is larger than DICOM can hold.
        OutputError: if a file could not be written.
    """
    folder = folder_to_make(folder, _("the DICOM objects"))
    with warnings.catch_warnings(), _made(folder), ExitStack() as files:
        warnings.simplefilter("ignore")  # they would quote the patient
        made = {REGISTRATION: registration(displacement, grid, fixed, moving)}
        if labels is not None:
            made[SEGMENTATION] = segmentation(labels, fixed)
        for name, content in made.items():
            content.save_as(files.enter_context(written_whole(folder / name)), enforce_file_format=True)
    return [folder / name for name in made]


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """The folder is there, unless a run makes it in the end; it goes again if it was made and nothing was written."""
    makes = current_run() is None and not folder.is_dir()
    if makes:
        folder.mkdir()
    try:
        yield
    except BaseException:
        if makes:
            with suppress(OSError):
                folder.rmdir()
        raise


def registration(
    displacement: npt.NDArray[np.floating], grid: ImageGrid, fixed: DicomReference, moving: DicomReference
) -> Any:
    """Deformable Spatial Registration of a map from fixed to moving points; a pydicom data set.

    The object's frame of reference is the registered one, that of the fixed scan; the map leads from there to the
    source, the moving scan: ``x_source = M_post (M_pre x + d(M_pre x))`` (PS3.3 C.20.3.1.1). That is the direction
    of ITK, so that the vectors are those of the field. Both matrices are written as the identity, which readers
    expect to find.
    """
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    size = displacement.size * 4
    if size > _MOST_BYTES:
        raise BadInputError(
            _(
                "The transform has {size:.1f} GB, and a DICOM object can hold 4.2 GB; choose a coarser grid spacing."
            ).format(size=size / 1000000000.0)
        )
    vectors, grid = _right_handed(displacement, grid)
    result = new_object(_REGISTRATION_CLASS, "REG", fixed)
    result.SeriesNumber, result.SeriesDescription = 9001, "Deformable registration"
    result.Laterality = None  # unknown, and asked for (type 2C)
    _identify_content(result, "REGISTRATION", "Map from the fixed to the moving scan")
    field = Dataset()
    field.ImagePositionPatient = decimals(grid.origin)
    axes = grid.direction_matrix
    field.ImageOrientationPatient = decimals((*axes[:, 0], *axes[:, 1]))
    field.GridDimensions = list(grid.size)
    field.GridResolution = list(grid.spacing)
    field.VectorGridData = vectors.astype("<f4").tobytes()
    item = Dataset()
    item.SourceFrameOfReferenceUID = moving.frame_of_reference
    item.ReferencedImageSequence = Sequence([_instance(image.kind, image.instance) for image in moving.images])
    item.RegistrationTypeCodeSequence = Sequence([code("125024", "DCM", "Image Content-based Alignment")])
    for name in ("PreDeformationMatrixRegistrationSequence", "PostDeformationMatrixRegistrationSequence"):
        matrix = Dataset()
        matrix.FrameOfReferenceTransformationMatrix = _IDENTITY
        matrix.FrameOfReferenceTransformationMatrixType = "RIGID"
        setattr(item, name, Sequence([matrix]))
    item.DeformableRegistrationGridSequence = Sequence([field])
    result.DeformableRegistrationSequence = Sequence([item])
    _refer_to(result, (fixed, moving))
    return result


def segmentation(labels: LabelMap, fixed: DicomReference) -> Any:
    """DICOM segmentation of structures on the grid of the fixed scan; a pydicom data set."""
    result = new_object(_SEGMENTATION_CLASS, "SEG", fixed)
    result.SeriesNumber, result.SeriesDescription = 9002, "Propagated structures"
    _identify_content(result, "PROPAGATED", "Structures of the moving scan on the fixed scan; not reviewed")
    fill_segmentation(result, labels, fixed)
    _refer_to(result, (fixed,))
    return result


def new_object(sop_class: str, modality: str, fixed: DicomReference) -> Any:
    """An object in a series of its own: patient, study and frame of reference of the fixed scan, and who made it."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, generate_uid

    result = Dataset()
    for element in fixed.header:
        if element.VR == "PN":  # decoded, since it is written in another character set than it was read in
            setattr(result, element.keyword, str(element.value))
        elif element.keyword not in ("LossyImageCompression", ""):
            result[element.tag] = element
    for keyword in _PATIENT_AND_STUDY:
        if keyword not in result:
            setattr(result, keyword, None)
    result.SpecificCharacterSet = "ISO_IR 192"
    now = datetime.datetime.now().astimezone()
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    result.SOPClassUID, result.SOPInstanceUID = UID(sop_class), generate_uid(prefix=None)
    result.InstanceCreationDate, result.InstanceCreationTime = date, time
    result.Modality, result.SeriesInstanceUID, result.InstanceNumber = modality, generate_uid(prefix=None), 1
    result.SeriesDate, result.SeriesTime, result.ContentDate, result.ContentTime = date, time, date, time
    result.Manufacturer = result.ManufacturerModelName = "DeepLargeDeformReg"
    result.DeviceSerialNumber, result.SoftwareVersions = "none", __version__
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = result.SOPClassUID, result.SOPInstanceUID
    meta.TransferSyntaxUID = UID(_EXPLICIT_LITTLE_ENDIAN)
    result.file_meta = meta
    return result


def _identify_content(result: Any, label: str, description: str) -> None:
    """Content Identification Macro (PS3.3 10.9)."""
    result.ContentLabel, result.ContentDescription, result.ContentCreatorName = label, description, None


def _refer_to(result: Any, series: tuple[DicomReference, ...]) -> None:
    """Common Instance Reference (PS3.3 C.12.2): series of the object's own study, and of others."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    here, elsewhere = [], []
    for one in dict.fromkeys(reference.series for reference in series):
        reference = next(candidate for candidate in series if candidate.series == one)
        item = Dataset()
        item.SeriesInstanceUID = reference.series
        item.ReferencedInstanceSequence = Sequence([_instance(i.kind, i.instance) for i in reference.images])
        if reference.study == result.StudyInstanceUID:
            here.append(item)
            continue
        study = Dataset()
        study.StudyInstanceUID, study.ReferencedSeriesSequence = reference.study, Sequence([item])
        elsewhere.append(study)
    if here:
        result.ReferencedSeriesSequence = Sequence(here)
    if elsewhere:
        result.StudiesContainingOtherReferencedInstancesSequence = Sequence(elsewhere)


def _instance(sop_class: str, instance: str) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
    return item


def _right_handed(
    displacement: npt.NDArray[np.floating], grid: ImageGrid
) -> tuple[npt.NDArray[np.floating], ImageGrid]:
    """The field with its planes in the order that DICOM knows alone: along the cross product of row and column."""
    axes = grid.direction_matrix
    if np.linalg.det(axes) > 0:
        return displacement, grid
    axes = axes * (1.0, 1.0, -1.0)
    x, y, z = grid.to_physical((0.0, 0.0, grid.size[2] - 1.0))
    turned = ImageGrid(grid.size, grid.spacing, (float(x), float(y), float(z)), tuple(axes.ravel().tolist()))
    return displacement[::-1], turned
