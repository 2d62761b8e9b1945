"""DICOM folders and files: which series they hold, and one series as a volume with evenly spaced slices.

Nothing that names a patient is read into a message: series are listed by number, slices, size and modality.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..errors import BadInputError
from ..geometry import ImageGrid
from ..sentences import marked as _
from .dicom_frames import DicomImage, Frame, check_kind, is_scan, read_image_header, regular_files, stored_values
from .itk import heard_itk, itk_paths
from .memory import check_memory

Numbers = npt.NDArray[np.float64]

_FEWEST_SLICES = 8  # shorter series (scouts, single captures) are no volumes to register
_DEPTH = 4  # of sub-folders that are searched: patient, study, series and one more
_SPACING_TOLERANCE = 0.05  # of the slice distance: positions in DICOM are rounded decimals
_PIXEL_TOLERANCE = 1e-3  # of the pixel spacing, between slices


@dataclass(frozen=True, kw_only=True)
class Series:
    """One series of images in a folder: UID, its files, slices, columns x rows and modality."""

    uid: str
    images: tuple[DicomImage, ...]
    slices: int
    size: tuple[int, int]
    modality: str


def split_series(path: Path, series: int | str | None) -> tuple[Path, int | str | None]:
    """``folder#2`` as folder and series 2; any other path as it is."""
    stem, mark, number = path.name.rpartition("#")
    if mark and stem and number.isdigit() and len(number) < 6 and not path.exists() and path.with_name(stem).is_dir():
        return path.with_name(stem), int(number)
    return path, series


def list_series(folder: Path) -> list[Series]:
    """Image series in a folder, or in its sub-folders if it holds none itself; longest first."""
    found = _series_of(regular_files(folder))
    if not found:
        for current, children, _ in os.walk(folder):
            depth = len(Path(current).relative_to(folder).parts)
            children[:] = sorted(child for child in children if depth < _DEPTH and not child.startswith("."))
            if depth > 0:
                found += _series_of(regular_files(Path(current)))
    return sorted(found, key=lambda one: (-one.slices, one.uid))


def read_series(path: Path, series: int | str | None, pixel_type: int) -> sitk.Image:
    """One series of a folder, or one file, as a 3D image with its slices in order.

    Raises:
        BadInputError: if there is no series, none can be chosen, or its slices are no evenly spaced volume.
        MemoryExhaustedError: if it does not fit into this machine's memory.
    """
    name = path.name
    chosen, frames = series_frames(name, path, series)
    images = list(chosen.images)
    columns, rows = chosen.size
    check_memory(name, columns * rows * len(frames) * 4)
    try:
        if any(image.is_enhanced for image in images):
            image = _enhanced_voxels(images, frames, pixel_type)
        else:
            image = _classic_voxels(name, frames, pixel_type)
    except RuntimeError as error:
        raise BadInputError(
            _(
                "{name}: the DICOM series could not be read as one volume; some of its files are damaged or "
                "differ in size."
            ).format(name=name),
            detail=str(error),
        ) from error
    if image.GetSize() != (columns, rows, len(frames)):
        raise BadInputError(
            _("{name}: a file of the DICOM series is damaged; export the series again.").format(name=name)
        )
    _place(image, frames)
    return image


def series_frames(
    name: str, path: Path | Sequence[Path], series: int | str | None = None
) -> tuple[Series, list[Frame]]:
    """One series, with its slices in order.

    Args:
        name: of the series in messages.
        path: a folder, a file, or files.
        series: its number or UID, where there are several.

    Raises:
        BadInputError: as :func:`read_series`.
    """
    if isinstance(path, Path):
        found = list_series(path) if path.is_dir() else _series_of([path])
    else:
        found = _series_of(list(path))
    chosen = _choose(name, found, series)
    check_kind(name, list(chosen.images))
    if chosen.slices == 1:
        raise BadInputError(
            _("{name} is a single 2D slice; 3D volumes are registered (give the folder of the series).").format(
                name=name
            )
        )
    return chosen, _ordered(name, [frame for image in chosen.images for frame in image.frames])


def grid_of(frames: list[Frame], size: tuple[int, int]) -> ImageGrid:
    """Grid of slices in order, of so many columns and rows."""
    positions, rows, normal = _geometry(frames)
    distance = float((positions[-1] - positions[0]) @ normal) / (len(frames) - 1)
    direction = np.stack([rows, np.cross(normal, rows), normal], axis=1)
    spacing = frames[0].spacing or (1.0, 1.0)
    return ImageGrid(
        (*size, len(frames)),
        (spacing[0], spacing[1], distance),
        tuple(positions[0].tolist()),
        tuple(direction.ravel().tolist()),
    )


def _series_of(files: list[Path]) -> list[Series]:
    groups: dict[str, list[DicomImage]] = {}
    for file in files:
        image = read_image_header(file)
        if image is not None:
            groups.setdefault(image.series, []).append(image)
    return [
        Series(
            uid=uid,
            images=tuple(images),
            slices=sum(len(image.frames) for image in images),
            size=images[0].size,
            modality=images[0].modality,
        )
        for uid, images in groups.items()
    ]


def _choose(name: str, found: list[Series], series: int | str | None) -> Series:
    if not found:
        raise BadInputError(_("{name} contains no DICOM images.").format(name=name))
    if isinstance(series, int):
        if not 1 <= series <= len(found):
            raise BadInputError(
                _("The folder {name} has no DICOM series {series}; it has: {table}.").format(
                    name=name, series=series, table=_table(found)
                )
            )
        return found[series - 1]
    if series is not None:
        matching = [one for one in found if one.uid == series]
        if not matching:
            raise BadInputError(
                _("The folder {name} has no DICOM series of that UID; it has: {table}.").format(
                    name=name, table=_table(found)
                )
            )
        return matching[0]
    scans = [one for one in found if is_scan(one.images[0])] or found
    volumes = [one for one in scans if one.slices >= _FEWEST_SLICES] or scans
    if len(volumes) > 1:
        raise BadInputError(
            _(
                "The folder {name} contains {count} DICOM series: {table}. Choose one by its number, such as "
                "{name}#1, or move it to a folder of its own."
            ).format(name=name, count=len(found), table=_table(found))
        )
    return volumes[0]


def _table(found: list[Series]) -> str:
    rows = (
        _("{number}: {modality}, {slices} slices of {width} x {height}").format(
            number=number, modality=one.modality, slices=one.slices, width=one.size[0], height=one.size[1]
        )
        for number, one in enumerate(found, start=1)
    )
    return "; ".join(rows)


def _classic_voxels(name: str, frames: list[Frame], pixel_type: int) -> sitk.Image:
    with itk_paths([frame.file for frame in frames]) as files, heard_itk(name):
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(files)
        reader.SetOutputPixelType(pixel_type)
        return reader.Execute()


def _enhanced_voxels(images: list[DicomImage], frames: list[Frame], pixel_type: int) -> sitk.Image:
    """Frames of one or several files in order, each with its own rescaling."""
    stored: dict[Path, npt.NDArray[np.generic]] = {}
    for image in images:
        with tempfile.TemporaryDirectory(prefix="DeepLargeDeformReg-") as folder, heard_itk(image.path.name):
            file = stored_values(image, Path(folder))
            array = sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
        columns, rows = image.size
        if array.size != len(image.frames) * rows * columns:
            raise BadInputError(
                _("{file} is damaged: frames are missing; export it again.").format(file=image.path.name)
            )
        stored[image.path] = array.reshape(len(image.frames), rows, columns)
    if all(frame.slope == 1.0 and frame.intercept == 0.0 for frame in frames):
        values = np.stack([stored[frame.file][frame.index] for frame in frames])
    else:
        values = np.empty((len(frames), *stored[frames[0].file].shape[1:]), dtype=np.float32)
        for plane, frame in zip(values, frames, strict=True):
            plane[:] = stored[frame.file][frame.index].astype(np.float64) * frame.slope + frame.intercept
    result = sitk.GetImageFromArray(values)
    return result if pixel_type == sitk.sitkUnknown else sitk.Cast(result, pixel_type)


def _place(image: sitk.Image, frames: list[Frame]) -> None:
    width, height, _ = image.GetSize()
    grid_of(frames, (width, height)).apply_to(image)


def _geometry(
    frames: list[Frame],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Positions ``(n, 3)``, the direction along rows, and the normal of the first frame; unit vectors."""
    axes = np.array(frames[0].orientation, dtype=np.float64).reshape(2, 3)
    normal = np.cross(axes[0], axes[1])
    along = axes[0] / max(np.linalg.norm(axes[0]), 1e-12)
    return np.array([frame.position for frame in frames]), along, normal / max(np.linalg.norm(normal), 1e-12)


def _ordered(name: str, frames: list[Frame]) -> list[Frame]:
    """Frames along their normal; refused where they are no stack: several orientations or phases, gaps, a tilt."""
    axes = np.array([frame.orientation for frame in frames]).reshape(-1, 2, 3)
    lengths, angle = np.linalg.norm(axes[0], axis=1), abs(float(axes[0, 0] @ axes[0, 1]))
    if np.abs(lengths - 1).max() > 1e-2 or angle > 1e-2:
        raise BadInputError(
            _("{name}: the DICOM series has an impossible orientation; export it again.").format(name=name)
        )
    if np.abs(axes - axes[0]).max() > 1e-3:
        raise BadInputError(
            _(
                "{name}: the slices of the DICOM series have different orientations (several stacks, or a "
                "localizer among them); they are no volume."
            ).format(name=name)
        )
    spacings = np.array([frame.spacing for frame in frames])
    if np.abs(spacings / spacings[0] - 1).max() > _PIXEL_TOLERANCE:
        raise BadInputError(
            _("{name}: the slices of the DICOM series differ in pixel spacing; they are no volume.").format(name=name)
        )
    positions, _along, normal = _geometry(frames)
    order = np.argsort(positions @ normal, kind="stable")
    steps = np.diff(positions[order], axis=0)
    along = steps @ normal
    _check_distances(name, along)
    # A tilted gantry moves each slice within its own plane as well.
    drift = np.linalg.norm(steps - along[:, None] * normal, axis=1).max()
    if drift > _SPACING_TOLERANCE * float(np.median(along)):
        raise BadInputError(
            _(
                "{name}: the slices are sheared against each other (tilted gantry); resample the scan to a "
                "rectangular grid first."
            ).format(name=name)
        )
    return [frames[index] for index in order]


def _check_distances(name: str, distances: npt.NDArray[np.float64]) -> None:
    usual = float(np.median(distances))
    if usual <= 1e-6 or distances.min() < _SPACING_TOLERANCE * usual:
        raise BadInputError(
            _(
                "{name}: several slices of the DICOM series share one position (phases or echoes in one "
                "series); export the one to register by itself."
            ).format(name=name)
        )
    tolerance = max(_SPACING_TOLERANCE * usual, 0.01)
    wrong = np.flatnonzero(np.abs(distances - usual) > tolerance)
    if len(wrong) == 0:
        return
    first = int(wrong[0])
    missing = round(float(distances[first]) / usual) - 1
    if missing >= 1 and abs(distances[first] - (missing + 1) * usual) <= (missing + 1) * tolerance:
        raise BadInputError(
            _(
                "{name}: {missing} slice(s) of the DICOM series are missing after slice {first}; export the "
                "series again."
            ).format(name=name, missing=missing, first=first + 1)
        )
    raise BadInputError(
        _(
            "{name}: the slices of the DICOM series are unevenly spaced ({smallest:.3g} to {largest:.3g} "
            "mm); resample the scan to even slices first."
        ).format(name=name, smallest=distances.min(), largest=distances.max())
    )
