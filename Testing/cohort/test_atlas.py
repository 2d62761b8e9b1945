"""Labels of several atlases fused: cases that can be counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from DeepLargeDeformRegLib.cohort.atlas import AGREEMENT, FUSED, check_atlases, fuse_files, fuse_labels
from DeepLargeDeformRegLib.cohort.pairs import CohortPair
from DeepLargeDeformRegLib.core import files
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import LabelMap

GRID = ImageGrid.axis_aligned((12, 12, 12), (1.0, 2.0, 3.0))


def cube(start: int, value: int = 3) -> LabelMap:
    array = np.zeros(GRID.shape, np.int16)
    array[3:9, 3:9, start : start + 6] = value
    return LabelMap(array, GRID)


def test_the_majority_decides_and_background_wins_a_tie() -> None:
    fused, agreement = fuse_labels([cube(2), cube(3), cube(4)], "majority")
    assert np.array_equal(fused.array, cube(3).array)  # what at least two of three have
    row = agreement.array[5, 5]
    assert row[[0, 2, 3, 5, 8, 9, 11]] == pytest.approx([1, 2 / 3, 2 / 3, 1, 2 / 3, 2 / 3, 1])
    tie, half = fuse_labels([cube(2), cube(4)], "majority")
    assert np.array_equal(np.flatnonzero(tie.array[5, 5]), [4, 5, 6, 7])
    assert half.array.min() == 0.5


def test_staple_trusts_those_that_agree() -> None:
    """Of five atlases two lie elsewhere, in different ways: three that agree decide alone, all of their voxels."""
    fused, agreement = fuse_labels([cube(3), cube(3), cube(3), cube(0), cube(6)], "staple")
    assert np.array_equal(fused.array, cube(3).array)
    assert agreement.array[5, 5, 3] == pytest.approx(4 / 5)


def test_files_are_written_on_the_grid_of_the_fixed_scan(tmp_path: Path) -> None:
    paths = [tmp_path / f"{start}.nii.gz" for start in (2, 3, 4)]
    for start, path in zip((2, 3, 4), paths, strict=True):
        files.write_label_map(cube(start), path)
    fuse_files(paths, tmp_path, "majority")
    labels = files.read_label_map(tmp_path / FUSED)
    assert np.array_equal(labels.array, cube(3).array)
    assert labels.grid.spacing == pytest.approx(GRID.spacing)
    assert files.read_volume(tmp_path / AGREEMENT).array.max() == 1
    with pytest.raises(BadInputError, match="No atlas could be registered"):
        fuse_files([], tmp_path, "majority")


def test_pairs_that_are_no_atlases_are_refused_before_the_work() -> None:
    def pair(name: str, **given: str) -> CohortPair:
        return CohortPair(name=name, files={"fixed": "f.nrrd", "moving": "m.nrrd", **given})

    labeled = pair("a", moving_segmentation="l.nrrd")
    check_atlases([labeled], "staple")
    with pytest.raises(BadInputError, match="no fusion 'mean'"):
        check_atlases([labeled], "mean")
    with pytest.raises(BadInputError, match="have no moving_segmentation: b"):
        check_atlases([labeled, pair("b")], "majority")
    with pytest.raises(BadInputError, match="one fixed scan"):
        check_atlases([labeled, pair("c", fixed="g.nrrd", moving_segmentation="l.nrrd")], "majority")
