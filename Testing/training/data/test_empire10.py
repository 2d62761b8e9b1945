"""EMPIRE10 folders as they are distributed, and fields by the challenge's own steps."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine.fields import DisplacementField

from training.data import Pair, Subject, open_data_set
from training.evaluation.challenges import FieldExport

FIXED = ImageGrid.axis_aligned((9, 8, 10), (0.7, 0.7, 1.0))
MOVING = ImageGrid((12, 9, 8), (0.8, 0.9, 1.5), (5.0, -7.0, 30.0), (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pairs, the first with lung masks."""
    for kind in ("scans", "lungMasks"):
        (tmp_path / kind).mkdir()
    noise = np.random.default_rng(0).integers(-1000, 200, (10, 9, 8)).astype(np.int16)
    for name in ("01_Fixed", "01_Moving", "02_Fixed", "02_Moving"):
        sitk.WriteImage(sitk.GetImageFromArray(noise), str(tmp_path / "scans" / f"{name}.mhd"))
        if name.startswith("01"):
            mask = sitk.GetImageFromArray((noise < -500).astype(np.uint8))
            sitk.WriteImage(mask, str(tmp_path / "lungMasks" / f"{name}.mhd"))
    return tmp_path


def test_pairs_are_of_one_patient_each(folder: Path) -> None:
    first, second = open_data_set("empire10", folder).listed("test")
    assert (first.fixed.name, first.moving.name) == ("01_Fixed", "01_Moving")
    assert first.same_patient
    assert second.fixed.patient == "02"
    mask = first.moving.mask()
    assert mask is not None
    assert np.array_equal(mask.mask(), first.moving.image().array < -500)
    assert second.moving.mask() is None


def test_a_scan_without_its_partner_is_told(folder: Path) -> None:
    for path in (folder / "scans").glob("02_Moving.*"):
        path.unlink()
    with pytest.raises(BadInputError, match="pair 02"):
        open_data_set("empire10", folder)
    shutil.rmtree(folder / "scans")
    with pytest.raises(BadInputError, match="no folder scans"):
        open_data_set("empire10", folder)


def test_a_field_leads_where_ours_does_by_the_challenges_steps(tmp_path: Path) -> None:
    """Voxel times spacing, plus the field, divided by the moving spacing: https://empire10.grand-challenge.org/dvf."""
    generator = torch.Generator().manual_seed(0)
    field = DisplacementField(torch.randn((1, 3, *FIXED.shape), generator=generator) * 3 + 4, FIXED)
    export = FieldExport("empire10", tmp_path)
    pair = Pair(Subject(name="07_Fixed"), Subject(name="07_Moving"))
    export.check([pair])
    for _ in range(2):  # once more over what is there
        export.write(field, pair, FIXED, MOVING)
    images = [sitk.ReadImage(str(tmp_path / "07" / f"def{axis}.mhd")) for axis in "XYZ"]
    assert all(image.GetSpacing() == FIXED.spacing for image in images)
    assert [path.name for path in tmp_path.iterdir()] == ["07"]
    for voxel in ((0, 0, 0), (3, 5, 7), (8, 7, 9)):
        way = np.array([image.GetPixel(voxel) for image in images])
        theirs = (np.array(voxel) * FIXED.spacing + way) / MOVING.spacing
        place = FIXED.to_physical(voxel) + field.displacement[0, :, voxel[2], voxel[1], voxel[0]].numpy()
        np.testing.assert_allclose(theirs, MOVING.to_index(place), atol=1e-4)


def test_other_names_and_challenges_are_refused_before_anything_is_registered(tmp_path: Path) -> None:
    other = Subject(name="other")
    with pytest.raises(BadInputError, match="01_Fixed"):
        FieldExport("empire10", tmp_path).check([Pair(other, other)])
    with pytest.raises(BadInputError, match="learn2reg, empire10"):
        FieldExport("other", tmp_path)
