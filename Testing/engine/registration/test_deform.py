"""The working grid fits the scans: large ones, and those of a centimeter."""

from __future__ import annotations

import pytest
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.plans import DeformationPlan, RefinementLevel, RefinementPlan
from DeepLargeDeformRegLib.engine.registration.deform import wanted_spacing


@pytest.mark.parametrize(
    ("size", "voxel_mm", "expected_mm"), [(256, 2.0, 1.5), (64, 0.25, 0.5), (16, 0.625, 0.625), (30, 0.1, 0.1)]
)
def test_small_regions_are_worked_on_at_a_finer_spacing(size: int, voxel_mm: float, expected_mm: float) -> None:
    grid = ImageGrid.axis_aligned((size,) * 3, (voxel_mm,) * 3)
    assert wanted_spacing(grid, (grid, grid), 1.5) == pytest.approx(expected_mm)


def test_lengths_of_a_plan_shrink_with_its_grid() -> None:
    refinement = RefinementPlan(levels=(RefinementLevel(2, 40, 1.0),), curvature=4.0, landmarks=0.002)
    plan = DeformationPlan(refinement=refinement)
    assert plan.at_spacing(1.0) is plan
    finer = plan.at_spacing(0.5).refinement
    assert finer.levels == (RefinementLevel(2, 40, 0.5),)
    assert (finer.curvature, finer.landmarks) == (1.0, 0.008)
