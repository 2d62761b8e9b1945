"""Instance optimization finds a known deformation with every similarity, and obeys its other terms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.plans import DeformationPlan, RefinementLevel, RefinementPlan
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.fields import DisplacementField
from DeepLargeDeformRegLib.engine.registration.aligned import AlignedPair, AlignedScan
from DeepLargeDeformRegLib.engine.registration.refine import refine
from DeepLargeDeformRegLib.engine.registration.solve import INITIAL, Candidate, solve
from scipy.ndimage import gaussian_filter

GRID = ImageGrid.axis_aligned((36, 34, 32), (1.5, 1.5, 2.0))
LEVELS = (RefinementLevel(2, 80, 0.5),)


def pair(
    fixed_points: torch.Tensor | None = None, moving_points: torch.Tensor | None = None
) -> tuple[AlignedPair, DisplacementField]:
    """A textured scan and the same scan moved by a smooth field of up to 3 mm, with that field."""
    generator = np.random.default_rng(0)
    moving = torch.from_numpy(gaussian_filter(generator.standard_normal(GRID.shape), 1.5).astype(np.float32))
    parts = np.stack([gaussian_filter(generator.standard_normal(GRID.shape), 7) for _ in range(3)])
    true = DisplacementField(torch.tensor(3 * parts[None] / np.abs(parts).max(), dtype=torch.float32), GRID)
    image = 1000 * moving[None, None]
    fixed = fields.warp(image, GRID, true, padding="border")
    ones = torch.ones_like(fixed)
    scans = (
        AlignedScan(image=fixed, covered=ones, masks=None, landmarks=fixed_points),
        AlignedScan(image=image, covered=ones, masks=None, landmarks=moving_points),
    )
    return AlignedPair(GRID, *scans), true


def error(found: DisplacementField, true: DisplacementField) -> float:
    difference = fields.resample(found, GRID).displacement - true.displacement
    return float(difference[..., 5:-5, 5:-5, 5:-5].norm(dim=1).mean())


@pytest.mark.parametrize("similarity", ["mind", "ngf", "ncc"])
def test_every_similarity_finds_a_known_deformation(similarity: str) -> None:
    scans, true = pair()
    plan = RefinementPlan(levels=LEVELS, similarity=similarity, diffusion=0.05, volume_change=0.001, curvature=0.01)
    found = refine(scans, fields.identity(GRID), plan).field
    assert error(found, true) < 0.4 * error(fields.identity(GRID), true)


def test_landmarks_pull_where_they_are() -> None:
    points = torch.tensor([[27.0, 25.0, 31.0], [20.0, 30.0, 40.0]])
    scans, _ = pair(points, points + torch.tensor([4.0, 0.0, 0.0]))
    plan = RefinementPlan(levels=LEVELS, diffusion=0.05, landmarks=1.0)
    moved = fields.transform_points(refine(scans, fields.identity(GRID), plan).field, points)
    assert float((moved - points - torch.tensor([4.0, 0.0, 0.0])).norm(dim=1).max()) < 1.0


def test_each_level_adds_an_update_to_an_initial_field() -> None:
    scans, true = pair()
    initial = DisplacementField(0.4 * true.displacement, GRID)
    plan = RefinementPlan(levels=(RefinementLevel(2, 25, 0.3), RefinementLevel(2, 25, 0.3)), diffusion=0.05)
    one, two = (
        solve(
            scans,
            [Candidate(INITIAL, initial)],
            DeformationPlan(refinement=replace(plan, levels=plan.levels[:count])),
        )
        for count in (1, 2)
    )
    assert len(two.steps) == 2
    errors = [error(field, true) for field in (initial, one.field, two.field)]
    assert errors[2] < errors[1] < errors[0]


def test_a_mask_slides_along_its_surroundings() -> None:
    """A column moves along its axis within resting surroundings: smoothing across its surface would blur both."""
    scans, _ = pair()
    _, rows, columns = torch.meshgrid(*(torch.arange(n) for n in GRID.shape), indexing="ij")
    mask = (((rows - 17) ** 2 + (columns - 18) ** 2) < 81).float()[None, None]
    shift = torch.tensor([0.0, 0.0, 5.0]).reshape(1, 3, 1, 1, 1)
    true = DisplacementField(mask * shift, GRID)
    fixed = fields.warp(scans.moving.image, GRID, true, padding="border")
    moved = replace(scans, fixed=replace(scans.fixed, image=fixed, masks=mask))
    plan = RefinementPlan(levels=(RefinementLevel(2, 80, 0.5),), diffusion=0.03, volume_change=0.01)
    surface = (torch.nn.functional.avg_pool3d(mask, 5, 1, 2) % 1 > 0).float()
    surface[:, :, [*range(6), *range(-6, 0)]] = 0
    errors = []
    for one in (moved, replace(moved, sliding=True)):
        found = fields.resample(refine(one, fields.identity(GRID), plan).field, GRID)
        distance = (found.displacement - true.displacement).norm(dim=1, keepdim=True)
        errors.append(float((distance * surface).sum() / surface.sum()))
    assert errors[1] < 0.75 * errors[0]
