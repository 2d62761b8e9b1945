"""The part of a DICOM segmentation (PS3.3 A.51) that is about segments and their frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import BadInputError
from ..images import Label, LabelMap
from ..sentences import marked as _
from .dicom_reference import DicomReference

_TISSUE = ("85756007", "SCT", "Tissue")
_SEGMENT_NUMBER, _SEGMENT_IDENTIFICATION = 0x0062000B, 0x0062000A
_POSITION, _PLANE_POSITION = 0x00200032, 0x00209113
_LONGEST_NAME = 64  # of VR LO
_SRGB_TO_XYZ = np.array(((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505)))
_D65 = np.array((0.9505, 1.0, 1.089))


def code(value: str, scheme: str, meaning: str) -> Any:
    """Item of a code sequence (PS3.3 8.8)."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def decimals(numbers: Sequence[float] | npt.NDArray[np.floating]) -> list[Any]:
    """Numbers as decimal strings (VR DS), which hold 16 characters."""
    from pydicom.valuerep import DSfloat

    return [DSfloat(float(number), auto_format=True) for number in numbers]


def fill_segmentation(result: Any, labels: LabelMap, fixed: DicomReference) -> None:
    """Segments, frames, functional groups and pixels; one frame for each slice that a segment reaches.

    Args:
        result: the data set to fill.
        labels: structures, overlapping ones whole, on a grid of the fixed scan's voxels.
        fixed: series that the frames refer to.

    Raises:
        BadInputError: if there is no voxel to write.
    """
    from pydicom.pixels import pack_bits
    from pydicom.sequence import Sequence as Items

    present = [label for label in labels.labels if labels.mask(label.value).any()]
    if not present:
        raise BadInputError(
            _("The propagated structures have no voxel in the fixed scan; there is nothing to write.")
        )
    frames, pixels = [], []
    for number, label in enumerate(present, start=1):
        inside = labels.mask(label.value)
        for plane in np.flatnonzero(inside.any(axis=(1, 2))).tolist():
            frames.append(_frame(number, plane, labels, fixed))
            pixels.append(inside[plane])
    _image(result, labels, len(frames), str(fixed.header.get("LossyImageCompression") or "00"))
    result.SegmentSequence = Items([_segment(number, label) for number, label in enumerate(present, start=1)])
    result.SharedFunctionalGroupsSequence = Items([_shared(labels)])
    result.PerFrameFunctionalGroupsSequence = Items(frames)
    _dimensions(result)
    packed = pack_bits(np.stack(pixels).astype(np.uint8).ravel(), pad=True)
    result.PixelData = packed if isinstance(packed, bytes) else packed.tobytes()
    result["PixelData"].VR = "OB"


def _image(result: Any, labels: LabelMap, frames: int, lossy: str) -> None:
    """Segmentation Image (PS3.3 C.8.20.2) and Image Pixel modules."""
    result.ImageType = ["DERIVED", "PRIMARY"]
    result.SegmentationType = "BINARY"
    result.LossyImageCompression = lossy if lossy in ("00", "01") else "00"
    result.SamplesPerPixel, result.PhotometricInterpretation, result.PixelRepresentation = 1, "MONOCHROME2", 0
    result.BitsAllocated, result.BitsStored, result.HighBit = 1, 1, 0
    result.Columns, result.Rows, result.NumberOfFrames = labels.grid.size[0], labels.grid.size[1], frames


def _segment(number: int, label: Label) -> Any:
    """Segment Description Macro (PS3.3 C.8.20.4), with the coded meaning that Slicer's terminology has."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence as Items

    item = Dataset()
    item.SegmentNumber = number
    item.SegmentLabel = label.name.replace("\\", "/")[:_LONGEST_NAME] or f"Segment {number}"
    item.SegmentAlgorithmType, item.SegmentAlgorithmName = "SEMIAUTOMATIC", "DeepLargeDeformReg"
    entries = (label.terminology or "").split("~")
    category, kind = (_coded(entries, position) or _TISSUE for position in (1, 2))
    item.SegmentedPropertyCategoryCodeSequence = Items([code(*category)])
    item.SegmentedPropertyTypeCodeSequence = Items([code(*kind)])
    modifier, region, side = (_coded(entries, position) for position in (3, 5, 6))
    if modifier is not None:
        item.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = Items([code(*modifier)])
    if region is not None:
        item.AnatomicRegionSequence = Items([code(*region)])
        if side is not None:
            item.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = Items([code(*side)])
    if label.color is not None:
        item.RecommendedDisplayCIELabValue = _cielab(label.color)
    return item


def _coded(entries: list[str], position: int) -> tuple[str, str, str] | None:
    """Value, scheme and meaning of an entry of Slicer's terminology, ``SCHEME^VALUE^MEANING``; None if empty."""
    parts = entries[position].split("^") if position < len(entries) else []
    if len(parts) != 3 or not all(parts) or len(parts[1]) > 16:
        return None
    return parts[1], parts[0][:16], parts[2][:_LONGEST_NAME]


def _cielab(color: tuple[float, float, float]) -> list[int]:
    """CIELab of an sRGB color as DICOM stores it: 16 bits each (PS3.3 C.10.7.1.1), D65 for its white."""
    rgb = np.clip(np.array(color, dtype=np.float64), 0, 1)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    scaled = _SRGB_TO_XYZ @ linear / _D65
    x, y, z = np.where(scaled > (6 / 29) ** 3, np.cbrt(scaled), scaled / (3 * (6 / 29) ** 2) + 4 / 29)
    lab = np.array((116 * y - 16, 500 * (x - y), 200 * (y - z)))
    stored = np.array((lab[0] / 100, (lab[1] + 128) / 255, (lab[2] + 128) / 255)) * 65535
    return [round(float(value)) for value in np.clip(stored, 0, 65535)]


def _shared(labels: LabelMap) -> Any:
    """What all frames have in common: voxel size and orientation."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence as Items

    axes, (x, y, z) = labels.grid.direction_matrix, labels.grid.spacing
    measures, orientation, group = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = decimals((y, x)), decimals((z,))[0]
    measures.SpacingBetweenSlices = decimals((z,))[0]
    orientation.ImageOrientationPatient = decimals((*axes[:, 0], *axes[:, 1]))
    group.PixelMeasuresSequence, group.PlaneOrientationSequence = Items([measures]), Items([orientation])
    return group


def _frame(number: int, plane: int, labels: LabelMap, fixed: DicomReference) -> Any:
    """Functional groups of one frame: segment, position, and the slice of the fixed scan that lies there."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence as Items

    position = labels.grid.to_physical((0.0, 0.0, float(plane)))
    content, place, identification, group = Dataset(), Dataset(), Dataset(), Dataset()
    content.DimensionIndexValues = [number, plane + 1]
    place.ImagePositionPatient = decimals(position)
    identification.ReferencedSegmentNumber = number
    group.FrameContentSequence, group.PlanePositionSequence = Items([content]), Items([place])
    group.SegmentIdentificationSequence = Items([identification])
    nearest = round(float(fixed.grid.to_index(position)[2]))
    frame = fixed.frames[min(max(nearest, 0), len(fixed.frames) - 1)]
    image = next(one for one in fixed.images if one.path == frame.file)
    source = Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = image.kind, image.instance
    if image.is_enhanced:
        source.ReferencedFrameNumber = frame.index + 1
    source.SpatialLocationsPreserved = "YES"
    source.PurposeOfReferenceCodeSequence = Items(
        [code("121322", "DCM", "Source image for image processing operation")]
    )
    derivation = Dataset()
    derivation.DerivationCodeSequence = Items([code("113076", "DCM", "Segmentation")])
    derivation.SourceImageSequence = Items([source])
    group.DerivationImageSequence = Items([derivation])
    return group


def _dimensions(result: Any) -> None:
    """Multi-frame Dimension module: segment, then position."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence as Items
    from pydicom.uid import generate_uid

    organization = Dataset()
    organization.DimensionOrganizationUID = generate_uid(prefix=None)
    result.DimensionOrganizationSequence = Items([organization])
    indices = []
    for pointer, group, label in (
        (_SEGMENT_NUMBER, _SEGMENT_IDENTIFICATION, "Segment number"),
        (_POSITION, _PLANE_POSITION, "Position"),
    ):
        item = Dataset()
        item.DimensionOrganizationUID = organization.DimensionOrganizationUID
        item.DimensionIndexPointer, item.FunctionalGroupPointer = pointer, group
        item.DimensionDescriptionLabel = label
        indices.append(item)
    result.DimensionIndexSequence = Items(indices)
