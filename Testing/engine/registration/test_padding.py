"""Slabs of one value around a cropped scan are no part of it; air around a body is."""

from __future__ import annotations

import numpy as np
import pytest
from DeepLargeDeformRegLib.core.files import read_volume
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import Pair, Scan, Volume
from DeepLargeDeformRegLib.core.settings import RegistrationSettings
from DeepLargeDeformRegLib.engine.fields import as_tensor
from DeepLargeDeformRegLib.engine.registration.padding import without_padding
from DeepLargeDeformRegLib.engine.registration.pipeline import RegistrationRequest, register
from DeepLargeDeformRegLib.resources import SAMPLE_CASE
from torch.nn.functional import avg_pool3d


def padded(volume: Volume, before: tuple[int, int, int], after: tuple[int, int, int], value: float) -> Volume:
    """Slabs around a scan, given along (x, y, z)."""
    widths = list(zip(before, after, strict=True))[::-1]
    array = np.pad(volume.array, widths, constant_values=value)
    return Volume(array, volume.grid.padded(before, after))


@pytest.fixture
def crop() -> Volume:
    array = np.random.default_rng(0).uniform(1.0, 9.0, (6, 8, 10)).astype(np.float32)
    return Volume(array, ImageGrid((10, 8, 6), (1.0, 2.0, 3.0), (5.0, -7.0, 11.0), (-1, 0, 0, 0, 0, 1, 0, 1, 0)))


@pytest.mark.parametrize(
    ("before", "after"),
    [((3, 2, 2), (4, 5, 6)), ((0, 0, 4), (0, 0, 0)), ((0, 0, 0), (2, 0, 3)), ((0, 0, 0), (0, 0, 0))],
)
@pytest.mark.parametrize("value", [0.0, -1024.0])
def test_padding_is_taken_off(
    crop: Volume, before: tuple[int, int, int], after: tuple[int, int, int], value: float
) -> None:
    found = without_padding(padded(crop, before, after, value))
    assert np.array_equal(found.array, crop.array)
    assert found.grid.same_geometry(crop.grid)


def test_a_single_slice_stays(crop: Volume) -> None:
    rim = padded(crop, (1, 0, 0), (0, 0, 1), 0.0)
    assert without_padding(rim) is rim


def test_air_around_a_body_stays() -> None:
    z, y, x = np.mgrid[-12:13, -12:13, -12:13]
    body = Volume((z**2 + y**2 + x**2 < 81).astype(np.float32), ImageGrid.axis_aligned((25,) * 3, (1.0,) * 3))
    assert without_padding(body) is body
    # Cut through its middle and filled up again: the cut side alone is padding.
    cut = Volume(np.where(z < 0, 0, body.array), body.grid)
    assert without_padding(cut).grid.size == (25, 25, 13)


def test_padded_scans_are_registered_as_the_crops_are() -> None:
    """At a quarter of the sample case's resolution."""
    fixed, moving = (_quartered(read_volume(SAMPLE_CASE / f"{name}.nii.gz")) for name in ("fixed", "moving"))
    settings = RegistrationSettings(preset="lung-ct", prealign="translation", refine=False, memory_limit_mb=40)
    plain = register(RegistrationRequest(pair=Pair(Scan(fixed), Scan(moving)), settings=settings))
    lowest = [float(scan.array.min()) for scan in (fixed, moving)]
    scans = padded(fixed, (9, 4, 7), (2, 8, 5), lowest[0]), padded(moving, (2, 9, 3), (8, 0, 4), lowest[1])
    same = register(RegistrationRequest(pair=Pair(*(Scan(scan) for scan in scans)), settings=settings))
    inner = same.field.displacement[:, :, 7:-5, 4:-8, 9:-2]
    assert np.allclose(same.linear, plain.linear)
    assert inner.shape == plain.field.displacement.shape
    assert float((inner - plain.field.displacement).abs().max()) < 0.05


def _quartered(scan: Volume) -> Volume:
    return Volume(avg_pool3d(as_tensor(scan), 4)[0, 0].numpy(), scan.grid.coarser(4))
