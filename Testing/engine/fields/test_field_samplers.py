"""Fields that are read to be sampled: in single precision, as in double."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine.fields import (
    DisplacementField,
    read_sampler,
    read_transform,
    sampled_on,
    sampler,
    write_transform,
)

GRID = ImageGrid((40, 21, 9), (0.8, 1.1, 2.3), (10.0, -20.0, 30.0), (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0))


def _field(grid: ImageGrid) -> DisplacementField:
    generator = torch.Generator().manual_seed(0)
    return DisplacementField(30.0 * torch.randn((1, 3, *grid.shape), generator=generator), grid)


@pytest.mark.parametrize("name", ["f.h5", "f.nrrd", "f.mha", "f.nii.gz", "f.tfm"])
def test_a_field_is_read_in_single_precision_as_in_double(name: str, tmp_path: Path) -> None:
    field = _field(GRID)
    write_transform(field, tmp_path / name)
    grid = ImageGrid((9, 8, 7), (3.0, 2.0, 4.0), (12.0, -25.0, 28.0))
    expected = sampler(read_transform(tmp_path / name))(grid).displacement
    assert float(expected.abs().max()) > 10.0
    read = read_sampler(tmp_path / name)
    torch.testing.assert_close(read(grid).displacement, expected, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(sampled_on(grid, read).displacement, expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("number", [float("nan"), 1e9])
@pytest.mark.parametrize("name", ["f.h5", "f.nrrd"])
def test_numbers_that_no_body_has_are_refused(name: str, number: float, tmp_path: Path) -> None:
    field = _field(GRID)
    field.displacement[0, 1, 2, 3, 4] = number
    write_transform(field, tmp_path / name)
    with pytest.raises(BadInputError, match=r"not finite|moves points by"):
        read_sampler(tmp_path / name)
