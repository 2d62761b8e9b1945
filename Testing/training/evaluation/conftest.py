"""A cohort small enough for tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.resources import SAMPLE_CASE


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of three pairs: the sample case at a sixth of its resolution, exchanged, and a scan that is broken."""
    folder = tmp_path_factory.mktemp("cohort")
    source = SAMPLE_CASE
    for name in ("fixed", "moving", "fixed_mask", "moving_mask"):
        image = sitk.ReadImage(str(source / f"{name}.nii.gz"))
        sitk.WriteImage(sitk.Shrink(image, (6, 6, 3)), str(folder / f"{name}.nii.gz"))
    (folder / "landmarks.csv").write_text((source / "landmarks_lps.csv").read_text())
    (folder / "broken.nii.gz").write_text("no scan")
    (folder / "pairs.csv").write_text(
        "fixed,moving,fixed_labels,moving_labels,landmarks,split\n"
        "fixed.nii.gz,moving.nii.gz,fixed_mask.nii.gz,moving_mask.nii.gz,landmarks.csv,test\n"
        "moving.nii.gz,fixed.nii.gz,,,,test\n"
        "fixed.nii.gz,broken.nii.gz,,,,test\n"
    )
    return folder / "pairs.csv"
