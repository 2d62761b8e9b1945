"""Pictures of known values: who is drawn, and where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest

from training.evaluation.plots import box_plots, curve_plot

FIRST, SECOND = (matplotlib.colors.to_rgb(color) for color in ("#0072B2", "#E69F00"))


def case(before: float, after: float, **more: float) -> dict[str, Any]:
    values = {"dice: liver": after, "before: dice: liver": before, "dice": after, **more}
    return {"fixed": "a", "moving": "b", "values": values, "errors_mm": {"before": [10 * before], "after": [after]}}


RUN = [case(0.3, value) for value in (0.7, 0.8, 0.9)] + [{"fixed": "c", "moving": "d", "error": "unreadable"}]
OTHER = [case(0.3, value) for value in (0.2, 0.3, 0.4)]


def height_of(path: Path, color: tuple[float, ...], alpha: float) -> float:
    """Middle of a color on white, as a share of the height from below; NaN where there is none of it."""
    picture = matplotlib.image.imread(path)[..., :3]
    wanted = alpha * np.array(color) + 1 - alpha
    rows = np.flatnonzero((np.abs(picture - wanted) < 0.02).all(-1).sum(1) > 20)
    rows = rows[(rows > 0.1 * len(picture)) & (rows < 0.75 * len(picture))]  # without legends
    return 1 - rows.mean() / len(picture) if rows.size else np.nan


def test_boxes_stand_where_their_values_are(tmp_path: Path) -> None:
    (path,) = box_plots({"new": RUN, "old": OTHER}, tmp_path)
    assert path.name == "boxes_dice.png"
    new, old = (height_of(path, color, 0.7) for color in (FIRST, SECOND))
    assert 0.7 < new < 0.9
    assert 0.25 < old < 0.5
    (path,) = box_plots({"new": RUN}, tmp_path)
    assert height_of(path, FIRST, 0.7) == pytest.approx(new, abs=0.02)
    assert np.isnan(height_of(path, SECOND, 0.7))


def test_a_structure_that_one_run_lacks_is_drawn(tmp_path: Path) -> None:
    more = [case(0.3, 0.9, **{"dice: spleen": 0.5, "hd95_mm: spleen": 3.0})]
    assert [path.name for path in box_plots({"new": RUN, "old": more}, tmp_path)] == [
        "boxes_dice.png",
        "boxes_hd95_mm.png",
    ]


def test_curves_are_drawn_where_there_are_landmarks(tmp_path: Path) -> None:
    far = case(0.3, 30.0)  # beyond the axis, so that the curves end at three quarters and at half
    path = curve_plot({"new": [*RUN, far], "old": [OTHER[0], far]}, tmp_path / "curve.png")
    assert path is not None
    new, old = (height_of(path, color, 1.0) for color in (FIRST, SECOND))
    assert 0.65 < new < 0.85
    assert 0.4 < old < 0.6
    assert curve_plot({"new": [{"fixed": "c", "moving": "d", "error": "unreadable"}]}, tmp_path / "none.png") is None
    assert not (tmp_path / "none.png").exists()
