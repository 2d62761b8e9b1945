"""Frames of DICOM images: one of a classic file, many of an enhanced multi-frame one, each with its own geometry.

Nothing that names a patient is read. pydicom is used because SimpleITK gives no access to the sequences in which
enhanced files keep position, orientation, spacing and rescaling of each frame (DICOM PS3.3, C.7.6.16); 3D Slicer
ships it. It is imported when it is needed.
"""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BadInputError
from ..sentences import marked as _
from .memory import check_memory
from .streams import damaged

_PREAMBLE = 128
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")  # of files without a preamble
_RT_DOSE, _SEGMENTATION = "1.2.840.10008.5.1.4.1.1.481.2", "1.2.840.10008.5.1.4.1.1.66.4"
_NATIVE_SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_ELEMENT_BYTES = 8  # of tag and length before the pixels
_MOST_RATIO = 1000  # that any compression of DICOM reaches on images
_HEADER_TAGS = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "ImageType", "Rows", "Columns"),
    *("NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "ImagePositionPatient", "ImageOrientationPatient"),
    *("PixelSpacing", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One slice: LPS position and direction cosines (row, then column), (x, y) spacing in mm, and rescaling."""

    file: Path
    index: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    slope: float = 1.0
    intercept: float = 0.0


@dataclass(frozen=True, kw_only=True)
class DicomImage:
    """Header of a file with pixels; ``frames`` of a file without functional groups share what the file states."""

    path: Path
    series: str
    instance: str
    modality: str
    kind: str
    image_type: tuple[str, ...]
    size: tuple[int, int]
    samples: int
    is_enhanced: bool
    frames: tuple[Frame, ...]


def is_dicom(path: Path) -> bool:
    """True for a file with the mark of DICOM after its preamble."""
    try:
        with path.open("rb") as stream:
            return stream.read(_PREAMBLE + 4)[_PREAMBLE:] == b"DICM"
    except OSError:
        return False


def read_image_header(path: Path) -> DicomImage | None:
    """Header of a DICOM file with pixels; None for any other file.

    Raises:
        BadInputError: if it is such a file but damaged.
        MemoryExhaustedError: if it asks for more memory than there is.
    """
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        start = stream.read(_PREAMBLE + 4)
    if start[_PREAMBLE:] != b"DICM" and start[:2] not in _FIRST_GROUPS:
        return None
    from pydicom import dcmread

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they would quote the values
            with path.open("rb") as stream:
                data = dcmread(stream, stop_before_pixels=True, force=True, specific_tags=list(_HEADER_TAGS))
                if "Rows" not in data or "Columns" not in data:
                    return None
                return _header(path, data, path.stat().st_size - stream.tell())
    except BadInputError:
        raise
    except Exception as error:  # a damaged file makes pydicom raise almost anything
        raise damaged(path.name) from error


def is_scan(image: DicomImage) -> bool:
    """False for objects with pixels that are no scans: doses, segmentations."""
    return image.kind not in (_RT_DOSE, _SEGMENTATION) and image.modality not in ("RTDOSE", "SEG")


def check_kind(name: str, images: list[DicomImage]) -> None:
    """Refuse by its own name what is no scan with one value per voxel and its slices one by one.

    Raises:
        BadInputError: for doses, segmentations, color images, mosaics, localizers, copies and frames without place.
    """
    types = {word.upper() for image in images for word in image.image_type}
    instances = [image.instance for image in images if image.instance]
    frames = [frame for image in images for frame in image.frames]
    if any(image.kind == _SEGMENTATION or image.modality == "SEG" for image in images):
        reason = _("is a DICOM segmentation; load it into 3D Slicer and save it as .seg.nrrd")
    elif any(image.kind == _RT_DOSE or image.modality == "RTDOSE" for image in images):
        reason = _("is a radiotherapy dose (RT Dose), not a scan; give the scan that it belongs to")
    elif any(image.samples != 1 for image in images):
        reason = _("is a series of color images (RGB); a scan with one value per voxel is needed")
    elif "MOSAIC" in types:
        reason = _("is a mosaic (all slices in one picture); convert it to a volume first, for example with dcm2niix")
    elif "LOCALIZER" in types:
        reason = _("contains localizer (scout) images; choose or export the scan by itself")
    elif len(set(instances)) < len(instances):
        reason = _("contains {count} images twice; remove the copies").format(
            count=len(instances) - len(set(instances))
        )
    elif len({image.size for image in images}) > 1:
        reason = _("contains slices that differ in size; export the scan by itself")
    elif any(frame.position is None or frame.orientation is None for frame in frames):
        reason = _("does not state where its slices lie (no positions or orientations); export the original scan")
    elif any(frame.spacing is None for frame in frames):
        reason = _("does not state its pixel spacing; export the original scan")
    else:
        return
    raise BadInputError(_("{name}: the DICOM series {reason}.").format(name=name, reason=reason))


def stored_values(image: DicomImage, folder: Path) -> Path:
    """A copy of an enhanced file without functional groups, so that GDCM decodes the stored values, frame by frame.

    Args:
        image: the enhanced file.
        folder: private folder to put it into.
    """
    from pydicom import dcmread
    from pydicom.dataset import Dataset, FileMetaDataset

    wanted = ["Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel"]
    wanted += ["PhotometricInterpretation", "NumberOfFrames", "PixelData"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            source = dcmread(image.path, force=True, specific_tags=wanted)
            data = Dataset()
            for tag in wanted:
                if tag in source:
                    data[tag] = source[tag]
            word = int(source.BitsAllocated) > 8
            data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7.3" if word else "1.2.840.10008.5.1.4.1.1.7.2"
            data.SOPInstanceUID = "1.2.3"
            data.file_meta = FileMetaDataset()
            data.file_meta.TransferSyntaxUID = source.file_meta.TransferSyntaxUID
            data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
            data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
            path = folder / "stored.dcm"
            data.save_as(path, enforce_file_format=True)
    except Exception as error:  # as above
        raise damaged(image.path.name) from error
    return path


def _header(path: Path, data: Any, left: int) -> DicomImage:
    """Header of a file that has ``left`` bytes from its pixels on."""
    rows, columns = int(data.Rows), int(data.Columns)
    count = int(data.get("NumberOfFrames") or 1)
    samples, bits = int(data.get("SamplesPerPixel") or 1), int(data.get("BitsAllocated") or 16)
    if min(rows, columns, count, samples, bits) < 1 or bits > 64:
        raise damaged(path.name)
    syntax = str(getattr(data.file_meta, "TransferSyntaxUID", ""))
    _check_pixels(path, rows * columns * count * samples * bits // 8, rows * columns * count, syntax, left)
    per_frame = data.get("PerFrameFunctionalGroupsSequence")
    shared = data.get("SharedFunctionalGroupsSequence")
    if per_frame is not None and len(per_frame) != count:
        raise damaged(path.name)
    groups = [[one, *(shared or ()), data] for one in per_frame] if per_frame else [[data]] * count
    frames = tuple(_frame(path, index, group) for index, group in enumerate(groups))
    return DicomImage(
        path=path,
        series=str(data.get("SeriesInstanceUID") or ""),
        instance=str(data.get("SOPInstanceUID") or ""),
        modality=str(data.get("Modality") or ""),
        kind=str(data.get("SOPClassUID") or ""),
        image_type=_words(data.get("ImageType")),
        size=(columns, rows),
        samples=samples,
        is_enhanced=per_frame is not None or count > 1,
        frames=frames,
    )


def _check_pixels(path: Path, size: int, voxels: int, syntax: str, left: int) -> None:
    """Headers promise anything, and GDCM fills what is missing with zeros: file and machine must be able to "
    "hold it."""
    ratio = 1 if syntax in _NATIVE_SYNTAXES else _MOST_RATIO
    if size > ratio * (left - _ELEMENT_BYTES):
        raise damaged(path.name)
    check_memory(path.name, max(size, voxels * 4))


def _frame(path: Path, index: int, groups: list[Any]) -> Frame:
    spacing = _numbers(_find(groups, "PixelMeasuresSequence", "PixelSpacing"), 2)
    transformation = (_find(groups, "PixelValueTransformationSequence", key) for key in _RESCALING)
    slope, intercept = transformation
    return Frame(
        file=path,
        index=index,
        position=_numbers(_find(groups, "PlanePositionSequence", "ImagePositionPatient"), 3),
        orientation=_numbers(_find(groups, "PlaneOrientationSequence", "ImageOrientationPatient"), 6),
        spacing=None if spacing is None or min(spacing) <= 0 else spacing[::-1],
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
    )


_RESCALING = ("RescaleSlope", "RescaleIntercept")


def _find(groups: list[Any], sequence: str, key: str) -> Any:
    """Value from the first of a frame's groups that states it, in its sequence or, in classic files, by itself."""
    for group in groups:
        items = group.get(sequence)
        if items:
            value = items[0].get(key)
            if value is not None:
                return value
    return groups[-1].get(key)


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    if value is None:
        return None
    numbers = tuple(float(number) for number in value)
    return numbers if len(numbers) == count and all(math.isfinite(number) for number in numbers) else None


def _words(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(str(word) for word in value)


def regular_files(folder: Path) -> list[Path]:
    """Regular files of a folder in the order of their names: a pipe would be waited for."""
    with os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_file())
