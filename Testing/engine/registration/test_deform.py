"""The working grid fits the scans: large ones, and those of a centimeter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import LabelMap, Pair, Scan, Volume
from DeepLargeDeformRegLib.core.plans import DeformationPlan, RefinementLevel, RefinementPlan
from DeepLargeDeformRegLib.core.presets import find_preset
from DeepLargeDeformRegLib.core.settings import RegistrationSettings
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.registration.adam import Adam
from DeepLargeDeformRegLib.engine.registration.control import ControlLattice
from DeepLargeDeformRegLib.engine.registration.deform import (
    BYTES_PER_NODE,
    BYTES_PER_VOXEL,
    voxels_that_fit,
    wanted_spacing,
)
from DeepLargeDeformRegLib.engine.registration.plan import plan_registration


@pytest.mark.parametrize(
    ("size", "voxel_mm", "expected_mm"),
    [(256, 2.0, 1.5), (64, 0.25, 0.5), (16, 0.625, 0.625), (30, 0.1, 0.1), (30, 21.0, 7.0)],
)
def test_small_regions_are_worked_on_at_a_finer_spacing_and_coarse_scans_at_a_coarser(
    size: int, voxel_mm: float, expected_mm: float
) -> None:
    grid = ImageGrid.axis_aligned((size,) * 3, (voxel_mm,) * 3)
    assert wanted_spacing(grid, (grid, grid), 1.5) == pytest.approx(expected_mm)


def test_lengths_of_a_plan_shrink_with_its_grid() -> None:
    refinement = RefinementPlan(levels=(RefinementLevel(2, 40, 1.0),), curvature=4.0, landmarks=0.002)
    plan = DeformationPlan(refinement=refinement)
    assert plan.at_spacing(1.0) is plan
    finer = plan.at_spacing(0.5).refinement
    assert finer.levels == (RefinementLevel(2, 40, 0.5),)
    assert (finer.curvature, finer.landmarks) == (1.0, 0.008)


@pytest.mark.parametrize(("preset", "splines"), [("liver-ct", 1), ("lung-ct", 2)])
def test_the_nodes_of_the_finest_lattice_count_in_the_memory_that_a_grid_takes(preset: str, splines: int) -> None:
    grid = ImageGrid.axis_aligned((8, 8, 8), (4.0,) * 3)
    scan = Scan(Volume(np.zeros(grid.shape, np.float32), grid), LabelMap(np.ones(grid.shape, np.int16), grid))
    plan = plan_registration(RegistrationSettings(preset=preset), find_preset(preset), Pair(scan, scan))
    finest = min(level.factor for level in plan.deformation.refinement.levels)
    assert plan.preset.sliding == (splines == 2)
    each = BYTES_PER_VOXEL + splines * BYTES_PER_NODE / finest**3
    for gibibytes in (2, 24):
        voxels = voxels_that_fit(gibibytes * 2**30, plan)
        assert voxels * each <= 0.75 * gibibytes * 2**30 < (voxels + 1) * each
    assert voxels_that_fit(2**20, plan) == 32**3  # never less: what does not fit is tried and found out


def test_what_is_held_for_a_node_is_what_the_memory_plan_says() -> None:
    grid = ImageGrid.axis_aligned((12, 12, 12), (1.0,) * 3)
    control = ControlLattice(grid, 2)
    nodes = control.nodes(fields.identity(grid)).requires_grad_(True)
    optimizer = Adam(nodes, 1.0, 1)
    smoothed = control.splines(nodes).coefficients
    smoothed.square().sum().backward()
    gradient = nodes.grad
    assert gradient is not None
    held = {id(one): one for one in vars(optimizer).values() if isinstance(one, torch.Tensor)}
    held |= {id(one): one for one in (nodes, gradient, smoothed)}
    root = nodes.nbytes  # within a step, of the second moment
    assert sum(one.nbytes for one in held.values()) + root == BYTES_PER_NODE * nodes[0, 0].numel()
