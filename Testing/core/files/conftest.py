"""Files written byte by byte, as broken or unusual ones reach a user, and an oblique anisotropic grid."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import Volume
from DeepLargeDeformRegLib.engine.fields import DisplacementField
from scipy.ndimage import gaussian_filter

SIZE = (12, 11, 10)  # x, y, z
SFORM = ((1.5, 0, 0, 5), (0, 2, 0, 6), (0, 0, 2.5, 7))


@pytest.fixture(scope="session")
def oblique_grid() -> ImageGrid:
    """A rotated, anisotropic grid of 20 x 24 x 18 voxels."""
    rotation = sitk.Euler3DTransform()
    rotation.SetRotation(0.3, -0.2, 0.5)
    return ImageGrid((20, 24, 18), (1.2, 2.1, 3.3), (-30.0, 12.0, 55.0), rotation.GetMatrix())


@pytest.fixture(scope="session")
def voxels() -> npt.NDArray[np.float32]:
    """Noise of shape (10, 11, 12)."""
    return np.random.default_rng(0).normal(size=SIZE[::-1]).astype(np.float32)


def write_nifti(
    path: Path,
    data: bytes,
    size: Sequence[int] = SIZE,
    spacing: Sequence[float] = (1.5, 2, 2.5),
    sform: Sequence[Sequence[float]] | None = SFORM,
    datatype: tuple[int, int] = (16, 32),
    order: str = "<",
) -> None:
    """NIfTI file with exactly these header fields; ``datatype`` is code and bits per voxel."""
    dim = [len(size), *size, *[1] * (7 - len(size))]
    pixdim = [1.0, *spacing, *[1.0] * (7 - len(spacing))]
    code = 0 if sform is None else 2
    rows = np.zeros(12) if sform is None else np.array(sform, dtype=float).ravel()
    header = bytearray(352)
    struct.pack_into(order + "i", header, 0, 348)
    struct.pack_into(order + "8h", header, 40, *dim)
    struct.pack_into(order + "2h", header, 70, *datatype)
    struct.pack_into(order + "8f", header, 76, *pixdim)
    struct.pack_into(order + "3f", header, 108, 352, 1, 0)
    header[123] = 2  # mm
    struct.pack_into(order + "2h", header, 252, 0, code)
    struct.pack_into(order + "12f", header, 280, *rows)
    header[344:348] = b"n+1\0"
    content = bytes(header) + data
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)


def write_nrrd(
    path: Path,
    data: bytes,
    sizes: str = "12 11 10",
    directions: str = "(1.5,0,0) (0,2,0) (0,0,2.5)",
    kinds: str = "domain domain domain",
    extra: str = "",
    element: str = "float",
) -> None:
    """Raw NRRD file with exactly these header fields."""
    header = (
        f"NRRD0004\ntype: {element}\ndimension: {len(sizes.split())}\nspace: left-posterior-superior\n"
        f"sizes: {sizes}\nspace directions: {directions}\nkinds: {kinds}\nendian: little\nencoding: raw\n"
        f"space origin: (1,2,3)\n{extra}\n"
    )
    path.write_bytes(header.encode() + data)


def write_meta(
    path: Path,
    data: bytes,
    size: str = "12 11 10",
    spacing: str = "1.5 2 2.5",
    matrix: str = "1 0 0 0 1 0 0 0 1",
    extra: str = "",
    data_file: str = "LOCAL",
    element: str = "MET_FLOAT",
) -> None:
    """MetaImage file with exactly these header fields."""
    axes = len(size.split())
    header = (
        f"ObjectType = Image\nNDims = {axes}\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        f"CompressedData = False\nTransformMatrix = {matrix}\nOffset = {' '.join('0' * axes)}\n"
        f"ElementSpacing = {spacing}\nDimSize = {size}\n{extra}ElementType = {element}\n"
        f"ElementDataFile = {data_file}\n"
    )
    path.write_bytes(header.encode() + data)


FIELD_FILES = ("f.h5", "f.tfm", "f.nrrd", "f.mha", "f.nii.gz")


@pytest.fixture(scope="session")
def smooth_field(oblique_grid: ImageGrid) -> DisplacementField:
    """Displacements of up to some 15 mm that differ between neighbors, on the oblique grid."""
    noise = np.random.default_rng(0).normal(size=(3, *oblique_grid.shape))
    smooth = gaussian_filter(noise, (0, 2.5, 2.5, 2.5))
    return DisplacementField(torch.from_numpy((smooth / smooth.std() * 5).astype(np.float32))[None], oblique_grid)


@pytest.fixture(scope="session")
def moving(oblique_grid: ImageGrid) -> Volume:
    """A scan on another grid that covers the field's image with room to spare."""
    low, high = oblique_grid.corners.min(axis=0) - 30, oblique_grid.corners.max(axis=0) + 30
    size = np.ceil((high - low) / (2.0, 1.7, 2.6)).astype(int)
    grid = ImageGrid.axis_aligned(size.tolist(), (2.0, 1.7, 2.6), low.tolist())
    noise = np.random.default_rng(5).normal(size=grid.shape)
    return Volume((gaussian_filter(noise, 2) * 1000).astype(np.float32), grid)


def inner_points(grid: ImageGrid, count: int = 200) -> npt.NDArray[np.float64]:
    """Random LPS positions between the voxel centers of a grid."""
    index = np.random.default_rng(9).uniform(size=(count, 3)) * (np.array(grid.size) - 1)
    return grid.to_physical(index)
