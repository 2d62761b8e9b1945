"""Label maps: plain ones of any image format, and Slicer's segmentations (.seg.nrrd) with names, colors, terminology.

The keys of a .seg.nrrd are those of Slicer's developer guide, "Segmentation labelmap file format". Such a file may
hold less than the scan's box (Slicer crops it to the segments) and several layers where segments overlap.
"""

from __future__ import annotations

import colorsys
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..errors import BadInputError
from ..geometry import ImageGrid
from ..images import Label, LabelMap
from ..sentences import joined
from ..sentences import marked as _
from ..subjects import the
from .common import PathLike, check_output, ending
from .dicom_frames import is_dicom
from .label_names import names_beside
from .memory import check_memory
from .segments import Segment, read_segments
from .volumes import check_same_space, execute, opened_image, read_image, write_image

LABEL_ENDINGS = (".seg.nrrd", ".nrrd", ".nii", ".nii.gz", ".mha")

_ROUNDING = 0.01
_MOST_LABELS = 500  # a file with more distinct values is a scan that was taken for a label map
_DEFAULT_TERMINOLOGY = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^85756007^Tissue~SCT^85756007^Tissue~^^~"
    "Anatomic codes - DICOM master list~^^~^^"
)
_logger = logging.getLogger(__name__)

Warn = Callable[[str], None]


def read_label_map(
    path: PathLike,
    grid: ImageGrid | None = None,
    warn: Warn = _logger.warning,
    what: str = "segmentation",
    of: str = "scan",
) -> LabelMap:
    """Read a label map or a Slicer segmentation.

    Args:
        path: an image file with integer values (stored as floats or not), a .seg.nrrd, or a DICOM folder. A table
            beside an image file names its structures (see :mod:`.label_names`).
        grid: the scan's grid; the label map must be on it. A .seg.nrrd that Slicer has cropped to its segments is
            put back into it.
        warn: told what the user should know: overlapping segments (kept in layers) and segments without voxels (left
            out).
        what: the label map's name in messages.
        of: the scan's name in messages.

    Returns:
        Label map whose labels are those that have voxels, in the order of the file.

    Raises:
        BadInputError: if the file is no label map, is empty, or is not on ``grid``.
    """
    path = Path(path)
    segments: list[Segment] = []
    if path.is_file() and not is_dicom(path):
        with opened_image(path) as reader:
            segments = read_segments(path)
            if segments:
                image = execute(reader, path.name)
    if not segments:
        image = read_image(path)
    own_grid = ImageGrid.from_image(image)
    empty = BadInputError(
        _("{what} {file} is empty: it has no voxel other than 0.").format(what=the(what, first=True), file=path.name)
    )
    if not np.any(sitk.GetArrayViewFromImage(image)):
        raise empty
    if segments:
        label_map = _merge(image, own_grid, segments, path.name, warn)
        if grid is not None:
            label_map = _uncropped(label_map, grid, path.name, warn)
    else:
        label_map = _named(LabelMap(_integers(sitk.GetArrayViewFromImage(image), path.name), own_grid), path)
    if grid is not None:
        check_same_space(label_map.grid, grid, what, of)
        label_map = replace(label_map, grid=grid)
    if not label_map.array.any():
        raise empty
    return label_map


def _named(label_map: LabelMap, path: Path) -> LabelMap:
    """The label map with the names that a table beside its file gives."""
    names = names_beside(path)
    labels = tuple(replace(one, name=names.get(one.value, one.name)) for one in label_map.labels)
    return replace(label_map, labels=labels)


def write_label_map(label_map: LabelMap, path: PathLike) -> None:
    """Write a label map, compressed, whole or not at all.

    A .seg.nrrd keeps names, colors, terminology and overlaps for Slicer; .nrrd, .nii, .nii.gz and .mha keep the
    values alone, and a voxel that several segments share goes to the smallest.

    Raises:
        BadInputError: if the ending is none of these.
        OutputError: if it could not be written.
    """
    check_output(path, LABEL_ENDINGS)
    with_names = ending(path) == ".seg.nrrd"
    layers = label_map.layers if with_names and label_map.layers else (label_map.array,)
    small = all(array.size == 0 or (array.min() >= 0 and array.max() <= 255) for array in layers)
    stored = [array.astype(np.uint8) if small else array for array in layers]
    if len(stored) == 1:
        image = label_map.grid.to_image(stored[0])
    else:
        image = label_map.grid.to_image(np.stack(stored, axis=-1), is_vector=True)
    if with_names:
        for key, value in _segment_keys(label_map):
            image.SetMetaData(key, value)
    write_image(image, path)


def _integers(array: npt.NDArray, name: str, limit: int | None = _MOST_LABELS) -> npt.NDArray[np.integer]:
    """The values as int16 or int32, refused where they are no labels."""
    if np.issubdtype(array.dtype, np.floating):
        if not np.all(np.isfinite(array)):
            raise BadInputError(
                _("{name} is no label map: it contains values that are not finite numbers.").format(name=name)
            )
        rounded = np.rint(array)
        # Programs that store labels with a scale give them back a little off: 0.9961 for 1.
        if np.abs(array - rounded).max() > _ROUNDING:
            raise BadInputError(
                _("{name} is no label map: it contains fractions; give a mask or label map, not a scan.").format(
                    name=name
                )
            )
        array = rounded
    if array.min() < 0:
        raise BadInputError(
            _("{name} is no label map: it contains negative values; give a mask or label map, not a scan.").format(
                name=name
            )
        )
    if array.max() > np.iinfo(np.int32).max:
        raise BadInputError(_("{name} is no label map: its values are larger than any label.").format(name=name))
    values = array.astype(np.int16 if array.max() <= np.iinfo(np.int16).max else np.int32)
    if limit is not None and (count := len(np.unique(values)) - 1) > limit:
        raise BadInputError(
            _("{name} is no label map: it has {count} different values; it looks like a scan.").format(
                name=name, count=count
            )
        )
    return values


def _merge(image: sitk.Image, grid: ImageGrid, segments: list[Segment], name: str, warn: Warn) -> LabelMap:
    """Segments with values of their own; layers are kept only where segments overlap."""
    labels = _distinct_values(segments)
    dtype = np.int32 if max(one.value for one in labels) > 32767 else np.int16
    stored = sitk.GetArrayViewFromImage(image)
    components = 1 if stored.ndim == 3 else stored.shape[-1]
    check_memory(name, stored[..., 0].size * np.dtype(dtype).itemsize * components if stored.ndim == 4 else 0)
    layers: list[npt.NDArray[np.integer]] = []
    sizes: dict[int, int] = {}
    for layer in range(components):
        members = [index for index, one in enumerate(segments) if one.layer == layer]
        if not members:
            continue
        values = _integers(stored if stored.ndim == 3 else stored[..., layer], name, limit=None)
        renamed = np.zeros(values.shape, dtype=dtype)
        for index in members:
            inside = values == segments[index].stored_value
            sizes[index] = int(np.count_nonzero(inside))
            renamed[inside] = labels[index].value
        layers.append(renamed)
    empty = [labels[index].name for index, size in sizes.items() if size == 0]
    if empty and len(empty) < len(labels):
        warn(_("Segments of {name} without voxels were left out: {empty}.").format(name=name, empty=", ".join(empty)))
    present = tuple(labels[index] for index in range(len(labels)) if sizes[index])
    if len(layers) == 1:
        return LabelMap(layers[0], grid, present)
    merged, overlaps = _merged(layers, sorted(sizes, key=lambda index: -sizes[index]), labels)
    if not overlaps:
        return LabelMap(merged, grid, present)
    warn(
        _(
            "Segments of {name} overlap: {overlaps}. Each is measured and written whole; where a voxel "
            "can belong to one alone (guidance, and files other than .seg.nrrd) the smaller has it."
        ).format(name=name, overlaps=joined(", ", overlaps))
    )
    return LabelMap(merged, grid, present, tuple(layers))


def _merged(
    layers: list[npt.NDArray[np.integer]], order: list[int], labels: list[Label]
) -> tuple[npt.NDArray[np.integer], list[str]]:
    """One value per voxel, the labels of ``order`` laid over each other, and which of them overlap by how much."""
    merged = np.zeros_like(layers[0])
    names = {one.value: one.name for one in labels}
    overlaps: list[str] = []
    for value in (labels[index].value for index in order):
        for layer in layers:
            inside = layer == value
            covered = merged[inside]
            for other in np.unique(covered[(covered != 0) & (covered != value)]):
                count = np.count_nonzero(covered == other)
                overlaps.append(
                    _("{one} and {other} ({count} voxels)").format(
                        one=names[value], other=names[int(other)], count=count
                    )
                )
            merged[inside] = value
    return merged, overlaps


def _distinct_values(segments: list[Segment]) -> list[Label]:
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
        raise BadInputError(
            _("The segments of {name} lie outside of the scan; it belongs to another one.").format(name=name)
        )
    source = tuple(slice(a, b) for a, b in zip((first - start)[::-1], (last - start)[::-1], strict=True))
    target = tuple(slice(a, b) for a, b in zip(first[::-1], last[::-1], strict=True))

    def put_back(part: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
        whole = np.zeros(grid.shape, dtype=part.dtype)
        whole[target] = part[source]
        return whole

    check_memory(name, grid.shape[0] * grid.shape[1] * grid.shape[2] * 2 * (1 + len(label_map.layers)))
    whole = put_back(label_map.array)
    layers = tuple(put_back(layer) for layer in label_map.layers)
    lost = np.count_nonzero(label_map.array) - np.count_nonzero(whole)
    if lost:
        warn(_("{lost} voxels of {name} lie outside of the scan and were left out.").format(lost=lost, name=name))
    present = {value for one in layers or (whole,) for value in np.unique(one).tolist()}
    return LabelMap(whole, grid, tuple(one for one in label_map.labels if one.value in present), layers)


def _segment_keys(label_map: LabelMap) -> list[tuple[str, str]]:
    extent = " ".join(f"0 {n - 1}" for n in label_map.grid.size)
    keys = [
        ("Segmentation_ContainedRepresentationNames", "Binary labelmap|"),
        ("Segmentation_MasterRepresentation", "Binary labelmap"),
        ("Segmentation_ReferenceImageExtentOffset", "0 0 0"),
    ]
    layers = {int(value): number for number, layer in enumerate(label_map.layers) for value in np.unique(layer)}
    for index, label in enumerate(label_map.labels):
        color = label.color or generic_color(label.value)
        values = {
            "ID": f"Segment_{label.value}",
            "Name": label.name,
            "NameAutoGenerated": "0",
            "Color": " ".join(f"{part:.6g}" for part in color),
            "ColorAutoGenerated": "1" if label.color is None else "0",
            "Extent": extent,
            "LabelValue": str(label.value),
            "Layer": str(layers.get(label.value, 0)),
            "Tags": f"TerminologyEntry:{label.terminology or _DEFAULT_TERMINOLOGY}|",
        }
        keys += [(f"Segment{index}_{key}", value) for key, value in values.items()]
    return keys


def generic_color(value: int) -> tuple[float, float, float]:
    """Colors that differ well for neighboring values: hues at multiples of the golden ratio."""
    return colorsys.hsv_to_rgb((value * 0.618034) % 1.0, 0.65, 0.9)
