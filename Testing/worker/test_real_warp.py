"""Warp and evaluation through a real worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from .conftest import Desk
from .pairs import write_pair


def test_a_known_shift_is_applied_and_measured(desk: Callable[..., Desk], tmp_path: Path) -> None:
    """The moving sphere lies 8 mm, two voxels, further along x: the shift brings its voxels onto the fixed grid."""
    entries = write_pair(tmp_path, size=24, shift_mm=8.0)
    transform = tmp_path / "shift.tfm"
    sitk.WriteTransform(sitk.TranslationTransform(3, (8.0, 0.0, 0.0)), str(transform))
    one = desk(jobs="DeepLargeDeformRegLib.worker.jobs")
    output = tmp_path / "warped.nrrd"
    payload = {
        "transform": str(transform),
        "reference": entries["fixed"],
        "volume": entries["moving"],
        "output_volume": str(output),
    }
    assert one.do("warp", 60, **payload) == {}
    moving, warped = (sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in (entries["moving"], output))
    np.testing.assert_allclose(warped[:, :, 1:-3], moving[:, :, 3:-1], atol=1e-3)
    assert [event.stage for event in one.progress][-1] == "write"
    numbers = one.do("evaluate", 60, transform=str(transform), fixed=entries["fixed"], moving=entries["moving"])
    assert numbers["jacobian"]["min"] == pytest.approx(1.0, abs=1e-4)
    assert len(one.transports) == 1
