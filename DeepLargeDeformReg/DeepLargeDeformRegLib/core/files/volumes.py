"""Scans: read from image files and DICOM folders with every check made before any work begins, and written."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..errors import BadInputError, MemoryExhaustedError
from ..geometry import ImageGrid
from ..images import Volume
from ..raw_nrrd import RawFile, open_raw_nrrd, write_raw_nrrd
from ..sentences import joined
from ..sentences import marked as _
from ..subjects import the
from .child import read_in_child
from .common import VOLUME_ENDINGS, PathLike, check_output, ending, written_whole
from .dicom import read_series, split_series
from .dicom_frames import is_dicom
from .headers import CHECKED_ENDINGS, NIFTI_ENDINGS, check_file
from .itk import heard_itk, itk_output, itk_paths
from .streams import damaged, not_finite

MINIMUM_VOXELS = 8  # per axis; fewer hold no deformation that could be told from noise

_COMPLEX = (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64)


def read_volume(path: PathLike, series: int | str | None = None) -> Volume:
    """Read a scan: .nrrd, .nii, .nii.gz, .mha, .mhd, whatever else SimpleITK reads, or DICOM (a folder or a file).

    Args:
        path: file or DICOM folder; ``folder#2`` is short for the folder with ``series=2``.
        series: which DICOM series, by its number (from 1) in the list that the refusal of a folder with several
            series shows, or by its UID.

    Returns:
        Intensities in float32 on the file's grid; rescaling slopes of the file are applied.

    Raises:
        BadInputError: one line, if the file is missing, damaged, not a scalar 3D image, constant, has values that are
            not finite, an impossible geometry, or fewer than 8 voxels along an axis.
    """
    name = Path(path).name
    raw = open_raw_nrrd(path) if ending(path) == ".nrrd" else None
    if raw is not None and not raw.is_field:
        grid = _grid(name, raw.shape[::-1], raw.spacing, raw.origin, raw.direction)
        volume = Volume(_voxels(raw, name), grid)
    else:
        volume = Volume.from_image(read_image(path, series, sitk.sitkFloat32))
    if min(volume.grid.size) < MINIMUM_VOXELS:
        size = " x ".join(str(n) for n in volume.grid.size)
        raise BadInputError(
            _("{name} has only {size} voxels; at least {least} along every axis are needed.").format(
                name=name, size=size, least=MINIMUM_VOXELS
            )
        )
    lowest, highest = volume.array.min(), volume.array.max()
    if not (np.isfinite(lowest) and np.isfinite(highest)):  # both hand on what is not finite
        raise not_finite(name, volume.array.size - int(np.count_nonzero(np.isfinite(volume.array))))
    if lowest == highest:
        raise BadInputError(
            _("{name} is constant: all voxels are {value:g}; there is nothing to align.").format(
                name=name, value=volume.array.flat[0]
            )
        )
    return volume


def write_volume(volume: Volume, path: PathLike, compress: bool = True) -> None:
    """Write a volume as float32 .nrrd, .nii, .nii.gz or .mha, whole or not at all.

    Args:
        volume: what to write.
        path: its ending chooses the format.
        compress: False for files that are read once and removed, as in a job folder; .nii.gz is always compressed.

    Raises:
        BadInputError: if the ending is none of these.
        OutputError: if it could not be written.
    """
    if ending(path) == ".nrrd":
        with written_whole(path) as temporary:
            grid = volume.grid
            write_raw_nrrd(volume.array, grid.spacing, grid.origin, grid.direction, temporary, compress)
        return
    write_image(volume.to_image(), path, compress)


def read_image(path: PathLike, series: int | str | None = None, pixel_type: int = sitk.sitkUnknown) -> sitk.Image:
    """Read a scalar 3D image with a valid grid; a fourth axis of length one is dropped.

    Args:
        path: as for :func:`read_volume`.
        series: as for :func:`read_volume`.
        pixel_type: SimpleITK pixel type to convert to; the file's own by default.

    Raises:
        BadInputError: if the file cannot be read or is no scalar 3D image.
    """
    path, series = split_series(Path(path).absolute(), series)
    if path.is_dir() or (path.is_file() and is_dicom(path)):
        image = read_series(path, series, pixel_type)
        _grid(path.name, image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
        return image
    with opened_image(path) as reader:
        if reader.GetNumberOfComponents() > 1:
            raise BadInputError(
                _(
                    "{file} has {count} values per voxel (a color image, vector field or time "
                    "series); a scan with one value per voxel is needed."
                ).format(file=path.name, count=reader.GetNumberOfComponents())
            )
        is_vector = "vector" in sitk.GetPixelIDValueAsString(reader.GetPixelID())
        if not is_vector:
            reader.SetOutputPixelType(pixel_type)
        image = execute(reader, path.name)
    return sitk.VectorIndexSelectionCast(image, 0, pixel_type) if is_vector else image


@contextmanager
def opened_image(path: Path, decode: bool = True) -> Iterator[sitk.ImageFileReader]:
    """Reader of a 3D image (of any number of components) whose file has been checked, for the time of the block.

    Args:
        path: the file.
        decode: False checks the header alone, for callers that read no voxel.

    Raises:
        BadInputError: if the file is damaged, or is not that of a 3D image with real values and a valid grid.
        MemoryExhaustedError: if it does not fit into this machine's memory.
    """
    check_file(path, decode)
    with tempfile.TemporaryDirectory(prefix="DeepLargeDeformReg-") as folder, itk_paths([path]) as paths:
        file = paths[0]
        if ending(path) not in CHECKED_ENDINGS:
            file = str(Path(folder) / "converted.nrrd")
            read_in_child(paths[0], path.name, Path(file))
        reader = sitk.ImageFileReader()
        reader.SetFileName(file)
        try:
            with heard_itk(path.name):
                reader.ReadImageInformation()
        except RuntimeError as error:
            raise _refusal(path.name, error) from error
        _check_information(path.name, reader)
        yield reader


def _check_information(name: str, reader: sitk.ImageFileReader) -> None:
    """Refuse what is no 3D image of real values; leave out further axes of length one."""
    size = reader.GetSize()
    if reader.GetPixelID() in _COMPLEX:
        raise BadInputError(
            _("{name} has complex voxel values; export its magnitude as a scalar image.").format(name=name)
        )
    if len(size) < 3 or (size[2] == 1 and max(size) > 1):  # an empty segmentation of Slicer is a single voxel
        raise BadInputError(
            _("{name} is a single 2D slice; 3D volumes are registered (for DICOM, give the folder).").format(
                name=name
            )
        )
    if any(n != 1 for n in size[3:]):
        raise BadInputError(
            _("{name} is a 4D image with {count} time points or channels; export the one to register as 3D.").format(
                name=name, count=size[3]
            )
        )
    axes, direction = len(size), np.array(reader.GetDirection()).reshape(len(size), len(size))
    _grid(name, size[:3], reader.GetSpacing()[:3], reader.GetOrigin()[:3], direction[:3, :3].ravel())
    if axes > 3:
        reader.SetExtractSize([*size[:3], *[0] * (axes - 3)])


def execute(reader: sitk.ImageFileReader, name: str) -> sitk.Image:
    """Read the voxels; what ITK throws becomes one clear line."""
    try:
        with heard_itk(name):
            return reader.Execute()
    except RuntimeError as error:
        raise _refusal(name, error) from error


def write_image(image: sitk.Image, path: PathLike, compress: bool = True) -> None:
    """Write an image as .nrrd (.seg.nrrd), .nii, .nii.gz or .mha, whole or not at all."""
    check_output(path, (*VOLUME_ENDINGS, ".seg.nrrd"))
    with written_whole(path) as temporary:
        with itk_output(temporary) as file, heard_itk(Path(path).name):
            sitk.WriteImage(image, file, useCompression=compress)
        check_written(temporary)


def check_same_space(grid: ImageGrid, reference: ImageGrid, what: str, of: str) -> None:
    """Refuse a segmentation, region or scan that is not on the grid of the scan that it belongs to.

    Args:
        grid: the grid to check.
        reference: the scan's grid.
        what: its name in the message, such as ``"fixed segmentation"``.
        of: the scan's name in the message, such as ``"fixed scan"``.

    Raises:
        BadInputError: saying in what the grids differ.
    """
    if grid.same_geometry(reference, tolerance=0.05):
        return
    if grid.size != reference.size:
        size, expected = (" x ".join(str(n) for n in one.size) for one in (grid, reference))
        difference = _("{size} instead of {expected} voxels").format(size=size, expected=expected)
    elif not np.allclose(grid.spacing, reference.spacing, rtol=1e-3):
        spacing, expected = (" x ".join(f"{n:.3g}" for n in one.spacing) for one in (grid, reference))
        difference = _("voxel spacing {spacing} instead of {expected} mm").format(spacing=spacing, expected=expected)
    elif not np.allclose(grid.direction, reference.direction, atol=1e-3):
        difference = _("another orientation")
    else:
        distance = float(np.linalg.norm(np.array(grid.center) - np.array(reference.center)))
        difference = _("shifted by {distance:.3g} mm").format(distance=distance)
    raise BadInputError(
        _(
            "{what} is not on the grid of {of} ({difference}); export it again with the scan as "
            "its reference geometry."
        ).format(what=the(what, first=True), of=the(of), difference=difference)
    )


def check_written(path: Path) -> None:
    """Refuse an incomplete file: on a full disk ITK throws for .nrrd and .mha, but writes NIfTI without complaint."""
    if ending(path) not in NIFTI_ENDINGS:
        return
    try:
        check_file(path)
    except BadInputError as error:
        raise RuntimeError(f"the file came out incomplete: {error.message}") from error


def _voxels(raw: RawFile, name: str) -> npt.NDArray[np.float32]:
    try:
        return raw.read(np.float32).astype(np.float32, copy=False)
    except OSError as error:
        raise damaged(name) from error


def _grid(name: str, size, spacing, origin, direction) -> ImageGrid:  # type: ignore[no-untyped-def]
    if min(spacing) <= 0:
        numbers = " x ".join(f"{value:g}" for value in spacing)
        raise BadInputError(
            _("{name} has an impossible voxel spacing ({numbers} mm); correct the file's header.").format(
                name=name, numbers=numbers
            )
        )
    try:
        return ImageGrid(tuple(size), tuple(spacing), tuple(origin), tuple(direction))
    except BadInputError as error:
        raise BadInputError(joined(": ", (name, error.message)), error.detail) from error


def _refusal(name: str, error: RuntimeError) -> Exception:
    text = str(error)
    if "orthonormal" in text:
        message = _("the axes of the image are not at right angles; resample it to a rectangular grid first.")
        return BadInputError(joined(": ", (name, message)), detail=text)
    if "spacing" in text and "invalid" in text:
        return BadInputError(
            _("{name} has an impossible voxel spacing; correct the file's header.").format(name=name), detail=text
        )
    if "allocat" in text:
        return MemoryExhaustedError(
            _("{name} does not fit into this machine's memory.").format(name=name), detail=text
        )
    return BadInputError(
        _(
            "{name} could not be read: it is damaged, incomplete or of an unknown format (.nrrd, .nii, "
            ".nii.gz, .mha, .mhd and DICOM folders can be read)."
        ).format(name=name),
        detail=text,
    )
