"""Which structures of two segmentations belong together."""

from __future__ import annotations

import numpy as np
import pytest
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import Label, LabelMap
from DeepLargeDeformRegLib.core.labels import match_labels, notice_of_values, with_matches

GRID = ImageGrid((4, 4, 4), (1.0, 1.0, 1.0))


def structures(**values: int) -> LabelMap:
    return LabelMap(
        np.zeros(GRID.shape, np.int16), GRID, tuple(Label(value=v, name=name) for name, v in values.items())
    )


def nameless(*values: int) -> LabelMap:
    array = np.zeros(GRID.shape, np.int16)
    array[0, 0, : len(values)] = values
    return LabelMap(array, GRID)


def test_names_decide_before_values() -> None:
    fixed, moving = structures(liver=1, spleen=2), structures(Spleen=1, Liver=5)
    assert match_labels(fixed, moving) == ((1, 5), (2, 1))
    assert notice_of_values(fixed, moving) is None


def test_names_are_compared_without_case_underscores_and_hyphens() -> None:
    fixed = structures(left_kidney=1, **{"Right  Kidney": 2, "rib-1": 3})
    moving = structures(**{"Right-kidney": 4, "Left Kidney": 5, "rib 11": 3})
    assert match_labels(fixed, moving) == ((1, 5), (2, 4))


def test_values_alone_are_told() -> None:
    """CHAOS calls the liver 1, TotalSegmentator's 1 is the spleen."""
    assert match_labels(nameless(1), nameless(1, 5)) == ((1, 1),)
    notice = notice_of_values(structures(liver=1), structures(spleen=1))
    assert notice is not None
    assert "1 (liver = spleen)" in notice
    assert notice_of_values(nameless(1), nameless(2)) is None


def test_the_user_decides_before_names_and_values() -> None:
    fixed = structures(liver=1, spleen=2)
    moving = with_matches(fixed, nameless(1, 5), ["liver=5", "2=1"])
    assert sorted(match_labels(fixed, moving)) == [(1, 5), (2, 1)]
    assert notice_of_values(fixed, moving) is None
    only = with_matches(fixed, structures(liver=1, spleen=2), ["LIVER = liver"])
    assert match_labels(fixed, only) == ((1, 1),)


@pytest.mark.parametrize(
    ("matches", "words"),
    [
        (["liver"], "must be FIXED=MOVING"),
        (["=1"], "must be FIXED=MOVING"),
        (["kidney=1"], "The fixed segmentation has no structure 'kidney'; it has liver (1)"),
        (["liver=9"], "The moving segmentation has no structure '9'"),
        (["liver=1", "1=5"], "can have one only"),
    ],
)
def test_a_match_that_cannot_be_is_refused(matches: list[str], words: str) -> None:
    with pytest.raises(BadInputError, match=words.replace("(", r"\(").replace(")", r"\)")):
        with_matches(structures(liver=1), nameless(1, 5), matches)
