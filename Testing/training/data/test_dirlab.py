"""DIR-Lab's raw files: written in their layout with a bright voxel at each landmark, so that every trap shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.images import LandmarkPairs, Volume

from training.data import open_data_set
from training.data.dirlab import CASES_4DCT, CASES_COPDGENE, Case

SMALL = {1: Case((20, 24, 10), (0.97, 0.97, 2.5)), 8: Case((20, 24, 12), (1.1, 1.1, 2.5))}
BONE = 700


def write_scan(image: Path, landmarks: Path, case: Case, seed: int) -> None:
    """Raw voxels HU + 1024, slices from head to feet, -2000 outside of the field of view; indices from 1."""
    rng = np.random.default_rng(seed)
    x, y, z = case.size
    stored = np.full((z, y, x), 1024 - 850, dtype="<i2")
    stored[:, :2, :2] = -2000
    stored[0] = 1024 + 40  # the first slice is nearest to the head
    voxels = [(3 + n, int(rng.integers(3, y)), int(rng.integers(1, z - 1))) for n in range(6)]
    for i, j, k in voxels:
        stored[k, j, i] = 1024 + BONE
    image.parent.mkdir(parents=True, exist_ok=True)
    landmarks.parent.mkdir(parents=True, exist_ok=True)
    stored.tofile(image)
    landmarks.write_text("".join(f"{i + 1}\t{j + 1}\t{k + 1}\t\n" for i, j, k in voxels))


def check(volume: Volume, points: np.ndarray, case: Case) -> None:
    assert volume.grid.size == case.size
    assert volume.grid.is_axis_aligned
    assert volume.array.min() == -1024
    index = np.rint(volume.grid.to_index(points)).astype(int)
    assert np.allclose(volume.grid.to_index(points), index, atol=1e-4)
    assert [volume.array[k, j, i] for i, j, k in index] == [BONE] * len(index)
    # The head is at the largest z, where LPS points.
    assert np.median(volume.array[-1]) == 40
    assert np.median(volume.array[0]) == -850


def check_pair(pair: object, case: Case) -> None:
    landmarks = pair.landmarks()  # type: ignore[attr-defined]
    assert isinstance(landmarks, LandmarkPairs)
    check(pair.fixed.image(), landmarks.fixed, case)  # type: ignore[attr-defined]
    check(pair.moving.image(), landmarks.moving, case)  # type: ignore[attr-defined]


def test_4dct(tmp_path: Path) -> None:
    first, eighth = tmp_path / "Case1Pack", tmp_path / "Case8Deploy"
    for phase, seed in (("T00", 0), ("T50", 1)):
        write_scan(
            first / "Images" / f"case1_{phase}_s.img",
            first / "ExtremePhases" / f"Case1_300_{phase}_xyz.txt",
            SMALL[1],
            seed,
        )
        write_scan(
            eighth / "Images" / f"case8_{phase}.img",
            eighth / "extremePhases" / f"case8_dirLab300_{phase}_xyz.txt",
            SMALL[8],
            seed,
        )
    write_scan(first / "Images" / "case1_T10_s.img", first / "Sampled4D" / "case1_4D-75_T10.txt", SMALL[1], 2)
    data_set = open_data_set("dirlab-4dct", tmp_path, cases=SMALL)
    pairs = data_set.listed("test")
    assert [pair.fixed.name for pair in pairs] == ["case1_T00", "case8_T00"]
    assert all(pair.same_patient for pair in pairs)
    check_pair(pairs[0], SMALL[1])
    check_pair(pairs[1], SMALL[8])
    assert "case1_T10" in data_set.subjects
    reverse = open_data_set("dirlab-4dct", tmp_path, cases=SMALL, fixed="expiration").listed("test")[0]
    assert (reverse.fixed.name, reverse.moving.name) == ("case1_T50", "case1_T00")
    with pytest.raises(BadInputError, match="landmark files of case1"):
        open_data_set("dirlab-4dct", tmp_path, cases=SMALL, landmarks=75)


def test_copdgene_and_masks(tmp_path: Path) -> None:
    case = SMALL[1]
    folder = tmp_path / "copd1" / "copd1"
    for state, seed in (("iBH", 0), ("eBH", 1)):
        write_scan(folder / f"copd1_{state}CT.img", folder / f"copd1_300_{state}_xyz_r1.txt", case, seed)
    (tmp_path / "masks").mkdir()
    mask = case.grid.to_image(np.ones(case.grid.shape, np.uint8))
    sitk.WriteImage(mask, str(tmp_path / "masks" / "copd1_iBH.nii.gz"))
    data_set = open_data_set("dirlab-copdgene", tmp_path, cases=SMALL, masks="masks")
    (pair,) = data_set.listed("test")
    assert pair.fixed.name == "copd1_iBH"
    check_pair(pair, case)
    assert pair.fixed.mask() is not None
    assert pair.moving.mask() is None


def test_case_1_is_not_case_10(tmp_path: Path) -> None:
    cases = {1: SMALL[1], 10: SMALL[8]}
    for state, seed in (("iBH", 0), ("eBH", 1)):
        folder = tmp_path / "copd10"
        write_scan(folder / f"copd10_{state}CT.img", folder / f"copd10_300_{state}_xyz_r1.txt", cases[10], seed)
    data_set = open_data_set("dirlab-copdgene", tmp_path, cases=cases)
    assert sorted(data_set.subjects) == ["copd10_eBH", "copd10_iBH"]
    check_pair(data_set.listed("test")[0], cases[10])


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "copd1"
    for state, seed in (("iBH", 0), ("eBH", 1)):
        write_scan(folder / f"copd1_{state}CT.img", folder / f"copd1_300_{state}_xyz_r1.txt", SMALL[1], seed)
    image = folder / "copd1_iBHCT.img"
    image.write_bytes(image.read_bytes()[:-2])
    (pair,) = open_data_set("dirlab-copdgene", tmp_path, cases=SMALL).listed("test")
    with pytest.raises(BadInputError, match="9598 bytes instead of 9600"):
        pair.fixed.image()
    (folder / "copd1_300_eBH_xyz_r1.txt").write_text("21\t1\t1\n")
    with pytest.raises(BadInputError, match="outside of the scan"):
        pair.landmarks()
    (folder / "copd1_300_eBH_xyz_r1.txt").write_text("x\ty\tz\n")
    with pytest.raises(BadInputError, match="no table of voxel indices"):
        pair.landmarks()
    with pytest.raises(BadInputError, match="no raw scans called case1"):
        open_data_set("dirlab-4dct", tmp_path)


def test_published_sizes() -> None:
    """The tables of www.dir-lab.com (Castillo 2009 and 2013): in-plane spacing of the ten cases; slices 2.5 mm."""
    breathing = [0.97, 1.16, 1.15, 1.13, 1.10, 0.97, 0.97, 0.97, 0.97, 0.97]
    copdgene = [0.625, 0.645, 0.652, 0.590, 0.647, 0.633, 0.625, 0.586, 0.664, 0.742]
    for cases, spacings in ((CASES_4DCT, breathing), (CASES_COPDGENE, copdgene)):
        assert list(cases) == list(range(1, 11))
        assert [case.spacing for case in cases.values()] == [(spacing, spacing, 2.5) for spacing in spacings]
