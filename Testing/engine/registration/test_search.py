"""The global search finds displacements that refinement alone would not reach."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.plans import DeformationPlan, RefinementLevel, RefinementPlan, SearchLevel
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.fields import DisplacementField
from DeepLargeDeformRegLib.engine.fields.bspline import resample_smoothly
from DeepLargeDeformRegLib.engine.losses.mind import mind_ssc
from DeepLargeDeformRegLib.engine.registration.aligned import AlignedPair, AlignedScan
from DeepLargeDeformRegLib.engine.registration.search import global_search
from DeepLargeDeformRegLib.engine.registration.solve import LINEAR, SEARCH, Candidate, solve
from scipy.ndimage import gaussian_filter

GRID = ImageGrid.axis_aligned((48, 44, 40), (1.5, 1.5, 2.0))
LEVELS = (SearchLevel(4, 4), SearchLevel(2, 2))


def a_pair(height_mm: float) -> tuple[AlignedPair, DisplacementField]:
    """A textured scan, moved by that much on average in a smooth way, and the true field."""
    generator = np.random.default_rng(0)
    parts = [gaussian_filter(generator.standard_normal(GRID.shape), width) for width in (2.0, 4.0)]
    texture = sum(part / part.std() for part in parts)
    bumps = np.stack([gaussian_filter(generator.standard_normal(GRID.shape), 9) for _ in range(3)])
    shift = np.array((1.0, -0.6, 0.4)).reshape(3, 1, 1, 1) * height_mm
    true = DisplacementField(
        torch.tensor(shift + 0.3 * height_mm * bumps / np.abs(bumps).max(), dtype=torch.float32)[None], GRID
    )
    moving = torch.tensor(1000 * texture, dtype=torch.float32)[None, None]
    ones = torch.ones_like(moving)
    fixed = fields.warp(moving, GRID, true, padding="border")
    return AlignedPair(GRID, AlignedScan(image=fixed, covered=ones), AlignedScan(image=moving, covered=ones)), true


def error_mm(found: DisplacementField, true: DisplacementField) -> float:
    difference = fields.resample(found, GRID).displacement - true.displacement
    return float(difference[..., 10:-10, 12:-12, 12:-12].norm(dim=1).mean())


def test_a_large_displacement_is_found_to_the_size_of_a_cell() -> None:
    pair, true = a_pair(10.0)
    features = [mind_ssc(scan.image, 1, 1) for scan in (pair.fixed, pair.moving)]
    found = global_search(features[0], features[1], GRID, LEVELS)
    assert error_mm(found, true) < 3.0 < 0.25 * error_mm(fields.identity(GRID), true)


@pytest.mark.parametrize("size", [8, 24])
def test_a_scan_against_itself_stays(size: int) -> None:
    # With ties to the first candidate 8 voxels went (-60, -60, -57) mm.
    grid = ImageGrid.axis_aligned((size,) * 3, (1.5,) * 3)
    features = torch.rand(1, 12, *grid.shape, generator=torch.Generator().manual_seed(0))
    found = global_search(features, features, grid, (SearchLevel(6, 4), SearchLevel(4, 3), SearchLevel(2, 2)))
    assert float(found.displacement.abs().max()) < 1e-4


def an_organ(grid: ImageGrid, shift_mm: float) -> torch.Tensor:
    """An ellipsoid in zeros, moved along x from the middle of the grid."""
    center = torch.tensor(np.add(grid.center, (shift_mm, 0.0, 0.0)), dtype=torch.float32).reshape(1, 3, 1, 1, 1)
    radii = torch.tensor((14.0, 10.0, 12.0)).reshape(1, 3, 1, 1, 1)
    return 100 * (((fields.points(grid) - center) / radii).square().sum(dim=1, keepdim=True) < 1).float()


def test_an_organ_in_zeros_is_found() -> None:
    # With ties to the first candidate the constant background took the field along: Dice 0.
    grid = ImageGrid.axis_aligned((48,) * 3, (1.5,) * 3)
    fixed, moving = an_organ(grid, -10.5), an_organ(grid, 10.5)
    first, second = (mind_ssc(image, 1, 2) for image in (fixed, moving))
    found = global_search(first, second, grid, (SearchLevel(4, 4), SearchLevel(3, 3), SearchLevel(2, 2)))
    warped = fields.warp(moving, grid, fields.resample(found, grid)) > 50
    overlap = 2 * float((warped & (fixed > 50)).sum()) / float(warped.sum() + (fixed > 50).sum())
    assert overlap > 0.7


def test_the_search_is_taken_where_it_matches_best_and_refined() -> None:
    pair, true = a_pair(10.0)
    plan = DeformationPlan(refinement=RefinementPlan(levels=(RefinementLevel(2, 40, 0.5),), diffusion=0.05))
    identity = Candidate(LINEAR, fields.identity(GRID))
    alone, searched = (solve(pair, [identity], replace(plan, search=levels)) for levels in ((), LEVELS))
    assert (alone.origin, searched.origin) == (LINEAR, SEARCH)
    assert error_mm(searched.field, true) < 1.5 < error_mm(alone.field, true)


def test_the_candidate_that_matches_best_is_taken() -> None:
    pair, true = a_pair(6.0)
    plan = DeformationPlan(
        refinement=RefinementPlan(levels=(RefinementLevel(2, 5, 0.5),)), search=LEVELS, refine=False
    )
    candidates = [Candidate(LINEAR, fields.identity(GRID)), Candidate("network", true)]
    assert solve(pair, candidates, plan).origin == "network"
    wrong = DisplacementField(-true.displacement, GRID)
    assert solve(pair, [candidates[0], Candidate("network", wrong)], plan).origin == LINEAR


def test_what_a_network_leaves_is_searched_for() -> None:
    pair, true = a_pair(12.0)
    plan = DeformationPlan(refinement=RefinementPlan(levels=(RefinementLevel(2, 20, 0.5),), diffusion=0.05))
    half = Candidate("network", DisplacementField(0.5 * true.displacement, GRID))
    searches: tuple[tuple[SearchLevel, ...], ...] = ((), (SearchLevel(3, 2),))
    alone, searched = (solve(pair, [half], replace(plan, network_search=levels)) for levels in searches)
    assert alone.origin == searched.origin == "network"
    assert error_mm(searched.field, true) < 0.6 * error_mm(alone.field, true)


def test_a_search_beside_a_network_wins_where_it_matches_better_and_is_kept_where_updates_refine() -> None:
    pair, true = a_pair(12.0)
    still = RefinementPlan(levels=(RefinementLevel(6, 1, 1e-6),), updates=True)
    plan = DeformationPlan(refinement=still, search=LEVELS, search_beside_network=True)
    candidates = [
        Candidate(LINEAR, fields.identity(GRID)),
        Candidate("network", DisplacementField(0.6 * true.displacement, GRID)),
    ]
    solved = solve(pair, candidates, plan)
    assert solved.origin == SEARCH
    assert solve(pair, candidates, replace(plan, search_beside_network=False)).origin == "network"
    outlined = AlignedPair(GRID, replace(pair.fixed, organs=torch.ones_like(pair.fixed.image)), pair.moving)
    assert solve(outlined, candidates, plan).origin == "network"
    assert solve(pair, [candidates[0], Candidate("network", true)], plan).origin == "network"
    features = [mind_ssc(scan.image, 1, 1) for scan in (pair.fixed, pair.moving)]
    found = global_search(features[0], features[1], GRID, LEVELS)
    assert error_mm(solved.field, resample_smoothly(found, GRID)) < 0.05
    bent = solve(pair, candidates, replace(plan, refinement=replace(still, updates=False)))
    assert error_mm(bent.field, resample_smoothly(found, GRID)) > 0.1  # nodes of 9 to 12 mm cannot hold it


def test_a_network_that_knows_better_is_not_refined() -> None:
    pair, true = a_pair(6.0)
    refinement = RefinementPlan(levels=(RefinementLevel(2, 5, 0.5),))
    plan = DeformationPlan(refinement=refinement, search=LEVELS, refine_network=False)
    candidates = [Candidate(LINEAR, fields.identity(GRID)), Candidate("network", true)]
    kept = solve(pair, candidates, plan)
    assert kept.field is true
    assert kept.steps == ()
    assert solve(pair, candidates[:1], plan).steps, "without a network it is refined"
