"""Random numbers and fields."""

from __future__ import annotations

import pytest
import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid

from training.synthesis.draw import Draw, blur, cells, shell_distance, smooth_noise, tube_distance, tube_share

GRID = ImageGrid.axis_aligned((40, 36, 32), (2.0, 2.0, 3.0))


def test_same_seed_same_numbers() -> None:
    for make in (
        lambda d: smooth_noise(d, GRID, 20.0),
        lambda d: torch.tensor(d.uniform(0, 1)),
        lambda d: d.normal((4,)),
    ):
        assert torch.equal(make(Draw(7)), make(Draw(7)))
        assert not torch.equal(make(Draw(7)), make(Draw(8)))


def test_a_split_source_does_not_disturb_the_other() -> None:
    first, second = Draw(1), Draw(1)
    first.split().normal((100,))
    second.split()
    assert torch.equal(first.normal((3,)), second.normal((3,)))
    assert first.uniform(0, 1) == second.uniform(0, 1)


def test_noise_is_standard_and_smoother_at_larger_scales() -> None:
    roughness = []
    for scale in (8.0, 16.0, 32.0):
        noise = smooth_noise(Draw(0), GRID, scale, 2)
        assert noise.shape == (2, *GRID.shape)
        assert noise.flatten(1).mean(1).abs().max() < 1e-4
        assert noise.flatten(1).std(1).tolist() == pytest.approx([1, 1], abs=1e-4)
        roughness.append(float(noise.diff(dim=3).abs().mean()))
    assert roughness[0] > 1.5 * roughness[1] > 2.2 * roughness[2]


def test_distance_from_a_plane() -> None:
    x = torch.arange(40.0)[None, None, :].expand(GRID.shape) * 2
    assert torch.allclose(shell_distance(3 * (x - 31), GRID), (x - 31).abs(), atol=1e-3)


def test_tubes_have_their_radius_and_branch_everywhere() -> None:
    grid = ImageGrid.axis_aligned((64, 64, 64), (1.0, 1.0, 1.0))
    line = tube_distance(Draw(2), grid, 30.0)
    volumes = [float(tube_share(line, radius, grid).sum()) for radius in (1.5, 3.0)]
    # Twice the radius, four times the section; ends and junctions make it less.
    assert 2.5 < volumes[1] / volumes[0] < 5
    thin = tube_share(line, 0.25, grid)
    assert 0 < float(thin.max()) <= 0.25 + 1e-6


def test_cells_fill_space() -> None:
    kind, distance = cells(Draw(0), GRID, 25.0, 6)
    assert set(kind.unique().tolist()) == set(range(6))
    assert float(distance.min()) >= 0
    border = (kind[:, :, 1:] != kind[:, :, :-1]).float()
    near = torch.minimum(distance[:, :, 1:], distance[:, :, :-1])
    assert float(near[border > 0].mean()) < 0.3 * float(distance.mean())


def test_blur_keeps_the_mean_of_a_constant_and_spreads_a_point() -> None:
    assert torch.allclose(blur(torch.full(GRID.shape, 5.0), 6.0, GRID), torch.tensor(5.0))
    point = torch.zeros(GRID.shape)
    point[16, 18, 20] = 1
    blurred = blur(point, 4.0, GRID)
    assert float(blurred.sum()) == pytest.approx(1, abs=1e-3)
    x = (torch.arange(40.0) - 20) * 2
    width = float((blurred.sum(dim=(0, 1)) * x**2).sum()) ** 0.5
    assert width == pytest.approx(4.0, rel=0.06)
