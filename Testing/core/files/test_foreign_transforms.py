"""Transforms of other programs: direction and convention count, or the file is refused by its own name."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine.fields import DisplacementField, linear_matrix, read_transform, write_transform

HEADER = "#Insight Transform File V1.0\n"
AFFINE = "#Transform {}\nTransform: {}_double_3_3\nParameters: {}\nFixedParameters: 0 0 0\n"
SHIFT = "1 0 0 0 1 0 0 0 1 4 -2 3"


@pytest.mark.parametrize("kind", ["AffineTransform", "MatrixOffsetTransformBase"])
def test_matrix_of_ants_and_c3d_is_applied(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.txt").write_text(HEADER + AFFINE.format(0, kind, SHIFT))
    transform = read_transform(tmp_path / "a.txt")
    np.testing.assert_allclose(transform.TransformPoint((0.0, 0.0, 0.0)), (4, -2, 3))
    assert linear_matrix(transform) is not None


def test_list_of_transforms_is_refused_and_a_composite_is_applied(tmp_path: Path) -> None:
    two = AFFINE.format(0, "AffineTransform", SHIFT) + AFFINE.format(1, "AffineTransform", "1 0 0 0 1 0 0 0 1 10 0 0")
    (tmp_path / "a.tfm").write_text(HEADER + two)
    with pytest.raises(BadInputError, match="holds 2 transforms one after another"):
        read_transform(tmp_path / "a.tfm")
    parts = [sitk.TranslationTransform(3, offset) for offset in ((4.0, -2.0, 3.0), (10.0, 0.0, 0.0))]
    for name in ("c.tfm", "c.h5"):
        sitk.WriteTransform(sitk.CompositeTransform(parts), str(tmp_path / name))
        np.testing.assert_allclose(read_transform(tmp_path / name).TransformPoint((0.0, 0.0, 0.0)), (14, -2, 3))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.tfm", HEADER + AFFINE.format(0, "InverseBSplineTransform", SHIFT), "inverse transform of 3D Slicer"),
        ("a.tfm", HEADER + AFFINE.format(0, "ThinPlateSplineKernelTransform", SHIFT), "thin-plate spline"),
        ("a.mat", "1 0 0 4\n0 1 0 -2\n0 0 1 3\n0 0 0 1\n", r"FSL .*c3d_affine_tool"),
        ("a.txt", "1 0 0 4\n0 1 0 -2\n0 0 1 3\n", "plain matrix"),
        ("a.tfm", HEADER + AFFINE.format(0, "AffineTransform", "1 0 0 0 1 0 0 0 0 4 -2 3"), "impossible linear map"),
        ("a.tfm", HEADER + AFFINE.format(0, "AffineTransform", "1 0 0 0 1 0 0 0 1 4e9 -2 3"), "4e\\+09 mm"),
        ("a.tfm", HEADER + AFFINE.format(0, "AffineTransform", "1 0 0 0 1 0 0 0 1 nan -2 3"), "not finite"),
        ("a.tfm", HEADER + AFFINE.format(0, "AffineTransform", "1 0 0"), "incomplete"),
        ("a.tfm", HEADER + AFFINE.format(0, "AffineTransform", SHIFT + "9" * 100000), "incomplete"),
        ("a.tfm", HEADER + AFFINE.format(0, "NoSuchTransform", SHIFT), "damaged or holds no ITK transform"),
        ("a.xfm", "MNI Transform File\n", "no transform file"),
    ],
)
def test_what_is_no_usable_transform_is_named(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(BadInputError, match=words):
        read_transform(tmp_path / name)


@pytest.mark.parametrize("size", ["-4 4 4", "100000 100000 100000", "4 4 5", "4.5 4 4"])
def test_spline_of_another_size_than_its_parameters_is_refused(tmp_path: Path, size: str) -> None:
    """ITK aborts on such headers, or allocates what they say."""
    fixed = f"{size} 0 0 0 10 10 10 1 0 0 0 1 0 0 0 1"
    spline = f"Transform: BSplineTransform_double_3_3\nParameters: {'0 ' * 192}\nFixedParameters: {fixed}\n"
    text = f"{HEADER}#Transform 0\n{spline}"
    (tmp_path / "a.tfm").write_text(text)
    if size == "4.5 4 4":
        read_transform(tmp_path / "a.tfm")  # ITK takes the whole part
        return
    with pytest.raises(BadInputError, match="incomplete"):
        read_transform(tmp_path / "a.tfm")


@pytest.mark.parametrize("seed", range(4))
def test_damaged_hdf5_never_ends_this_process(tmp_path: Path, smooth_field: DisplacementField, seed: int) -> None:
    write_transform(smooth_field, tmp_path / "a.h5")
    content = bytearray((tmp_path / "a.h5").read_bytes())
    rng = np.random.default_rng(seed)
    for place in rng.integers(0, 4096, 40):
        content[place] = rng.integers(0, 256)
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(BadInputError, match=r"a\.h5"):
        read_transform(tmp_path / "a.h5")


def as_nrrd(path: Path, field: DisplacementField, line: bytes, space: bytes = b"left-posterior-superior") -> None:
    write_transform(field, path, compress=False)
    content = path.read_bytes().replace(b"space: left-posterior-superior", b"space: " + space)
    head, voxels = content.split(b"\n\n", 1)
    path.write_bytes(head + b"\n" + line + b"\n\n" + voxels)


@pytest.mark.parametrize(
    ("line", "space", "words"),
    [
        (b"displacement field type:=modeling", b"left-posterior-superior", "maps the other way"),
        (b"# nothing", b"right-anterior-superior", "only LPS is read"),
        (b"measurement frame: (-1,0,0) (0,-1,0) (0,0,1)", b"left-posterior-superior", "measurement frame"),
    ],
)
def test_field_of_another_direction_or_convention_is_refused(
    tmp_path: Path, smooth_field: DisplacementField, line: bytes, space: bytes, words: str
) -> None:
    as_nrrd(tmp_path / "a.nrrd", smooth_field, line, space)
    with pytest.raises(BadInputError, match=words):
        read_transform(tmp_path / "a.nrrd")


def test_field_that_says_resampling_is_read(tmp_path: Path, smooth_field: DisplacementField) -> None:
    as_nrrd(tmp_path / "a.nrrd", smooth_field, b"displacement field type:=resampling")
    transform = read_transform(tmp_path / "a.nrrd")
    point = smooth_field.grid.to_physical((5, 6, 7))
    moved = np.array(transform.TransformPoint(point.tolist())) - point
    np.testing.assert_allclose(moved, smooth_field.displacement[0, :, 7, 6, 5], atol=1e-4)


@pytest.mark.parametrize("kind", range(5))
def test_fields_of_niftyreg(tmp_path: Path, smooth_field: DisplacementField, kind: int) -> None:
    """NiftyReg's vectors are RAS, its deformation fields positions; only intent name and first parameter say so."""
    write_transform(smooth_field, tmp_path / "a.nii.gz")  # RAS vectors, intent 1006
    content = bytearray(gzip.decompress((tmp_path / "a.nii.gz").read_bytes()))
    struct.pack_into("<f", content, 56, kind)
    struct.pack_into("<h", content, 68, 1007)
    content[328:344] = b"NREG_TRANS".ljust(16, b"\0")
    if kind == 0:
        grid = smooth_field.grid
        shape = (3, *grid.shape)
        vectors = np.frombuffer(bytes(content), "<f4", offset=352).reshape(shape).copy()
        index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij")[::-1], axis=-1)
        positions = grid.to_physical(index.reshape(-1, 3)).reshape(*grid.shape, 3) * (-1, -1, 1)
        vectors += np.moveaxis(positions, -1, 0).astype(np.float32)
        content[352:] = vectors.astype("<f4").tobytes()
    (tmp_path / "b.nii").write_bytes(content)
    if kind > 1:
        with pytest.raises(BadInputError, match="of NiftyReg"):
            read_transform(tmp_path / "b.nii")
        return
    transform = read_transform(tmp_path / "b.nii")
    point = smooth_field.grid.to_physical((5, 6, 7))
    moved = np.array(transform.TransformPoint(point.tolist())) - point
    np.testing.assert_allclose(moved, smooth_field.displacement[0, :, 7, 6, 5], atol=1e-3)


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1)])
def test_field_of_positions_without_a_mark_is_refused(tmp_path: Path, signs: tuple[int, int, int]) -> None:
    grid = ImageGrid.axis_aligned((12, 12, 12), (3, 3, 3), (-20, -15, 40))
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij")[::-1], axis=-1)
    positions = grid.to_physical(index.reshape(-1, 3)).reshape(*grid.shape, 3) * signs
    sitk.WriteImage(grid.to_image(positions.astype(np.float32), is_vector=True), str(tmp_path / "a.nii.gz"))
    with pytest.raises(BadInputError, match="seems to hold positions"):
        read_transform(tmp_path / "a.nii.gz")
