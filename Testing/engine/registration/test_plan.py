"""What a registration will do is decided before it begins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.files import write_label_map, write_volume
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import LabelMap, LandmarkPairs, Pair, Scan, Volume
from DeepLargeDeformRegLib.core.presets import find_preset
from DeepLargeDeformRegLib.core.settings import RegistrationSettings
from DeepLargeDeformRegLib.engine.job import RegistrationJob, run_job
from DeepLargeDeformRegLib.engine.registration.pipeline import RegistrationRequest
from DeepLargeDeformRegLib.engine.registration.plan import RegistrationPlan

GRID = ImageGrid.axis_aligned((16, 15, 14), (1.0, 1.0, 1.0))
NOISE = Volume(np.random.default_rng(0).normal(size=GRID.shape).astype(np.float32), GRID)
BOX = np.zeros(GRID.shape, np.int16)
BOX[4:9, 4:9, 4:9] = 1
SCAN = Scan(NOISE, LabelMap(BOX, GRID))
POINTS = LandmarkPairs(np.ones((3, 3)), np.ones((3, 3)))


def plan_of(pair: Pair, preset: str = "mr-hippocampus", **settings: Any) -> RegistrationPlan:
    return RegistrationRequest(pair=pair, settings=RegistrationSettings(preset=preset, **settings)).plan


BARE, OUTLINED = Pair(Scan(NOISE), Scan(NOISE)), Pair(SCAN, SCAN)


@pytest.mark.parametrize(
    ("pair", "settings", "known"),
    [
        (BARE, {}, False),  # the network's field stays as it is
        (BARE, {"refine": True}, True),
        (BARE, {"model": "none"}, True),  # a search is always refined
        (OUTLINED, {}, True),  # outlines guide, which needs a refinement
        (OUTLINED, {"guide_with_segmentations": False}, False),
        (OUTLINED, {"refine": False}, False),
        (OUTLINED, {"uncertainty": False}, False),
        (BARE.with_landmarks(POINTS), {}, False),
        (BARE.with_landmarks(POINTS), {"guide_with_landmarks": True}, True),
        (BARE, {"preset": "liver-ct"}, True),
        (BARE, {"preset": "liver-ct", "refine": False}, False),
    ],
)
def test_the_error_to_expect_is_known_after_a_refinement(pair: Pair, settings: dict[str, Any], known: bool) -> None:
    assert plan_of(pair, **settings).estimates_error == known


def test_outlines_of_different_structures_guide_nothing() -> None:
    named = [LabelMap(BOX * value, GRID) for value in (1, 2)]
    plan = plan_of(Pair(*(Scan(NOISE, labels) for labels in named)))
    assert plan.guide == ()
    assert not plan.deformation.refine_network
    assert plan.deformation.refinement.masks == 0


def test_a_preset_with_other_numbers_is_taken_as_it_is() -> None:
    preset = replace(find_preset("lung-ct"), search=())
    plan = RegistrationRequest(pair=BARE, settings=RegistrationSettings(preset="lung-ct"), preset=preset).plan
    assert plan.deformation.search == ()
    assert plan.deformation.refinement.levels == preset.refinement.levels


def test_a_map_of_the_error_is_refused_before_the_work_where_there_will_be_none(tmp_path: Path) -> None:
    write_volume(NOISE, tmp_path / "scan.nrrd")
    assert SCAN.labels is not None
    write_label_map(SCAN.labels, tmp_path / "box.seg.nrrd")
    scan, box = (str(tmp_path / name) for name in ("scan.nrrd", "box.seg.nrrd"))
    settings = RegistrationSettings(preset="mr-hippocampus", device="cpu", iterations=1)
    job = RegistrationJob(fixed=scan, moving=scan, settings=settings, output_uncertainty=str(tmp_path / "error.nrrd"))
    with pytest.raises(BadInputError, match="after a refinement only"):
        run_job(job)
    run_job(replace(job, fixed_segmentation=box, moving_segmentation=box))
    assert (tmp_path / "error.nrrd").exists()
