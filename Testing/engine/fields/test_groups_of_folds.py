"""Folds that lie apart are repaired one by one: the cost is that of the folds, and nothing else changes."""

from __future__ import annotations

import pytest
import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.fields import DisplacementField, boxes, corner_determinants, spline_moves
from DeepLargeDeformRegLib.engine.fields.bspline import control_lattice, fit
from DeepLargeDeformRegLib.engine.fields.corner_determinants import (
    central_at,
    smallest_at,
    smallest_corner_determinant,
    too_small,
)
from DeepLargeDeformRegLib.engine.fields.folding import repair_folds

ROTATED = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)


def _noise(size: tuple[int, int, int]) -> DisplacementField:
    grid = ImageGrid(size, (0.8, 1.1, 2.3), (10.0, -20.0, 30.0), ROTATED)
    noise = torch.randn((1, 3, *grid.shape), generator=torch.Generator().manual_seed(0))
    return DisplacementField(0.4 * noise, grid)


def _bumps(size: tuple[int, int, int], planes: tuple[int, ...]) -> tuple[DisplacementField, ImageGrid]:
    """A spline of two voxels per node that folds around some planes, and its lattice."""
    grid = ImageGrid(size, (1.0, 1.0, 1.0))
    lattice = control_lattice(grid, 2)
    bumps = torch.zeros(1, 3, *grid.shape)
    for z in planes:
        bumps[0, 0, z - 1 : z + 2, 9:12, 8:11] = 6.0
    field = fit(DisplacementField(bumps, grid), lattice).on(grid)
    assert bool((fields.jacobian_determinant(field) <= 0).any())
    return field, lattice


@pytest.fixture
def in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small grids are treated as large ones."""
    monkeypatch.setattr(boxes, "SMALL", 1000)


@pytest.mark.parametrize("size", [(13, 22, 35), (24, 20, 1), (2, 3, 9), (1, 1, 5)])
def test_corners_are_the_same_at_once_in_chunks_and_one_by_one(
    size: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    field = _noise(size)
    smallest = smallest_corner_determinant(field)
    middle = float(smallest.median()) + 1e-4
    monkeypatch.setattr(corner_determinants, "PLANES", 4)
    monkeypatch.setattr(corner_determinants, "CHUNK_VOXELS", 300)
    voxels = fields.to_voxels(field)
    assert torch.equal(too_small(field.displacement, middle, grid=field.grid), smallest < middle)
    assert torch.equal(too_small(voxels, middle), smallest < middle)
    places = torch.arange(0, smallest.numel(), 3)
    torch.testing.assert_close(smallest_at(voxels, places), smallest.flatten()[places], atol=1e-5, rtol=1e-5)
    central = fields.jacobian_determinant(field).flatten()[places]
    torch.testing.assert_close(central_at(voxels, places), central, atol=1e-5, rtol=1e-5)


def test_groups_hold_every_voxel_once_and_neighbors_together(
    in_groups: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = torch.zeros(1, 1, 60, 20, 20, dtype=torch.bool)
    chosen[0, 0, 2:40, 5, 5] = True  # a line, which is one group
    chosen[0, 0, 55, 18, 18] = True
    found = boxes.groups(chosen, (5, 5, 5), (2, 2, 2))
    assert sorted(map(len, found)) == [1, 38]
    monkeypatch.setattr(boxes, "MOST_AT_ONCE", 500)
    tiles = boxes.groups(chosen, (5, 5, 5), (2, 2, 2))
    assert sorted(map(len, tiles)) == [1, 8, 10, 10, 10]
    again = torch.zeros_like(chosen)
    for z, y, x in torch.cat(tiles).tolist():
        assert not again[0, 0, z, y, x]
        again[0, 0, z, y, x] = True
    assert torch.equal(again, chosen)


def test_folds_that_lie_apart_leave_what_lies_between(in_groups: None) -> None:
    field, lattice = _bumps((20, 20, 240), (9, 230))
    before = field.displacement.clone()
    repair = repair_folds(field, lattice=lattice)
    assert float(smallest_corner_determinant(repair.field).min()) >= 0.0099  # rounding on the way to mm
    assert repair.folded_voxels > 0
    assert torch.equal(field.displacement, before), "the field that was given is as it was"
    assert torch.equal(repair.field.displacement[:, :, 60:180], before[:, :, 60:180])
    in_place = repair_folds(field, lattice=lattice, in_place=True)
    assert in_place.field.displacement.data_ptr() == field.displacement.data_ptr()
    assert torch.equal(in_place.field.displacement, repair.field.displacement)


def test_a_fold_costs_the_same_on_a_larger_grid(in_groups: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same moves, and as many voxels looked at while coefficients move."""
    looked_at: list[int] = []

    def counted(voxels: torch.Tensor, *rest: object) -> torch.Tensor:
        looked_at.append(voxels.numel())
        return too_small(voxels, *rest)

    monkeypatch.setattr(spline_moves, "too_small", counted)
    changes, costs = [], []
    for depth in (90, 240):
        field, lattice = _bumps((20, 20, depth), (40,))
        looked_at.clear()
        changes.append((repair_folds(field, lattice=lattice).field.displacement - field.displacement)[:, :, :80])
        costs.append(sum(looked_at))
    assert costs[0] == costs[1] > 0
    torch.testing.assert_close(changes[0], changes[1], atol=1e-3, rtol=0.0)


def test_what_moves_a_spline_is_a_spline_that_ends_within_its_box(in_groups: None) -> None:
    """As a spline through its voxels is the same, up to what rounding makes of it."""
    grid = ImageGrid((30, 28, 120), (1.0, 1.0, 1.0))
    lattice = control_lattice(grid, 2)
    z, y, x = torch.meshgrid(*(torch.arange(float(n)) for n in grid.shape), indexing="ij")
    bump = 6.6 * torch.exp(-((x - 15) ** 2 + (y - 14) ** 2 + (z - 60) ** 2) / 18)
    bump = torch.stack((bump, torch.zeros_like(x), torch.zeros_like(x)))[None]
    field = fit(DisplacementField(bump, grid), lattice).on(grid)
    assert int((smallest_corner_determinant(field) < 0.01).sum()) > 10
    change = repair_folds(field, lattice=lattice).field.displacement - field.displacement
    assert float(change.abs().max()) > 0.05
    again = fit(DisplacementField(change, field.grid), lattice, 1e-8).on(field.grid)
    torch.testing.assert_close(again.displacement, change, atol=0.01 * float(change.abs().max()), rtol=0.0)
    moved = change.abs().amax(dim=(0, 1, 3, 4)).nonzero()[:, 0]
    assert 60 - 40 < int(moved.min()) < int(moved.max()) < 60 + 40


@pytest.mark.parametrize("spline", [True, False])
def test_a_group_that_spreads_far_is_repaired_in_tiles(
    spline: bool, in_groups: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tiles cut folds in two, and one repair may fold what another has looked at; nothing is left."""
    monkeypatch.setattr(boxes, "MOST_AT_ONCE", 1000)
    field, lattice = _bumps((20, 20, 160), tuple(range(9, 152, 6)))
    repaired = repair_folds(field, lattice=lattice if spline else None).field
    assert float(smallest_corner_determinant(repaired).min()) >= 0.0099
    change = (repaired.displacement - field.displacement).abs().max()
    assert float(change) < 6.0, "no farther than the folds are deep"
