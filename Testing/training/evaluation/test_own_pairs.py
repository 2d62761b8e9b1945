"""A user's own pairs in the benchmark, from the table that ``deeplargedeformreg batch`` takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from DeepLargeDeformRegLib.cohort.pairs import read_pairs
from DeepLargeDeformRegLib.core.labels import match_labels

from training.evaluation.cases import own_cases


def test_own_pairs_measure_with_all_that_the_table_names(tmp_path: Path) -> None:
    for name, values in (("a", (1, 2)), ("b", (5, 1))):
        array = np.zeros((8, 8, 8), np.uint8)
        array[2:4], array[5:7] = values
        sitk.WriteImage(sitk.GetImageFromArray(array.astype(np.float32)), str(tmp_path / f"{name}.nrrd"))
        sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / f"{name}_labels.nrrd"))
    (tmp_path / "points.csv").write_text(
        "fixed_x,fixed_y,fixed_z,moving_x,moving_y,moving_z\n1,2,3,4,5,6\n", encoding="utf-8"
    )
    table = tmp_path / "pairs.csv"
    table.write_text(
        "name,fixed,moving,fixed_segmentation,moving_segmentation,match,landmarks,preset\n"
        "first,a.nrrd,b.nrrd,a_labels.nrrd,b_labels.nrrd,1=5;2=1,points.csv,lung-ct\n"
        "second,b.nrrd,a.nrrd\n",
        encoding="utf-8",
    )
    first, second = own_cases(read_pairs(table), "any", 1.5)
    assert (first.name, first.preset, first.window) == ("first", "lung-ct", (-1000.0, 600.0))
    assert first.fixed_labels is not None
    assert first.moving_labels is not None
    assert sorted(match_labels(first.fixed_labels, first.moving_labels)) == [(1, 5), (2, 1)]
    assert first.landmarks is not None
    assert first.landmarks.moving.tolist() == [[4.0, 5.0, 6.0]]
    assert not first.guides
    assert (second.preset, second.spacing_mm, second.window, second.landmarks) == ("any", 1.5, None, None)
