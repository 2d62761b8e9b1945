"""A field that is written plane by plane is the HDF5 transform that ITK writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine.fields import DisplacementField, hdf5_fields, transform_files, write_transform

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
