"""The control lattice: its field and derivatives against the spline's own, both sides of a surface, random voxels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.fields import DisplacementField
from DeepLargeDeformRegLib.engine.registration.control import ControlLattice, RandomVoxels, Voxels, all_of

GRID = ImageGrid.axis_aligned((31, 28, 26), (1.5, 1.5, 2.0), (3.0, 4.0, 5.0))
SOME = Voxels((1, 2, 0), (3, 2, 4), (29, 28, 25))


def _nodes(control: ControlLattice) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn((control.sides, 3, *control.lattice.shape), generator=generator, dtype=torch.float64)


def _left_half() -> torch.Tensor:
    mask = torch.zeros((1, 1, *GRID.shape), dtype=torch.float64)
    mask[..., :15] = 1
    return mask


@pytest.mark.parametrize("factor", [2, 4])
def test_values_and_derivatives_are_those_of_the_spline(factor: int) -> None:
    control = ControlLattice(GRID, factor)
    nodes = _nodes(control)
    spline = control.splines(nodes)
    expected = spline.on(SOME.of(GRID)).displacement
    assert torch.allclose(control.on(nodes, SOME).displacement, expected)
    assert torch.allclose(SOME.among(control.on(nodes, all_of(GRID)).displacement), expected)
    _, whole = control.gradients(nodes, SOME)
    for axis, derivative in enumerate(spline.gradient_on(SOME.of(GRID))):
        voxels = derivative * GRID.spacing[axis] / torch.tensor(GRID.spacing).reshape(1, 3, 1, 1, 1)
        assert torch.allclose(whole[axis], voxels)


def test_derivatives_across_a_surface_are_those_of_the_values() -> None:
    control = ControlLattice(GRID, 4, _left_half())
    nodes = _nodes(control)
    _, whole = control.gradients(nodes, all_of(GRID))
    differences = torch.stack(fields.index_gradient(fields.to_voxels(control.on(nodes, all_of(GRID)))))
    inner = (..., slice(2, -2), slice(2, -2), slice(2, -2))
    error = (whole - differences)[inner].abs().max()
    # Central differences err by a sixth of the third derivative; one that left out the slip would err by all of it.
    assert error < 0.15 * differences[inner].abs().max()


def test_each_side_of_a_surface_moves_by_itself() -> None:
    control = ControlLattice(GRID, 2, _left_half())
    nodes = torch.zeros_like(_nodes(control))
    nodes[0, 2] = 5.0
    moved = control.on(nodes, all_of(GRID)).displacement
    assert torch.allclose(moved[:, 2, ..., :13], torch.tensor(5.0, dtype=torch.float64))
    assert not moved[..., 17:].any()
    points = torch.from_numpy(GRID.to_physical([(5, 5, 5), (25, 5, 5)]))
    assert torch.allclose(control.at(nodes, points)[:, 2], torch.tensor([5.0, 0.0], dtype=torch.float64))


def test_a_refinement_begins_with_the_field_that_it_is_given() -> None:
    """Also where the last cell of the lattice holds a single voxel, which barely touches its node."""
    x, y, z = fields.points(GRID)[0] / 20
    smooth = DisplacementField(torch.stack((torch.sin(x), torch.cos(y), x * z))[None], GRID)
    for given in (smooth, fields.resample(smooth, GRID.coarser(2))):
        control = ControlLattice(GRID, 3)
        found = control.splines(control.nodes(given)).on(GRID).displacement
        assert found.abs().max() < 1.2 * smooth.displacement.abs().max()
        assert (found - smooth.displacement)[..., 6:-6, 6:-6, 6:-6].abs().max() < 0.15


def test_random_voxels_are_as_many_as_wanted_and_leave_none_out() -> None:
    inside = torch.zeros((1, 1, *GRID.shape), dtype=torch.bool)
    inside[..., 4:20, 6:21, 10:26] = True
    random = RandomVoxels(GRID, 300, inside)
    seen = torch.zeros_like(inside)
    numbers = []
    for _ in range(200):
        voxels = random.draw()
        voxels.among(seen).fill_(True)
        numbers.append(int(voxels.among(inside).sum()))
        assert voxels.of(GRID).shape == tuple(voxels.among(inside).shape[2:])
    assert np.mean(numbers) == pytest.approx(300, rel=0.3)
    assert bool((seen | ~inside).all())
