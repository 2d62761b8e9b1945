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
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import torch

from ...core.errors import BadInputError
from ...core.files.child import read_in_child
from ...core.files.common import PathLike, check_output, check_regular, ending, written_whole
from ...core.files.hdf5_times import clear_times
from ...core.files.itk import heard_itk, itk_output, itk_paths
from ...core.files.transform_headers import check_text_transform, refuse_by_content, several
from ...core.geometry import ImageGrid
from ...core.sentences import marked as _
from .field import DisplacementField, compose, from_affine, identity
from .field_images import field_image, field_of, largest_number, read_field_image, write_field_image
from .slabs import by_slabs

FIELD_ENDINGS = (".nrrd", ".mha", ".nii.gz", ".nii")
TRANSFORM_ENDINGS = (".h5", ".tfm", *FIELD_ENDINGS)

_READ_AS_IMAGE = (*FIELD_ENDINGS, ".mhd", ".nhdr")
_READ_AS_TRANSFORM = (".h5", ".hdf5", ".tfm", ".txt", ".mat")
_MOST_NESTED = 8  # composites within composites
_MOST_MM = 1e5  # 100 m
_LEAST_SCALE = 1e-3  # of volumes: no two bodies differ by more


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
        write_field_image(transform, path, compress)
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
        field = sitk.DisplacementFieldTransform(read_field_image(path))
        _check_part(field, path.name)
        return field
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


def read_sampler(path: PathLike) -> Callable[[ImageGrid], DisplacementField]:
    """As ``sampler(read_transform(path))``; a field in an image never takes the memory of double precision."""
    path = Path(path)
    check_regular(path)
    if ending(path) not in _READ_AS_IMAGE:
        return sampler(read_transform(path))
    field = field_of(read_field_image(path, sitk.sitkVectorFloat32))
    _check_numbers(field.displacement.numpy(), path.name)
    return _composed([field])


def to_field(
    transform: sitk.Transform, grid: ImageGrid, device: torch.device | str | None = None
) -> DisplacementField:
    """Displacements of any transform at the voxel centers of a grid, float32, batch of one.

    Displacement fields in the transform continue beyond their own grids with the border's displacement.
    """
    field = sampled_on(grid, sampler(transform))
    return field if device is None else field.to(device)


def sampled_on(grid: ImageGrid, sampled: Callable[[ImageGrid], DisplacementField]) -> DisplacementField:
    """What :func:`sampler` or :func:`read_sampler` gives at all voxel centers of a grid, made slab by slab."""
    return DisplacementField(by_slabs(grid, torch.empty(0), lambda part, _: sampled(part).displacement), grid)


def sampler(transform: sitk.Transform) -> Callable[[ImageGrid], DisplacementField]:
    """What gives the displacements of a transform on any grid, as :func:`to_field`: a large one slab by slab."""
    return _composed(
        [
            field_of(sitk.DisplacementFieldTransform(part).GetDisplacementField())
            if part.GetTransformEnum() == sitk.sitkDisplacementField
            else part
            for part in reversed(_parts(transform))  # ITK applies the last one first
        ]
    )


def _composed(steps: Sequence[DisplacementField | sitk.Transform]) -> Callable[[ImageGrid], DisplacementField]:
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
    return sitk.DisplacementFieldTransform(sitk.Cast(field_image(field), sitk.sitkVectorFloat64))


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
    return field_of(image)


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


def _check_part(part: sitk.Transform, name: str) -> None:
    """Refuse numbers that no body has: not finite, meters away, or a linear map without volume."""
    if part.GetTransformEnum() == sitk.sitkDisplacementField:
        numbers = sitk.GetArrayViewFromImage(sitk.DisplacementFieldTransform(part).GetDisplacementField())
    else:
        numbers = np.array([*part.GetParameters(), *part.GetFixedParameters()])
    _check_numbers(numbers, name)
    if part.IsLinear():
        volume = float(np.linalg.det(_matrix_of(part)[:3, :3]))
        if not _LEAST_SCALE < abs(volume) < 1 / _LEAST_SCALE:
            raise BadInputError(
                _(
                    "{name} has an impossible linear map (it changes volumes by the factor {volume:.3g}); make "
                    "it anew."
                ).format(name=name, volume=volume)
            )


def _check_numbers(numbers: npt.NDArray, name: str) -> None:
    """Refuse what is not finite or meters away."""
    farthest = largest_number(numbers)
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
