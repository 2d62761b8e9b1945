"""Label maps: plain ones of any image format, and Slicer's segmentations (.seg.nrrd) with names, colors, terminology.

The keys of a .seg.nrrd are those of Slicer's developer guide, "Segmentation labelmap file format". Such a file may
hold less than the scan's box (Slicer crops it to the segments) and several layers where segments overlap.
"""

from __future__ import annotations

import colorsys
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..errors import BadInputError
from ..geometry import ImageGrid
from ..images import Label, LabelMap
from .common import PathLike, check_output, ending
from .volumes import check_same_space, execute, open_image, read_image, write_image

LABEL_ENDINGS = (".seg.nrrd", ".nrrd", ".nii", ".nii.gz", ".mha")

_MOST_LABELS = 500  # a file with more distinct values is a scan that was taken for a label map
_DEFAULT_TERMINOLOGY = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^85756007^Tissue~SCT^85756007^Tissue~^^~"
    "Anatomic codes - DICOM master list~^^~^^"
)
_SEGMENT_KEY = re.compile(r"Segment(\d+)_(ID|Name|LabelValue)$")
_logger = logging.getLogger(__name__)

Warn = Callable[[str], None]


@dataclass(frozen=True)
class _Segment:
    layer: int
    stored_value: int
    label: Label


def read_label_map(
    path: PathLike,
    grid: ImageGrid | None = None,
    warn: Warn = _logger.warning,
    what: str = "segmentation",
    of: str = "scan",
) -> LabelMap:
    """Read a label map or a Slicer segmentation.

    Args:
        path: an image file with integer values (stored as floats or not), a .seg.nrrd, or a DICOM folder.
        grid: the scan's grid; the label map must be on it. A .seg.nrrd that Slicer has cropped to its segments is
            put back into it.
        warn: told what the user should know: overlapping segments (each voxel goes to the smaller one) and segments
            without voxels (left out).
        what: the label map's name in messages.
        of: the scan's name in messages.

    Returns:
        Label map whose labels are those that have voxels, in the order of the file.

    Raises:
        BadInputError: if the file is no label map, is empty, or is not on ``grid``.
    """
    path = Path(path)
    segments: list[_Segment] = []
    if path.is_dir() or not path.exists():
        image = read_image(path)
    else:
        reader = open_image(path)
        segments = _segments(reader, path.name)
        image = execute(reader, path.name) if segments else read_image(path)
    own_grid = ImageGrid.from_image(image)
    empty = BadInputError(f"The {what} {path.name} is empty: it has no voxel other than 0.")
    if not np.any(sitk.GetArrayViewFromImage(image)):
        raise empty
    if segments:
        label_map = _merge(_layers(image, path.name), own_grid, segments, path.name, warn)
        if grid is not None:
            label_map = _uncropped(label_map, grid, path.name, warn)
    else:
        label_map = LabelMap(_integers(sitk.GetArrayViewFromImage(image), path.name), own_grid)
    if grid is not None:
        check_same_space(label_map.grid, grid, what, of)
        label_map = replace(label_map, grid=grid)
    if not label_map.array.any():
        raise empty
    return label_map


def write_label_map(label_map: LabelMap, path: PathLike) -> None:
    """Write a label map, compressed, whole or not at all.

    A .seg.nrrd keeps names, colors and terminology for Slicer; .nrrd, .nii, .nii.gz and .mha keep the values alone.

    Raises:
        BadInputError: if the ending is none of these.
        OutputError: if it could not be written.
    """
    check_output(path, LABEL_ENDINGS)
    array = label_map.array
    small = array.size == 0 or (array.min() >= 0 and array.max() <= 255)
    image = label_map.grid.to_image(array.astype(np.uint8) if small else array)
    if ending(path) == ".seg.nrrd":
        for key, value in _segment_keys(label_map):
            image.SetMetaData(key, value)
    write_image(image, path)


def _segments(reader: sitk.ImageFileReader, name: str) -> list[_Segment]:
    """Segments that a Slicer segmentation lists; none for any other image."""
    keys = set(reader.GetMetaDataKeys())
    indices = sorted({int(match.group(1)) for match in map(_SEGMENT_KEY.match, keys) if match})

    def get(key: str, default: str) -> str:
        return reader.GetMetaData(key) if key in keys else default

    if not indices:
        return []
    for key in ("Segmentation_MasterRepresentation", "Segmentation_SourceRepresentation"):
        if get(key, "Binary labelmap") != "Binary labelmap":
            raise BadInputError(
                f"{name} holds a {get(key, '').lower()}; export it as a binary label map from Slicer."
            )
    components = reader.GetNumberOfComponents()
    segments = []
    for index in indices:
        prefix = f"Segment{index}_"
        # Slicer before 4.11 had one component per segment, and no key for layer and value.
        layer = int(get(prefix + "Layer", str(index) if components > 1 else "0"))
        value = int(get(prefix + "LabelValue", "1"))
        if not 0 <= layer < components or value < 1:
            raise BadInputError(f"{name}: the header of segment {index + 1} is damaged; save it again in Slicer.")
        label_name = get(prefix + "Name", get(prefix + "ID", f"label {value}"))
        tags = dict(tag.partition(":")[::2] for tag in get(prefix + "Tags", "").split("|"))
        label = Label(value, label_name, _color(get(prefix + "Color", "")), tags.get("TerminologyEntry") or None)
        segments.append(_Segment(layer, value, label))
    return segments


def _color(text: str) -> tuple[float, float, float] | None:
    try:
        red, green, blue = (min(max(float(part), 0.0), 1.0) for part in text.split())
    except ValueError:
        return None
    return (red, green, blue)


def _layers(image: sitk.Image, name: str) -> npt.NDArray[np.integer]:
    """Voxels as ``(layer, D, H, W)``."""
    array = sitk.GetArrayViewFromImage(image)
    layers = array[None] if array.ndim == 3 else np.moveaxis(array, -1, 0)
    return _integers(layers, name, limit=None)


def _integers(array: npt.NDArray, name: str, limit: int | None = _MOST_LABELS) -> npt.NDArray[np.integer]:
    """The values as int16 or int32, refused where they are no labels."""
    if np.issubdtype(array.dtype, np.floating):
        if not np.all(np.isfinite(array)):
            raise BadInputError(f"{name} is no label map: it contains values that are not finite numbers.")
        if np.any(array != np.rint(array)):
            raise BadInputError(
                f"{name} is no label map: it contains fractions; give a mask or label map, not a scan."
            )
    if array.min() < 0:
        raise BadInputError(
            f"{name} is no label map: it contains negative values; give a mask or label map, not a scan."
        )
    if array.max() > np.iinfo(np.int32).max:
        raise BadInputError(f"{name} is no label map: its values are larger than any label.")
    values = array.astype(np.int16 if array.max() <= np.iinfo(np.int16).max else np.int32)
    if limit is not None and (count := len(np.unique(values)) - 1) > limit:
        raise BadInputError(f"{name} is no label map: it has {count} different values; it looks like a scan.")
    return values


def _merge(
    layers: npt.NDArray[np.integer], grid: ImageGrid, segments: list[_Segment], name: str, warn: Warn
) -> LabelMap:
    """One value per voxel; where segments overlap the smaller one wins, so that nested structures survive."""
    labels = _distinct_values(segments)
    merged = np.zeros(layers.shape[1:], dtype=np.int32 if max(one.value for one in labels) > 32767 else np.int16)
    masks = [layers[one.layer] == one.stored_value for one in segments]
    sizes = [int(np.count_nonzero(mask)) for mask in masks]
    overlaps = []
    for index in sorted(range(len(segments)), key=lambda i: -sizes[i]):
        covered = merged[masks[index]]
        for value in np.unique(covered[covered != 0]):
            other = next(one.name for one in labels if one.value == value)
            overlaps.append(f"{labels[index].name} and {other} ({np.count_nonzero(covered == value)} voxels)")
        merged[masks[index]] = labels[index].value
    if overlaps:
        warn(f"Segments of {name} overlap: {', '.join(overlaps)}; the shared voxels were given to the smaller one.")
    present = set(np.unique(merged).tolist())
    empty = [one.name for one in labels if one.value not in present]
    if empty and len(empty) < len(labels):
        warn(f"Segments of {name} without voxels of their own were left out: {', '.join(empty)}.")
    return LabelMap(merged, grid, tuple(one for one in labels if one.value in present))


def _distinct_values(segments: list[_Segment]) -> list[Label]:
    """Labels with values of their own: layers may use the same value for different segments."""
    labels: list[Label] = []
    used: set[int] = set()
    free = max(one.stored_value for one in segments) + 1
    for segment in segments:
        value = segment.stored_value
        if value in used:
            value, free = free, free + 1
        used.add(value)
        labels.append(replace(segment.label, value=value))
    return labels


def _uncropped(label_map: LabelMap, grid: ImageGrid, name: str, warn: Warn) -> LabelMap:
    """A segmentation on a part of the scan's lattice, put back onto the whole; others are returned as they are."""
    own = label_map.grid
    if own.size == grid.size:
        return label_map
    corners = grid.to_index(own.corners)
    start, stop = np.rint(corners[0]).astype(int), np.rint(corners[-1]).astype(int) + 1
    expected = start + np.array([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * (stop - start - 1)
    if np.any(stop - start != own.size) or np.abs(corners - expected).max() > 0.05:
        return label_map
    first, last = np.clip(start, 0, grid.size), np.clip(stop, 0, grid.size)
    if np.any(last <= first):
        raise BadInputError(f"The segments of {name} lie outside of the scan; it belongs to another one.")
    whole = np.zeros(grid.shape, dtype=label_map.array.dtype)
    source = tuple(slice(a, b) for a, b in zip((first - start)[::-1], (last - start)[::-1], strict=True))
    whole[tuple(slice(a, b) for a, b in zip(first[::-1], last[::-1], strict=True))] = label_map.array[source]
    lost = np.count_nonzero(label_map.array) - np.count_nonzero(whole)
    if lost:
        warn(f"{lost} voxels of {name} lie outside of the scan and were left out.")
    present = set(np.unique(whole).tolist())
    return LabelMap(whole, grid, tuple(one for one in label_map.labels if one.value in present))


def _segment_keys(label_map: LabelMap) -> list[tuple[str, str]]:
    extent = " ".join(f"0 {n - 1}" for n in label_map.grid.size)
    keys = [
        ("Segmentation_ContainedRepresentationNames", "Binary labelmap|"),
        ("Segmentation_MasterRepresentation", "Binary labelmap"),
        ("Segmentation_ReferenceImageExtentOffset", "0 0 0"),
    ]
    for index, label in enumerate(label_map.labels):
        color = label.color or _generic_color(label.value)
        values = {
            "ID": f"Segment_{label.value}",
            "Name": label.name,
            "NameAutoGenerated": "0",
            "Color": " ".join(f"{part:.6g}" for part in color),
            "ColorAutoGenerated": "1" if label.color is None else "0",
            "Extent": extent,
            "LabelValue": str(label.value),
            "Layer": "0",
            "Tags": f"TerminologyEntry:{label.terminology or _DEFAULT_TERMINOLOGY}|",
        }
        keys += [(f"Segment{index}_{key}", value) for key, value in values.items()]
    return keys


def _generic_color(value: int) -> tuple[float, float, float]:
    """Colors that differ well for neighboring values: hues at multiples of the golden ratio."""
    return colorsys.hsv_to_rgb((value * 0.618034) % 1.0, 0.65, 0.9)
