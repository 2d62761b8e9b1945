"""Uncompressed NRRD straight from memory: SimpleITK reads the same voxels in the same place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from DeepLargeDeformRegLib.core.errors import OutputError
from DeepLargeDeformRegLib.core.files import read_volume, write_volume
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import Volume
from DeepLargeDeformRegLib.engine.fields import DisplacementField, write_transform

ANGLE = 0.3
ROTATED = (np.cos(ANGLE), -np.sin(ANGLE), 0.0, np.sin(ANGLE), np.cos(ANGLE), 0.0, 0.0, 0.0, 1.0)
GRID = ImageGrid((9, 10, 11), (0.7, 1.3, 2.1), (-17.25, 1e-3, 1 / 3), ROTATED)


def same_image(first: Path, second: Path) -> bool:
    one, two = sitk.ReadImage(str(first)), sitk.ReadImage(str(second))
    for image in (one, two):
        np.testing.assert_allclose(image.GetOrigin(), GRID.origin, atol=1e-12)
        np.testing.assert_allclose(image.GetSpacing(), GRID.spacing, atol=1e-12)
        np.testing.assert_allclose(image.GetDirection(), GRID.direction, atol=1e-12)
    assert one.GetPixelID() == two.GetPixelID()
    return bool((sitk.GetArrayViewFromImage(one) == sitk.GetArrayViewFromImage(two)).all())


@pytest.mark.parametrize("layout", ["contiguous", "transposed"])
def test_a_volume_is_that_of_simpleitk(layout: str, tmp_path: Path) -> None:
    array = np.random.default_rng(1).normal(size=GRID.shape).astype(np.float32)
    if layout == "transposed":
        array = np.asfortranarray(array)
    volume = Volume(array, GRID)
    write_volume(volume, tmp_path / "raw.nrrd", compress=False)
    write_volume(volume, tmp_path / "zipped.nrrd", compress=True)
    assert same_image(tmp_path / "raw.nrrd", tmp_path / "zipped.nrrd")
    again = read_volume(tmp_path / "raw.nrrd")
    assert (again.array == array).all()
    assert again.grid.same_geometry(GRID, tolerance=1e-9)


def test_a_field_is_that_of_simpleitk(tmp_path: Path) -> None:
    """Long enough for several slabs."""
    size = (64, 60, 40)
    grid = ImageGrid(size, GRID.spacing, GRID.origin, GRID.direction)
    generator = torch.Generator().manual_seed(1)
    field = DisplacementField(torch.randn((1, 3, *grid.shape), generator=generator), grid)
    write_transform(field, tmp_path / "raw.nrrd", compress=False)
    write_transform(field, tmp_path / "zipped.nrrd", compress=True)
    assert same_image(tmp_path / "raw.nrrd", tmp_path / "zipped.nrrd")
    image = sitk.ReadImage(str(tmp_path / "raw.nrrd"))
    np.testing.assert_array_equal(image[5, 7, 9], field.displacement[0, :, 9, 7, 5].numpy())


def test_a_full_disk_is_called_so(tmp_path: Path) -> None:
    """/dev/full refuses every write, as a full disk does."""
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full of Linux")
    from DeepLargeDeformRegLib.core.files.common import written_whole
    from DeepLargeDeformRegLib.core.raw_nrrd import write_raw_nrrd

    with pytest.raises(OutputError, match="the disk is full"), written_whole(tmp_path / "scan.nrrd"):
        write_raw_nrrd(np.zeros(GRID.shape), GRID.spacing, GRID.origin, GRID.direction, Path("/dev/full"))
    assert list(tmp_path.iterdir()) == []
