"""Transforms: written so that SimpleITK and 3D Slicer read the same map, and read from either.

A transform maps fixed to moving points (LPS, mm), the direction in which ITK resamples and which Slicer calls "from
parent". Displacement fields are stored

- as vector images (.nrrd, .mha, .nii.gz, .nii) in float32, compressed: a NIfTI field has intent 1006 and, as that
  intent demands, its vectors in RAS;
- as ITK transforms (.h5, .tfm) in float64 without compression, which is all that ITK can write: .h5 takes twice the
  memory of the field, .tfm as text about five times.

Outside of its grid a field continues here, as in Slicer, with the displacement at the nearest border voxel;
``sitk.Resample`` takes zero displacement there. On the field's own grid all three agree.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import torch

from ...core.errors import BadInputError
from ...core.files.child import read_in_child
from ...core.files.common import PathLike, check_output, check_regular, ending, written_whole
from ...core.files.hdf5_times import clear_times
from ...core.files.headers import check_file
from ...core.files.itk import heard_itk, itk_output, itk_paths
from ...core.files.transform_headers import check_field_direction, check_text_transform, refuse_by_content, several
from ...core.files.volumes import check_written, execute, opened_image, write_image
from ...core.geometry import ImageGrid
from ...core.parallel_gzip import write_gzip
from ...core.raw_nrrd import write_raw_nrrd
from ...core.sentences import marked as _
from .field import DisplacementField, compose, from_affine, identity

FIELD_ENDINGS = (".nrrd", ".mha", ".nii.gz", ".nii")
TRANSFORM_ENDINGS = (".h5", ".tfm", *FIELD_ENDINGS)

_READ_AS_IMAGE = (*FIELD_ENDINGS, ".mhd", ".nhdr")
_READ_AS_TRANSFORM = (".h5", ".hdf5", ".tfm", ".txt", ".mat")
_MOST_NESTED = 8  # composites within composites
_MOST_MM = 1e5  # 100 m
_LEAST_SCALE = 1e-3  # of volumes: no two bodies differ by more
_DISPLACEMENT_INTENT = 1006
_INTENT_OFFSET = 68  # of intent_code in a NIfTI-1 header


def write_transform(transform: DisplacementField | sitk.Transform, path: PathLike, compress: bool = True) -> None:
    """Write a transform, whole or not at all.

    Args:
        transform: a field (batch of one) or, for .h5 and .tfm, any SimpleITK transform; both map fixed to moving.
        path: its ending chooses the format.
        compress: False for a .nrrd or .mha file that is read once and removed, as in a job folder.

    Raises:
        BadInputError: if the ending is unknown, or an image format is asked for a transform that is no field.
        OutputError: if it could not be written.
    """
    check_output(path, TRANSFORM_ENDINGS)
    kind = ending(path)
    if kind in FIELD_ENDINGS:
        if not isinstance(transform, DisplacementField):
            raise BadInputError(
                _("{file}: an image file holds a displacement field only; use .h5 or .tfm.").format(
                    file=Path(path).name
                )
            )
        if kind in (".nii", ".nii.gz"):
            _write_nifti(transform, path)
        elif kind == ".nrrd":
            with written_whole(path) as temporary:
                grid = transform.grid
                write_raw_nrrd(_vectors(transform), grid.spacing, grid.origin, grid.direction, temporary, compress)
        else:
            write_image(_field_image(transform), path, compress)
        return
    if isinstance(transform, DisplacementField):
        transform = to_sitk(transform)
    numbers = transform.GetNumberOfParameters()
    with written_whole(path, size=numbers * (8 if kind == ".h5" else 2)) as temporary:
        with itk_output(temporary) as file, heard_itk(Path(path).name):
            sitk.WriteTransform(transform, file)
        if kind == ".tfm":
            _check_text(temporary)
        else:
            clear_times(temporary)


def read_transform(path: PathLike) -> sitk.Transform:
    """Read a 3D transform from fixed to moving points: linear, B-spline, displacement field, or a composite of these.

    Args:
        path: .h5, .hdf5, .tfm, .txt or .mat as ITK, ANTs and Slicer write them, or a displacement field as a
            vector image (.nrrd, .nhdr, .nii, .nii.gz, .mha, .mhd; LPS, mm).

    Raises:
        BadInputError: if the file is missing, damaged, holds no 3D transform or several, maps the other way, or has
            numbers that cannot be.
    """
    path = Path(path)
    check_regular(path)
    kind = ending(path)
    if kind in _READ_AS_IMAGE:
        return _read_field(path)
    if kind not in _READ_AS_TRANSFORM:
        known = ", ".join((*_READ_AS_TRANSFORM, *_READ_AS_IMAGE))
        raise BadInputError(
            _("{file} is no transform file: its name must end in {known}.").format(file=path.name, known=known)
        )
    transform = _read_itk(path, is_text=_is_text(path))
    if transform.GetDimension() != 3:
        raise BadInputError(
            _("{file} is a {dimension}D transform; a 3D one is needed.").format(
                file=path.name, dimension=transform.GetDimension()
            )
        )
    transform = _plain(transform, path.name)
    for part in _parts(transform):
        _check_part(part, path.name)
    return transform


def to_field(
    transform: sitk.Transform, grid: ImageGrid, device: torch.device | str | None = None
) -> DisplacementField:
    """Displacements of any transform at the voxel centers of a grid, float32, batch of one.

    Displacement fields in the transform continue beyond their own grids with the border's displacement.
    """
    field = sampler(transform)(grid)
    return field if device is None else field.to(device)


def sampler(transform: sitk.Transform) -> Callable[[ImageGrid], DisplacementField]:
    """What gives the displacements of a transform on any grid, as :func:`to_field`: a large one slab by slab."""
    steps = [
        _field_of(sitk.DisplacementFieldTransform(part).GetDisplacementField())
        if part.GetTransformEnum() == sitk.sitkDisplacementField
        else part
        for part in reversed(_parts(transform))  # ITK applies the last one first
    ]

    def on(grid: ImageGrid) -> DisplacementField:
        field = identity(grid)
        pending: list[sitk.Transform] = []
        for step in steps:
            if isinstance(step, DisplacementField):
                field = compose(step, _applied(pending, field))
                pending = []
            else:
                pending.append(step)
        return _applied(pending, field)

    return on


def to_sitk(field: DisplacementField) -> sitk.DisplacementFieldTransform:
    """The field as a SimpleITK transform (float64, linear interpolation, zero displacement outside of its grid)."""
    # The transform takes its image over, so it gets one of its own.
    return sitk.DisplacementFieldTransform(sitk.Cast(_field_image(field), sitk.sitkVectorFloat64))


def linear_transform(matrix: npt.ArrayLike) -> sitk.AffineTransform:
    """The map ``x -> A x`` of a homogeneous matrix (4, 4), LPS mm, as a SimpleITK transform."""
    values = np.asarray(matrix, dtype=np.float64)
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(values[:3, :3].ravel().tolist())
    transform.SetTranslation(values[:3, 3].tolist())
    return transform


def linear_matrix(transform: sitk.Transform) -> npt.NDArray[np.float64] | None:
    """Homogeneous matrix (4, 4), LPS mm, of a linear transform or of a composite of linear ones; None for others."""
    if not all(part.IsLinear() for part in _parts(transform)):
        return None
    return _matrix_of(transform)


def _matrix_of(transform: sitk.Transform) -> npt.NDArray[np.float64]:
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([transform.TransformPoint(axis) for axis in np.eye(3).tolist()]).T - origin[:, None]
    matrix[:3, 3] = origin
    return matrix


def _parts(transform: sitk.Transform) -> list[sitk.Transform]:
    """A composite's transforms, nested ones unpacked; the last one is applied first."""
    if transform.GetTransformEnum() != sitk.sitkComposite:
        return [transform.Downcast()]
    composite = sitk.CompositeTransform(transform)
    return [part for i in range(composite.GetNumberOfTransforms()) for part in _parts(composite.GetNthTransform(i))]


def _plain(transform: sitk.Transform, name: str, depth: int = 0) -> sitk.Transform:
    """The same map with classes that SimpleITK knows: it shows others as composites of themselves, without an end."""
    if transform.GetTransformEnum() != sitk.sitkComposite:
        return transform.Downcast()
    if depth == _MOST_NESTED:
        if not transform.IsLinear():
            raise BadInputError(
                _("{name} holds a transform of a kind that is not known; save it as a displacement field.").format(
                    name=name
                )
            )
        return linear_transform(_matrix_of(transform))
    composite = sitk.CompositeTransform(transform)
    parts = [_plain(composite.GetNthTransform(i), name, depth + 1) for i in range(composite.GetNumberOfTransforms())]
    if not parts:
        return sitk.CompositeTransform(3)
    return parts[0] if len(parts) == 1 else sitk.CompositeTransform(parts)


def _applied(pending: list[sitk.Transform], field: DisplacementField) -> DisplacementField:
    """The field followed by transforms that are no fields, the first of the list applied first; exact on its grid."""
    if not pending:
        return field
    composite = sitk.CompositeTransform([*reversed(pending), to_sitk(field)])
    matrix = linear_matrix(sitk.CompositeTransform(list(reversed(pending))))
    if matrix is not None and not field.displacement.any():
        return from_affine(matrix, field.grid)
    grid = field.grid
    image = sitk.TransformToDisplacementField(
        composite, sitk.sitkVectorFloat64, grid.size, grid.origin, grid.spacing, grid.direction
    )
    return _field_of(image)


def _vectors(field: DisplacementField) -> npt.NDArray[np.float32]:
    """View of a batch of one as ``(D, H, W, 3)``."""
    if field.displacement.shape[0] != 1:
        raise ValueError(f"one field can be written, not a batch of {field.displacement.shape[0]}")
    return field.displacement[0].detach().to("cpu", torch.float32).permute(1, 2, 3, 0).numpy()


def _field_image(field: DisplacementField) -> sitk.Image:
    return field.grid.to_image(np.ascontiguousarray(_vectors(field)), is_vector=True)


def _field_of(image: sitk.Image) -> DisplacementField:
    displacement = torch.empty((1, 3, *reversed(image.GetSize())))
    # From double precision without a copy in it, which is 24 bytes a voxel.
    np.copyto(displacement[0].numpy(), np.moveaxis(sitk.GetArrayViewFromImage(image), -1, 0), casting="same_kind")
    return DisplacementField(displacement, ImageGrid.from_image(image))


def _write_nifti(field: DisplacementField, path: PathLike) -> None:
    """SimpleITK writes vectors with intent 1007 and as they are: intent and RAS signs are set here."""
    image = _field_image(field)
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


def _check_text(path: Path) -> None:
    """ITK does not notice a full disk when it writes text; the last line that it writes are the fixed parameters."""
    with path.open("rb") as stream:
        stream.seek(max(path.stat().st_size - 65536, 0))
        end = stream.read()
    if b"FixedParameters:" not in end or not end.endswith(b"\n"):
        raise OSError(errno.ENOSPC, "the text ends early")


def _is_text(path: Path) -> bool:
    with path.open("rb") as stream:
        return b"\0" not in stream.read(4096)


def _read_itk(path: Path, is_text: bool) -> sitk.Transform:
    with itk_paths([path]) as files:
        if not is_text or check_text_transform(path):
            try:
                read_in_child(files[0], path.name)
            except BadInputError as error:
                raise refuse_by_content(path, error.detail) from error
        try:
            with heard_itk(path.name) as warnings:
                transform = sitk.ReadTransform(files[0])
                if any("more than one transform" in text for text in warnings):
                    raise several(path.name)
        except RuntimeError as error:
            raise refuse_by_content(path, str(error)) from error
    return transform


def _read_field(path: Path) -> sitk.Transform:
    check_file(path)
    niftyreg = check_field_direction(path)
    with opened_image(path) as reader:
        if reader.GetNumberOfComponents() != 3:
            raise BadInputError(
                _("{file} is no displacement field: it has {count} value(s) per voxel, not 3.").format(
                    file=path.name, count=reader.GetNumberOfComponents()
                )
            )
        reader.SetOutputPixelType(sitk.sitkVectorFloat64)
        image = execute(reader, path.name)
    if niftyreg is not None:
        image = _from_niftyreg(image, is_position=niftyreg == 0)
    vectors = sitk.GetArrayViewFromImage(image)
    if not np.isfinite(_largest(vectors)):
        raise BadInputError(_("{file} contains displacements that are not finite numbers.").format(file=path.name))
    if _holds_positions(vectors, ImageGrid.from_image(image)):
        raise BadInputError(
            _(
                "{file} seems to hold positions where displacements are needed (each vector grows with its "
                "own place); subtract the positions of the voxels first."
            ).format(file=path.name)
        )
    transform = sitk.DisplacementFieldTransform(image)
    _check_part(transform, path.name)
    return transform


def _from_niftyreg(image: sitk.Image, is_position: bool) -> sitk.Image:
    """NiftyReg's vectors are in RAS, which ITK takes as they are, and positions or displacements."""
    grid = ImageGrid.from_image(image)
    vectors = sitk.GetArrayFromImage(image) * (-1.0, -1.0, 1.0)
    if is_position:
        vectors -= _positions(grid)
    return grid.to_image(vectors, is_vector=True)


def _positions(grid: ImageGrid) -> npt.NDArray[np.float64]:
    """LPS positions of the voxel centers, ``(D, H, W, 3)``, mm."""
    z, y, x = np.meshgrid(*(np.arange(n, dtype=np.float64) for n in grid.shape), indexing="ij")
    return grid.to_physical(np.stack([x, y, z], axis=-1).reshape(-1, 3)).reshape(*grid.shape, 3)


def _holds_positions(vectors: npt.NDArray[np.float64], grid: ImageGrid) -> bool:
    """True if the vectors are about the voxels' own positions, in LPS or RAS: no deformation doubles or flips a body.

    The linear part of the vectors is compared with that of positions: the identity, or diag(-1, -1, 1).
    """
    step = tuple(max(1, n // 16) for n in grid.shape)
    sample = (slice(None, None, step[0]), slice(None, None, step[1]), slice(None, None, step[2]))
    positions = _positions(grid)[sample].reshape(-1, 3)
    centered = positions - positions.mean(axis=0)
    linear = np.linalg.lstsq(centered, vectors[sample].reshape(-1, 3), rcond=None)[0]
    return any(np.abs(linear - np.diag(signs)).max() < 0.3 for signs in ((1, 1, 1), (-1, -1, 1)))


def _largest(numbers: npt.NDArray) -> float:
    """The largest absolute value, not finite if one is not; 0 of none. Without a copy of what may be gigabytes."""
    return max(float(numbers.max()), -float(numbers.min())) if numbers.size else 0.0


def _check_part(part: sitk.Transform, name: str) -> None:
    """Refuse numbers that no body has: not finite, meters away, or a linear map without volume."""
    if part.GetTransformEnum() == sitk.sitkDisplacementField:
        numbers = sitk.GetArrayViewFromImage(sitk.DisplacementFieldTransform(part).GetDisplacementField())
    else:
        numbers = np.array([*part.GetParameters(), *part.GetFixedParameters()])
    farthest = _largest(numbers)
    if not np.isfinite(farthest):
        raise BadInputError(
            _("{name} contains numbers that are not finite; the transform cannot be used.").format(name=name)
        )
    if farthest > _MOST_MM:
        raise BadInputError(
            _("{name} moves points by {largest:.3g} mm; it is damaged, or its unit is not the millimeter.").format(
                name=name, largest=farthest
            )
        )
    if part.IsLinear():
        volume = float(np.linalg.det(_matrix_of(part)[:3, :3]))
        if not _LEAST_SCALE < abs(volume) < 1 / _LEAST_SCALE:
            raise BadInputError(
                _(
                    "{name} has an impossible linear map (it changes volumes by the factor {volume:.3g}); make "
                    "it anew."
                ).format(name=name, volume=volume)
            )
