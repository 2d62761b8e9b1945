"""Displacement fields as vector images: .nrrd, .mha and NIfTI."""

from __future__ import annotations

import struct
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import torch

from ...core.errors import BadInputError
from ...core.files.common import PathLike, ending, written_whole
from ...core.files.headers import check_file
from ...core.files.itk import heard_itk, itk_output
from ...core.files.transform_headers import check_field_direction
from ...core.files.volumes import check_written, execute, opened_image, write_image
from ...core.geometry import ImageGrid
from ...core.parallel_gzip import write_gzip
from ...core.raw_nrrd import write_raw_nrrd
from ...core.sentences import marked as _
from .field import DisplacementField

_DISPLACEMENT_INTENT = 1006
_INTENT_OFFSET = 68  # of intent_code in a NIfTI-1 header


def write_field_image(field: DisplacementField, path: PathLike, compress: bool) -> None:
    """Write a field, whole or not at all; without compression a .nrrd or .mha file is written sooner.

    Raises:
        OutputError: if it could not be written.
    """
    kind = ending(path)
    if kind in (".nii", ".nii.gz"):
        _write_nifti(field, path)
    elif kind == ".nrrd":
        with written_whole(path) as temporary:
            grid = field.grid
            write_raw_nrrd(_vectors(field), grid.spacing, grid.origin, grid.direction, temporary, compress)
    else:
        write_image(field_image(field), path, compress)


def read_field_image(path: Path, pixel_type: int = sitk.sitkVectorFloat64) -> sitk.Image:
    """The displacements of a file, mm, LPS; in double precision, as ITK's transforms have them, or in another one.

    Raises:
        BadInputError: if the file is missing, damaged, or holds no displacements.
    """
    check_file(path)
    niftyreg = check_field_direction(path)
    with opened_image(path) as reader:
        if reader.GetNumberOfComponents() != 3:
            raise BadInputError(
                _("{file} is no displacement field: it has {count} value(s) per voxel, not 3.").format(
                    file=path.name, count=reader.GetNumberOfComponents()
                )
            )
        reader.SetOutputPixelType(pixel_type)
        image = execute(reader, path.name)
    if niftyreg is not None:
        image = _from_niftyreg(image, is_position=niftyreg == 0)
    values = sitk.GetArrayViewFromImage(image)
    if not np.isfinite(largest_number(values)):
        raise BadInputError(_("{file} contains displacements that are not finite numbers.").format(file=path.name))
    if _holds_positions(values, ImageGrid.from_image(image)):
        raise BadInputError(
            _(
                "{file} seems to hold positions where displacements are needed (each vector grows with its "
                "own place); subtract the positions of the voxels first."
            ).format(file=path.name)
        )
    return image


def _vectors(field: DisplacementField) -> npt.NDArray[np.float32]:
    """View of a batch of one as ``(D, H, W, 3)``."""
    if field.displacement.shape[0] != 1:
        raise ValueError(f"one field can be written, not a batch of {field.displacement.shape[0]}")
    return field.displacement[0].detach().to("cpu", torch.float32).permute(1, 2, 3, 0).numpy()


def field_image(field: DisplacementField) -> sitk.Image:
    """The field as a vector image, float32."""
    return field.grid.to_image(np.ascontiguousarray(_vectors(field)), is_vector=True)


def field_of(image: sitk.Image) -> DisplacementField:
    """The field of a vector image, float32."""
    displacement = torch.empty((1, 3, *reversed(image.GetSize())))
    # From double precision without a copy in it, which is 24 bytes a voxel.
    np.copyto(displacement[0].numpy(), np.moveaxis(sitk.GetArrayViewFromImage(image), -1, 0), casting="same_kind")
    return DisplacementField(displacement, ImageGrid.from_image(image))


def largest_number(numbers: npt.NDArray) -> float:
    """The largest absolute value, not finite if one is not; 0 of none. Without a copy of what may be gigabytes."""
    return max(float(numbers.max()), -float(numbers.min())) if numbers.size else 0.0


def _write_nifti(field: DisplacementField, path: PathLike) -> None:
    """SimpleITK writes vectors with intent 1007 and as they are: intent and RAS signs are set here."""
    image = field_image(field)
    ras = np.array([-1.0, -1.0, 1.0], dtype=np.float32)
    flipped = field.grid.to_image(sitk.GetArrayViewFromImage(image) * ras, is_vector=True)
    size = field.displacement.numel() * 4
    with written_whole(path, size) as temporary:
        plain = temporary.with_name(temporary.name[: -len(ending(path))] + ".nii")
        try:
            with itk_output(plain) as file, heard_itk(Path(path).name):
                sitk.WriteImage(flipped, file)
            check_written(plain)
            with plain.open("r+b") as stream:
                stream.seek(_INTENT_OFFSET)
                stream.write(struct.pack("<h", _DISPLACEMENT_INTENT))
            if plain != temporary:
                with plain.open("rb") as source, temporary.open("wb") as packed:
                    write_gzip(packed.write, iter(partial(source.read, 1 << 20), b""))
        finally:
            if plain != temporary:
                plain.unlink(missing_ok=True)


def _from_niftyreg(image: sitk.Image, is_position: bool) -> sitk.Image:
    """NiftyReg's vectors are in RAS, which ITK takes as they are, and positions or displacements."""
    grid = ImageGrid.from_image(image)
    vectors = sitk.GetArrayFromImage(image) * (-1.0, -1.0, 1.0)
    if is_position:
        vectors -= _positions(grid)
    return grid.to_image(vectors, is_vector=True)


def _positions(grid: ImageGrid, steps: tuple[int, int, int] = (1, 1, 1)) -> npt.NDArray[np.float64]:
    """LPS positions of the voxel centers, ``(D, H, W, 3)``, mm; of one in so many along each axis (z, y, x)."""
    along = (np.arange(0, n, step, dtype=np.float64) for n, step in zip(grid.shape, steps, strict=True))
    z, y, x = np.meshgrid(*along, indexing="ij")
    return grid.to_physical(np.stack([x, y, z], axis=-1).reshape(-1, 3)).reshape(*x.shape, 3)


def _holds_positions(vectors: npt.NDArray[np.float64], grid: ImageGrid) -> bool:
    """True if the vectors are about the voxels' own positions, in LPS or RAS: no deformation doubles or flips a body.

    The linear part of the vectors is compared with that of positions: the identity, or diag(-1, -1, 1).
    """
    z, y, x = (max(1, n // 16) for n in grid.shape)
    positions = _positions(grid, (z, y, x)).reshape(-1, 3)
    centered = positions - positions.mean(axis=0)
    linear = np.linalg.lstsq(centered, vectors[::z, ::y, ::x].reshape(-1, 3), rcond=None)[0]
    return any(np.abs(linear - np.diag(signs)).max() < 0.3 for signs in ((1, 1, 1), (-1, -1, 1)))
