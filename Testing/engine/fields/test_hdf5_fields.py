"""A field that is written and read plane by plane is the HDF5 transform that ITK writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine.fields import (
    DisplacementField,
    hdf5_fields,
    linear_transform,
    read_sampler,
    read_transform,
    sampler,
    transform_files,
    write_transform,
)
from DeepLargeDeformRegLib.engine.fields.hdf5_fields import read_hdf5_field

GRIDS = [
    ImageGrid((2, 3, 7), (1.0, 1.0, 1.0)),  # as large as the one that ITK writes
    ImageGrid((40, 21, 9), (0.8, 1.1, 2.3), (10.0, -20.0, 30.0), (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)),
    ImageGrid((6, 1, 1), (1.0, 2.0, 3.0), (-5.0, 0.0, 1e3)),
]


def _field(grid: ImageGrid) -> DisplacementField:
    generator = torch.Generator().manual_seed(0)
    return DisplacementField(30.0 * torch.randn((1, 3, *grid.shape), generator=generator), grid)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("known", [True, False])
def test_itk_reads_what_it_would_have_written(
    grid: ImageGrid, known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where ITK lays out its files in another way, and writes them itself."""
    field = _field(grid)
    expected = transform_files.to_sitk(field)
    if known:
        monkeypatch.setattr(transform_files, "to_sitk", None)  # not called
        monkeypatch.setattr(hdf5_fields, "_SLAB_NUMBERS", 7 * grid.size[0])  # few planes at a time
    else:
        monkeypatch.setattr(hdf5_fields, "_SUPERBLOCK", b"another")
    write_transform(field, tmp_path / "f.h5")
    assert [one.name for one in tmp_path.iterdir()] == ["f.h5"]
    read = sitk.DisplacementFieldTransform(sitk.ReadTransform(str(tmp_path / "f.h5")))
    assert read.GetFixedParameters() == expected.GetFixedParameters()
    ours, theirs = (sitk.GetArrayFromImage(one.GetDisplacementField()) for one in (read, expected))
    np.testing.assert_array_equal(ours, theirs)
    first = (tmp_path / "f.h5").read_bytes()
    monkeypatch.undo()
    write_transform(field, tmp_path / "f.h5")
    if known:
        assert (tmp_path / "f.h5").read_bytes() == first, "no time of writing in it"


@pytest.mark.parametrize("name", ["f.h5", "f.nrrd", "f.mha", "f.nii.gz", "f.tfm"])
def test_a_field_is_read_in_single_precision_as_in_double(name: str, tmp_path: Path) -> None:
    field = _field(GRIDS[1])
    write_transform(field, tmp_path / name)
    grid = ImageGrid((9, 8, 7), (3.0, 2.0, 4.0), (12.0, -25.0, 28.0))
    expected = sampler(read_transform(tmp_path / name))(grid).displacement
    assert float(expected.abs().max()) > 10.0
    torch.testing.assert_close(read_sampler(tmp_path / name)(grid).displacement, expected, atol=1e-4, rtol=1e-5)


def test_only_files_written_here_are_read_here(tmp_path: Path) -> None:
    """All others are left to ITK, damaged ones, too, for its words."""
    field = _field(GRIDS[1])
    ours, path = tmp_path / "ours.h5", tmp_path / "f.h5"
    write_transform(field, ours)
    read = read_hdf5_field(ours)
    assert read is not None
    assert torch.equal(read.displacement, field.displacement)
    np.testing.assert_allclose(read.grid.index_to_physical, field.grid.index_to_physical, atol=1e-12)
    whole = ours.read_bytes()
    sitk.WriteTransform(transform_files.to_sitk(field), str(path))
    assert read_hdf5_field(path) is None
    write_transform(linear_transform(np.eye(4)), path)
    assert read_hdf5_field(path) is None
    two = sitk.CompositeTransform([linear_transform(np.eye(4)), transform_files.to_sitk(field)])
    sitk.WriteTransform(two, str(path))
    assert read_hdf5_field(path) is None
    for damaged in (whole[:-8], whole[:3000], b"", whole[:100] + b"?" + whole[101:], whole + bytes(8)):
        path.write_bytes(damaged)
        assert read_hdf5_field(path) is None


@pytest.mark.parametrize("number", [float("nan"), 1e9])
@pytest.mark.parametrize("name", ["f.h5", "f.nrrd"])
def test_numbers_that_no_body_has_are_refused(name: str, number: float, tmp_path: Path) -> None:
    field = _field(GRIDS[1])
    field.displacement[0, 1, 2, 3, 4] = number
    write_transform(field, tmp_path / name)
    with pytest.raises(BadInputError, match=r"not finite|moves points by"):
        read_sampler(tmp_path / name)
