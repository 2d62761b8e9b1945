"""Learn2Reg fields give the numbers that we report, by the challenge's definitions written anew with numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import Label, LabelMap, LandmarkPairs
from DeepLargeDeformRegLib.engine import fields, metrics
from DeepLargeDeformRegLib.engine.fields import DisplacementField, warp_labels
from scipy.ndimage import map_coordinates

from training.evaluation.learn2reg import file_name, voxel_field, write_field

# Axes exchanged and mirrored, voxels that are no cubes, and the moving scan somewhere else.
TURNED = (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
FIXED = ImageGrid((26, 22, 18), (1.0, 1.5, 2.0), (5.0, -7.0, 30.0), TURNED)
MOVING = ImageGrid((26, 22, 18), (1.0, 1.5, 2.0), (11.0, -2.0, 24.0), TURNED)


@pytest.fixture
def smooth() -> DisplacementField:
    """The shift between both scans, and a wave of 3 mm that folds nowhere."""
    points = fields.points(FIXED)
    shift = torch.tensor(MOVING.origin) - torch.tensor(FIXED.origin)
    wave = 3.0 * torch.sin(points.flip(1) / 9.0)
    return DisplacementField((shift.reshape(1, 3, 1, 1, 1) + wave).float(), FIXED)


def _blocks(grid: ImageGrid, low: int, high: int) -> LabelMap:
    array = np.zeros(grid.shape, np.int16)
    array[5:13, 6:16, low:high] = 1
    array[6:9, 8:14, 9:17] = 2
    return LabelMap(array, grid, (Label(value=1, name="one"), Label(value=2, name="two")))


@pytest.fixture
def stored(smooth: DisplacementField, tmp_path: Path) -> np.ndarray:
    path = tmp_path / "disp_0001_0000_0002_0000.npz"
    write_field(voxel_field(smooth, FIXED, MOVING), path)
    with np.load(path) as archive:
        (key,) = archive.files
        return archive[key]


def test_dice_is_the_challenges(smooth: DisplacementField, stored: np.ndarray) -> None:
    fixed, moving = _blocks(FIXED, 7, 18), _blocks(MOVING, 6, 19)
    ours = warp_labels(moving, smooth, FIXED).array
    assert stored.shape == (26, 22, 18, 3)
    where = np.indices(stored.shape[:3]) + stored.transpose(3, 0, 1, 2)
    theirs = map_coordinates(moving.array.T.astype(float), where, order=0).T
    assert (ours != moving.array).any()
    for value in (1, 2):
        first, second = fixed.array == value, theirs == value
        overlap = 2 * (first & second).sum() / (first.sum() + second.sum())
        assert 0.3 < overlap < 1.0
        assert metrics.dice(first, ours == value) == pytest.approx(overlap, abs=1e-12)


def test_sdlogj_is_the_challenges(smooth: DisplacementField, stored: np.ndarray) -> None:
    rows = [np.stack(np.gradient(stored[..., component].astype(float)), axis=-1) for component in range(3)]
    determinant = np.linalg.det(np.stack(rows, axis=-2) + np.eye(3))[2:-2, 2:-2, 2:-2]
    theirs = np.log((determinant + 3).clip(1e-9, 1e9)).std()
    ours = metrics.jacobian_statistics(fields.jacobian_determinant(smooth)[0, 0].numpy()).sdlogj_learn2reg
    assert theirs > 0.02
    assert ours == pytest.approx(theirs, rel=1e-3)


def test_tre_is_the_challenges(smooth: DisplacementField, stored: np.ndarray) -> None:
    generator = np.random.default_rng(3)
    first, second = generator.integers(4, 14, (2, 20, 3))
    moved = first + np.stack([map_coordinates(stored[..., axis], first.T) for axis in range(3)], axis=-1)
    theirs = np.linalg.norm((moved - second) * MOVING.spacing, axis=1)
    names = tuple(str(number) for number in range(20))
    pairs = LandmarkPairs(FIXED.to_physical(first), MOVING.to_physical(second), names)
    np.testing.assert_allclose(metrics.landmark_errors(smooth, pairs), theirs, atol=1e-3)


def test_scans_of_two_sizes_are_refused(smooth: DisplacementField) -> None:
    with pytest.raises(BadInputError, match="one size"):
        voxel_field(smooth, FIXED, ImageGrid.axis_aligned((26, 22, 19), (1.0, 1.5, 2.0)))


def test_files_are_called_as_the_challenge_looks_for_them() -> None:
    assert file_name("LungCT_0021_0000", "LungCT_0021_0001") == "disp_0021_0000_0021_0001.npz"
    assert file_name("case1/expiration", "case1/inspiration") == "disp_case1-expiration_case1-inspiration.npz"
