"""What a DICOM series says of itself, for objects that refer to it: UIDs, patient, study, and where its slices lie.

Patient and study are copied from one object to the next and never read into a message or a log.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInputError
from ..geometry import ImageGrid
from ..sentences import joined
from ..sentences import marked as _
from ..subjects import the
from .common import PathLike, check_regular
from .dicom import grid_of, series_frames, split_series
from .dicom_frames import DicomImage, Frame
from .streams import damaged

_ON_LATTICE = 0.05  # voxels that a scan's voxels may lie beside those of its series
_HEADER_TAGS = (
    # Patient (PS3.3 C.7.1.1), with what says that it was made anonymous
    *("SpecificCharacterSet", "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    # General study (C.7.2.1) and what is known of the patient then (C.7.2.2)
    *("StudyInstanceUID", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"),
    *("StudyDescription", "PatientAge", "PatientSize", "PatientWeight"),
    # Frame of reference (C.7.4.1), and whether the pixels were compressed with losses (C.7.6.1)
    *("FrameOfReferenceUID", "PositionReferenceIndicator", "LossyImageCompression"),
)


@dataclass(frozen=True, kw_only=True)
class DicomReference:
    """One series of images, as other DICOM objects refer to it.

    Args:
        header: its patient and study, a pydicom data set.
        series: UID of the series.
        frame_of_reference: UID of the frame of reference, in which its positions are given.
        images: its files, each one SOP instance.
        frames: its slices in the order of the grid.
        grid: of its voxels.
    """

    header: Any
    series: str
    frame_of_reference: str
    images: tuple[DicomImage, ...]
    frames: tuple[Frame, ...]
    grid: ImageGrid

    @property
    def study(self) -> str:
        """UID of the study."""
        return str(self.header.StudyInstanceUID)


def read_reference(path: PathLike | Sequence[PathLike], name: str) -> DicomReference:
    """What the series says that a scan was read from.

    Args:
        path: a DICOM folder (``FOLDER#2``: its second series), a file, or the files of one series.
        name: of the scan: ``"fixed"`` or ``"moving"``.

    Raises:
        BadInputError: if it is no DICOM series, or one without the UIDs that other objects refer to.
    """
    given = [Path(one) for one in path] if isinstance(path, Sequence) and not isinstance(path, str) else None
    place, series = (given, None) if given is not None else split_series(Path(str(path)).absolute(), None)
    if given is None and isinstance(place, Path) and not place.is_dir():
        check_regular(place)  # what is not there is no question of DICOM
        if not _is_series_file(place):
            raise _not_dicom(name)
    chosen, frames = series_frames(the(f"{name} DICOM series", first=True), place, series)
    header = _read_header(chosen.images[0].path)
    missing = [
        text
        for text, value in (
            (_("study"), header.get("StudyInstanceUID")),
            (_("series"), chosen.uid),
            (_("frame of reference"), header.get("FrameOfReferenceUID")),
            (_("images"), all(image.instance and image.kind for image in chosen.images)),
        )
        if not value
    ]
    if missing:
        raise BadInputError(
            _(
                "{series} has no UID of its {missing}, to which DICOM objects would refer; "
                "export it again from the archive."
            ).format(series=the(f"{name} DICOM series", first=True), missing=joined(", ", missing))
        )
    return DicomReference(
        header=header,
        series=chosen.uid,
        frame_of_reference=str(header.FrameOfReferenceUID),
        images=chosen.images,
        frames=tuple(frames),
        grid=grid_of(frames, chosen.size),
    )


def check_place(reference: DicomReference, grid: ImageGrid, name: str) -> None:
    """Refuse a scan that does not lie where its DICOM files say: what is written would refer to another place.

    A part of the series is fine, as long as its voxels are those of the series.

    Args:
        reference: its series.
        grid: of the scan.
        name: of the scan.

    Raises:
        BadInputError: if the scan was moved or resampled.
    """
    index = reference.grid.to_index(grid.corners)
    inside = np.all(index > -0.5) and np.all(index < np.array(reference.grid.size) - 0.5)
    if not inside or np.abs(index - index.round()).max() > _ON_LATTICE:
        raise BadInputError(
            _(
                "{scan} does not lie where its DICOM files say (it was moved or resampled after it "
                "was read), so that DICOM objects cannot refer to it; register the scan as it was read."
            ).format(scan=the(f"{name} scan", first=True))
        )


def notice_of_patients(fixed: DicomReference, moving: DicomReference) -> str | None:
    """A sentence for the user if the two series are of different patients, as their headers have it."""
    ids = [
        (str(one.header.get("PatientID") or ""), str(one.header.get("PatientName") or "")) for one in (fixed, moving)
    ]
    if ids[0] == ids[1]:
        return None
    return _(
        "The DICOM headers of the two scans name different patients; the DICOM objects carry the "
        "patient of the fixed scan."
    )


def _not_dicom(name: str) -> BadInputError:
    return BadInputError(
        _(
            "{scan} is not from DICOM, so that no DICOM objects can be written: they refer to "
            "the UIDs of both scans. Give both as DICOM folders, or write other files."
        ).format(scan=the(f"{name} scan", first=True))
    )


def _is_series_file(path: Path) -> bool:
    from .dicom_frames import read_image_header

    return path.is_file() and read_image_header(path) is not None


def _read_header(path: Path) -> Any:
    from pydicom import dcmread

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they would quote the values
            return dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(_HEADER_TAGS))
    except Exception as error:  # a damaged file makes pydicom raise almost anything
        raise damaged(path.name) from error
