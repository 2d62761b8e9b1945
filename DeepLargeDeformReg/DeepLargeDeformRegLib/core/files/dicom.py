"""DICOM folders: which series they hold, and one series as a volume with evenly spaced slices.

Nothing that names a patient is read into a message: series are listed by number, slices, size and modality.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..errors import BadInputError
from .common import quiet_itk

_FEWEST_SLICES = 8  # shorter series (scouts, single captures) are no volumes to register
_DEPTH = 4  # of sub-folders that are searched: patient, study, series and one more
_SPACING_TOLERANCE = 0.05  # of the slice distance: positions in DICOM are rounded decimals
_MODALITY_TAG = "0008|0060"


@dataclass(frozen=True)
class Series:
    """One series of images in a folder: UID, files in slice order, slices, columns x rows and modality."""

    uid: str
    files: tuple[str, ...]
    slices: int
    size: tuple[int, int]
    modality: str


def split_series(path: Path, series: int | str | None) -> tuple[Path, int | str | None]:
    """``folder#2`` as folder and series 2; any other path as it is."""
    stem, mark, number = path.name.rpartition("#")
    if mark and stem and number.isdigit() and not path.exists() and path.with_name(stem).is_dir():
        return path.with_name(stem), int(number)
    return path, series


def list_series(folder: Path) -> list[Series]:
    """Image series in a folder, or in its sub-folders if it holds none itself; longest first."""
    found = _series_in(folder)
    if not found:
        for current, children, _ in os.walk(folder):
            depth = len(Path(current).relative_to(folder).parts)
            children[:] = sorted(child for child in children if depth < _DEPTH and not child.startswith("."))
            if depth > 0:
                found += _series_in(Path(current))
    return sorted(found, key=lambda one: (-one.slices, one.uid))


def read_series(folder: Path, series: int | str | None, pixel_type: int) -> sitk.Image:
    """One series of a folder as a 3D image.

    Raises:
        BadInputError: if there is no series, none can be chosen, or its slices are no evenly spaced volume.
    """
    chosen = _choose(folder.name, list_series(folder), series)
    try:
        with quiet_itk():
            if len(chosen.files) == 1:
                return sitk.ReadImage(chosen.files[0], pixel_type)
            _check_slices(folder.name, chosen.files)
            reader = sitk.ImageSeriesReader()
            reader.SetFileNames(chosen.files)
            reader.SetOutputPixelType(pixel_type)
            return reader.Execute()
    except RuntimeError as error:
        raise BadInputError(
            f"{folder.name}: the DICOM series could not be read as one volume; some of its files are damaged or "
            "differ in size.",
            detail=str(error),
        ) from error


def _series_in(folder: Path) -> list[Series]:
    found = []
    with quiet_itk():
        for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)):
            files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)
            header = _header(files[0])
            if header is None or not header.HasMetaDataKey(_MODALITY_TAG):
                continue
            size = header.GetSize()
            slices = len(files) if len(files) > 1 or len(size) < 3 else size[2]
            modality = header.GetMetaData(_MODALITY_TAG).strip()
            found.append(Series(uid, tuple(files), slices, (size[0], size[1]), modality))
    return found


def _header(file: str) -> sitk.ImageFileReader | None:
    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    reader.SetImageIO("GDCMImageIO")
    try:
        reader.ReadImageInformation()
    except RuntimeError:  # structure sets, reports and the like hold no image
        return None
    return reader


def _choose(name: str, found: list[Series], series: int | str | None) -> Series:
    if not found:
        raise BadInputError(f"The folder {name} contains no DICOM images.")
    if isinstance(series, int):
        if not 1 <= series <= len(found):
            raise BadInputError(f"The folder {name} has no DICOM series {series}; it has: {_table(found)}.")
        return found[series - 1]
    if series is not None:
        matching = [one for one in found if one.uid == series]
        if not matching:
            raise BadInputError(f"The folder {name} has no DICOM series of that UID; it has: {_table(found)}.")
        return matching[0]
    volumes = [one for one in found if one.slices >= _FEWEST_SLICES] or found
    if len(volumes) > 1:
        raise BadInputError(
            f"The folder {name} contains {len(found)} DICOM series: {_table(found)}. Choose one by its number, such "
            f"as {name}#1, or move it to a folder of its own."
        )
    return volumes[0]


def _table(found: list[Series]) -> str:
    rows = (
        f"{number}: {one.modality}, {one.slices} slices of {one.size[0]} x {one.size[1]}"
        for number, one in enumerate(found, start=1)
    )
    return "; ".join(rows)


def _check_slices(name: str, files: tuple[str, ...]) -> None:
    """Refuse slices that are no stack: other orientations, doubled, missing or uneven positions, tilted gantry."""
    headers = [_header(file) for file in files]
    if any(header is None for header in headers):
        raise BadInputError(f"{name}: a file of the DICOM series is damaged; export the series again.")
    directions = np.array([header.GetDirection() for header in headers if header is not None]).reshape(-1, 3, 3)
    positions = np.array([header.GetOrigin() for header in headers if header is not None])
    if np.abs(directions - directions[0]).max() > 1e-3:
        raise BadInputError(
            f"{name}: the slices of the DICOM series have different orientations; they are no volume."
        )
    normal = np.cross(directions[0][:, 0], directions[0][:, 1])
    steps = np.diff(positions, axis=0)
    along = steps @ normal
    if along.sum() < 0:
        along = -along
    _check_distances(name, along)
    # A tilted gantry moves each slice within its own plane as well.
    drift = np.linalg.norm(steps - (steps @ normal)[:, None] * normal, axis=1).max()
    if drift > _SPACING_TOLERANCE * float(np.median(along)):
        raise BadInputError(
            f"{name}: the slices are sheared against each other (tilted gantry); resample the scan to a rectangular "
            "grid first."
        )


def _check_distances(name: str, distances: npt.NDArray[np.float64]) -> None:
    usual = float(np.median(distances))
    if usual <= 1e-6 or distances.min() < _SPACING_TOLERANCE * usual:
        raise BadInputError(
            f"{name}: several slices of the DICOM series share one position (phases or echoes in one series); export "
            "the one to register by itself."
        )
    tolerance = max(_SPACING_TOLERANCE * usual, 0.01)
    wrong = np.flatnonzero(np.abs(distances - usual) > tolerance)
    if len(wrong) == 0:
        return
    first = int(wrong[0])
    missing = round(float(distances[first]) / usual) - 1
    if missing >= 1 and abs(distances[first] - (missing + 1) * usual) <= (missing + 1) * tolerance:
        raise BadInputError(
            f"{name}: {missing} slice(s) of the DICOM series are missing after slice {first + 1}; export "
            "the series again."
        )
    raise BadInputError(
        f"{name}: the slices of the DICOM series are unevenly spaced ({distances.min():.3g} to {distances.max():.3g} "
        "mm); resample the scan to even slices first."
    )
