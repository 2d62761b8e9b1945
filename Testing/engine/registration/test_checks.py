"""What cannot be registered is refused before the work, with what it is and what to do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import LabelMap, Pair, Scan, Volume
from DeepLargeDeformRegLib.engine.registration.checks import check_initial, check_inputs, check_working_region

SIZE = (10, 9, 8)
NOISE = np.random.default_rng(0).normal(size=SIZE[::-1]).astype(np.float32)


def scan(spacing: float = 1.0, value: float | None = None) -> Scan:
    array = NOISE if value is None else np.full_like(NOISE, value)
    return Scan(Volume(array, ImageGrid.axis_aligned(SIZE, (spacing,) * 3)))


@pytest.mark.parametrize(
    ("moving", "words"),
    [
        (lambda: scan(300.0), "3000 mm long"),  # centimeters or worse, taken for millimeters
        (lambda: scan(0.001), "0.01 mm long"),  # meters
        (lambda: scan(value=7.0), "the same everywhere"),
        (lambda: scan(value=np.inf), "not numbers"),
    ],
)
def test_scans_of_no_patient_are_refused(moving: Callable[[], Scan], words: str) -> None:
    with pytest.raises(BadInputError, match=f"The moving scan .*{words}"):
        check_inputs(Pair(scan(), moving()), None, None)


def test_small_and_large_patients_pass() -> None:
    check_inputs(Pair(scan(0.11), scan(240.0)), None, None)


def test_a_mirrored_start_and_an_empty_region_are_refused() -> None:
    check_initial(np.diag([-1.0, -1.0, 1.0, 1.0]))  # turned by 180 degrees
    with pytest.raises(BadInputError, match="mirrors the body"):
        check_initial(np.diag([-1.0, 1.0, 1.0, 1.0]))
    with pytest.raises(BadInputError, match="region of interest is empty"):
        check_inputs(Pair(scan(), scan()), LabelMap(np.zeros(SIZE[::-1], np.int16), scan().volume.grid), None)


def test_a_part_of_a_few_voxels_is_refused() -> None:
    grid = scan().volume.grid
    check_working_region(grid.cropped((0, 0, 0), (4, 4, 4)), True)
    for drawn, words in ((True, "region of interest has only 4 x 4 x 1"), (False, "only 4 x 4 x 1 voxels in common")):
        with pytest.raises(BadInputError, match=words):
            check_working_region(grid.cropped((0, 0, 0), (4, 4, 1)), drawn)


@pytest.mark.parametrize("spacing", [0.2, 3.0])
def test_a_grid_spacing_that_does_not_suit_the_scan_is_refused(spacing: float) -> None:
    pair = Pair(scan(), scan())
    for suitable in (None, 0.25, 2.0):
        check_inputs(pair, None, suitable)
    with pytest.raises(BadInputError, match=r"between 0\.25 and 2 mm"):
        check_inputs(pair, None, spacing)
