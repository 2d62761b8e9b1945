"""Transforms: the engine, SimpleITK and (in test_slicer.py) Slicer understand the same files in the same way."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import Volume
from DeepLargeDeformRegLib.engine.fields import (
    DisplacementField,
    as_tensor,
    from_affine,
    linear_matrix,
    linear_transform,
    read_transform,
    to_field,
    transform_points,
    warp,
    write_transform,
)

from .conftest import FIELD_FILES, inner_points, write_meta, write_nrrd

AFFINE = np.array([[1.1, 0.2, -0.1, 12.0], [-0.1, 0.9, 0.05, -30.0], [0.0, 0.1, 1.05, 4.0], [0, 0, 0, 1]])


@pytest.mark.parametrize("name", FIELD_FILES)
def test_field_points_and_image_agree_with_simpleitk(
    tmp_path: Path, smooth_field: DisplacementField, moving: Volume, name: str
) -> None:
    path = tmp_path / name
    write_transform(smooth_field, path)
    assert [one.name for one in tmp_path.iterdir()] == [name]
    transform = read_transform(path)
    positions = inner_points(smooth_field.grid)
    ours = transform_points(smooth_field, torch.from_numpy(positions)).numpy()
    theirs = np.array([transform.TransformPoint(point) for point in positions.tolist()])
    assert np.abs(ours - theirs).max() < 1e-3 * smooth_field.displacement.abs().max()

    reference = smooth_field.grid.to_image(np.zeros(smooth_field.grid.shape, np.float32))
    resampled = sitk.GetArrayFromImage(sitk.Resample(moving.to_image(), reference, transform, sitk.sitkLinear))
    warped = warp(as_tensor(moving), moving.grid, smooth_field)[0, 0].numpy()
    assert np.abs(warped - resampled).max() < 1e-3 * np.ptp(moving.array)

    again = to_field(transform, smooth_field.grid)
    torch.testing.assert_close(again.displacement, smooth_field.displacement, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["f.nrrd", "f.mha", "f.nii.gz"])
def test_image_of_the_field_is_what_plain_simpleitk_needs(
    tmp_path: Path, smooth_field: DisplacementField, name: str
) -> None:
    """A user without this library reads the file with two calls of SimpleITK."""
    write_transform(smooth_field, tmp_path / name)
    image = sitk.ReadImage(str(tmp_path / name), sitk.sitkVectorFloat64)
    vectors = sitk.GetArrayFromImage(image)
    np.testing.assert_allclose(vectors, smooth_field.displacement[0].permute(1, 2, 3, 0).numpy(), atol=1e-5)
    assert sitk.ReadImage(str(tmp_path / name)).GetPixelID() == sitk.sitkVectorFloat32


def test_nifti_field_says_what_it_is(tmp_path: Path, smooth_field: DisplacementField) -> None:
    write_transform(smooth_field, tmp_path / "f.nii.gz")
    content = gzip.decompress((tmp_path / "f.nii.gz").read_bytes())
    assert struct.unpack_from("<h", content, 68) == (1006,)
    assert struct.unpack_from("<8h", content, 40)[:6] == (5, *smooth_field.grid.size, 1, 3)
    first = [np.frombuffer(content, "<f4", 1, 352 + 4 * k * np.prod(smooth_field.grid.size))[0] for k in range(3)]
    x, y, z = smooth_field.displacement[0, :, 0, 0, 0].tolist()
    np.testing.assert_allclose(first, (-x, -y, z), rtol=1e-6)


def test_size_of_the_files(tmp_path: Path, smooth_field: DisplacementField) -> None:
    """What the documentation of the module says of the formats."""
    floats = smooth_field.displacement.numel() * 4
    sizes = {}
    for name in FIELD_FILES:
        write_transform(smooth_field, tmp_path / name)
        sizes[name] = (tmp_path / name).stat().st_size / floats
    assert 2.0 < sizes["f.h5"] < 2.2
    assert 4.0 < sizes["f.tfm"] < 6.0
    assert all(sizes[name] < 1.0 for name in ("f.nrrd", "f.mha", "f.nii.gz"))


@pytest.mark.parametrize("name", ["a.tfm", "a.txt", "a.mat", "a.h5"])
def test_linear_transform_is_read(tmp_path: Path, oblique_grid: ImageGrid, name: str) -> None:
    transform = linear_transform(AFFINE)
    transform.SetCenter((0.0, 0.0, 0.0))
    sitk.WriteTransform(transform, str(tmp_path / name))
    found = read_transform(tmp_path / name)
    np.testing.assert_allclose(linear_matrix(found), AFFINE, atol=1e-10)
    expected = from_affine(AFFINE, oblique_grid)
    torch.testing.assert_close(to_field(found, oblique_grid).displacement, expected.displacement)


def test_center_of_rotation_counts() -> None:
    rigid = sitk.Euler3DTransform((10.0, 20.0, -30.0), 0.2, -0.1, 0.4, (5.0, 6.0, 7.0))
    matrix = linear_matrix(rigid)
    assert matrix is not None
    for point in ((0.0, 0.0, 0.0), (100.0, -50.0, 25.0)):
        np.testing.assert_allclose(matrix[:3, :3] @ point + matrix[:3, 3], rigid.TransformPoint(point), atol=1e-9)


def test_composite_of_all_kinds_is_one_field(tmp_path: Path, smooth_field: DisplacementField) -> None:
    """Translation, B-spline, field, rigid: nested or not, as SimpleITK has it where no point leaves the field."""
    grid = smooth_field.grid
    write_transform(smooth_field, tmp_path / "f.nrrd")
    spline = sitk.BSplineTransformInitializer(grid.to_image(np.zeros(grid.shape, np.float32)), [3, 3, 3])
    rng = np.random.default_rng(3)
    spline.SetParameters(rng.normal(scale=1.5, size=len(spline.GetParameters())).tolist())
    rigid = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.1, 0.0, 0.05, (2.0, -3.0, 1.0))
    near = np.eye(4)
    near[:3, 3] = (1.0, -1.5, 2.0)
    inner = sitk.CompositeTransform([read_transform(tmp_path / "f.nrrd"), spline])
    composite = sitk.CompositeTransform([rigid, inner, linear_transform(near)])
    flat = sitk.CompositeTransform(
        [rigid, inner.GetNthTransform(0), inner.GetNthTransform(1), linear_transform(near)]
    )
    sitk.WriteTransform(flat, str(tmp_path / "c.h5"))
    middle = grid.cropped((6, 6, 6), (8, 10, 6))
    expected = sitk.GetArrayFromImage(
        sitk.TransformToDisplacementField(
            composite, sitk.sitkVectorFloat64, middle.size, middle.origin, middle.spacing, middle.direction
        )
    )
    for transform in (composite, read_transform(tmp_path / "c.h5")):
        field = to_field(transform, middle)
        np.testing.assert_allclose(field.displacement[0].permute(1, 2, 3, 0).numpy(), expected, atol=2e-4)
        assert linear_matrix(transform) is None


def test_field_continues_beyond_its_grid(tmp_path: Path, oblique_grid: ImageGrid) -> None:
    constant = torch.tensor([5.0, -7.0, 11.0]).reshape(1, 3, 1, 1, 1)
    shift = DisplacementField(constant.expand(1, 3, *oblique_grid.shape), oblique_grid)
    write_transform(shift, tmp_path / "f.nrrd")
    wider = oblique_grid.padded((4, 3, 2), (5, 6, 7))
    field = to_field(read_transform(tmp_path / "f.nrrd"), wider)
    torch.testing.assert_close(field.displacement, constant.expand(1, 3, *wider.shape))


def test_any_transform_is_written_as_itk_transform(tmp_path: Path) -> None:
    for name in ("a.tfm", "a.h5"):
        write_transform(linear_transform(AFFINE), tmp_path / name)
        np.testing.assert_allclose(linear_matrix(read_transform(tmp_path / name)), AFFINE, atol=1e-10)
    with pytest.raises(BadInputError, match="displacement field only"):
        write_transform(linear_transform(AFFINE), tmp_path / "a.nrrd")
    with pytest.raises(BadInputError, match="must end in"):
        write_transform(linear_transform(AFFINE), tmp_path / "a.txt")
    field = from_affine(AFFINE, ImageGrid.axis_aligned((8, 8, 8), (1, 1, 1)))
    two = DisplacementField(field.displacement.expand(2, -1, -1, -1, -1), field.grid)
    with pytest.raises(ValueError, match="batch of 2"):
        write_transform(two, tmp_path / "a.nrrd")


def test_file_that_is_no_transform_is_refused(
    tmp_path: Path, voxels: np.ndarray, smooth_field: DisplacementField, capfd: pytest.CaptureFixture[str]
) -> None:
    vectors = np.repeat(voxels, 3)
    vectors[17] = np.nan
    write_meta(tmp_path / "scan.mha", voxels.tobytes())
    directions, kinds = "none (1.5,0,0) (0,2,0) (0,0,2.5)", "vector domain domain domain"
    write_nrrd(tmp_path / "nan.nrrd", vectors.astype("f4").tobytes(), "3 12 11 10", directions, kinds)
    (tmp_path / "elastix.txt").write_text('(Transform "EulerTransform")\n(NumberOfParameters 6)\n')
    (tmp_path / "text.tfm").write_text("hello")
    (tmp_path / "empty.h5").write_bytes(b"")
    (tmp_path / "noise.h5").write_bytes(b"hello" * 100)
    sitk.WriteTransform(sitk.Euler2DTransform(), str(tmp_path / "flat.tfm"))
    broken = linear_transform(AFFINE)
    broken.SetTranslation((float("nan"), 0.0, 0.0))
    sitk.WriteTransform(broken, str(tmp_path / "broken.h5"))
    (tmp_path / "a.png").write_bytes(b"x")
    for name, words in {
        "scan.mha": "1 value",
        "nan.nrrd": "not finite",
        "elastix.txt": "elastix",
        "text.tfm": "no ITK transform",
        "empty.h5": "empty",
        "noise.h5": "no ITK transform",
        "flat.tfm": "2D transform",
        "broken.h5": "not finite",
        "a.png": "no transform file",
        "missing.h5": "no file",
    }.items():
        capfd.readouterr()
        with pytest.raises(BadInputError, match=words) as caught:
            read_transform(tmp_path / name)
        assert "\n" not in caught.value.message
        assert name in caught.value.message
