"""Keypoints and their matching: parts against plain computations, the whole on scans with known motion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.files import read_label_map, read_landmark_pairs, read_volume, write_volume
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import LabelMap, LandmarkPairs, Volume
from scipy import ndimage
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import pdist, squareform
from typer import Typer
from typer.testing import CliRunner

from training.keypoints import KeypointSettings, interpolate, match, residual
from training.keypoints.__main__ import main
from training.keypoints.foerstner import distinctiveness, foerstner_keypoints
from training.keypoints.matching import best, patch_costs, regularized, spanning_tree

GRID = ImageGrid.axis_aligned((30, 28, 26), (1.0, 1.0, 1.0))


def test_corners_are_distinct_and_edges_are_not() -> None:
    image = torch.zeros(GRID.shape)
    image[8:, 8:, 8:] = 1  # one corner, three edges, three faces
    measure = distinctiveness(image, GRID, 1.5)
    points = foerstner_keypoints(image, GRID, torch.ones(GRID.shape, dtype=torch.bool), 5, 4.0, 1.5)
    assert torch.allclose(points[0].float(), torch.tensor([8.0, 8.0, 8.0]), atol=1.01)
    corner = float(measure.max())
    assert float(measure[18, 8, 8]) < 0.05 * corner  # on an edge
    assert float(measure[18, 18, 8]) < 0.01 * corner  # on a face
    assert float(measure[2, 2, 2]) == 0


def test_keypoints_stay_apart_and_in_the_mask() -> None:
    noise = torch.from_numpy(ndimage.gaussian_filter(np.random.default_rng(0).normal(size=GRID.shape), 1.5)).float()
    mask = torch.zeros(GRID.shape, dtype=torch.bool)
    mask[4:-4, 4:-4, 4:20] = True
    points = foerstner_keypoints(noise, GRID, mask, 1000, 3.0, 1.0)
    assert len(points) > 10
    assert bool(mask[tuple(points.flip(1).T)].all())
    gap = (points[:, None] - points[None]).abs().amax(dim=2) + 1000 * torch.eye(len(points), dtype=torch.int64)
    assert int(gap.min()) > 3
    fewer = foerstner_keypoints(noise, GRID, mask, 5, 3.0, 1.0)
    assert torch.equal(fewer, points[:5])


def test_patch_costs_are_those_of_a_plain_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    fixed, moving = (torch.rand((2, 9, 10, 11), generator=generator) for _ in range(2))
    points, centers = torch.tensor([[5, 5, 4], [1, 8, 4]]), torch.tensor([[1, 0, -1], [0, 1, 0]])
    costs = patch_costs(fixed, moving, points, centers, radius=2)
    assert costs.shape == (2, 5, 5, 5)
    x, y, z = (points[0] + centers[0]).tolist()
    for dz, dy, dx in ((0, 0, 0), (1, -2, 2), (-2, 1, 0)):
        a = fixed[:, 3:6, 4:7, 4:7]
        b = moving[:, z + dz - 1 : z + dz + 2, y + dy - 1 : y + dy + 2, x + dx - 1 : x + dx + 2]
        assert float(costs[0, dz + 2, dy + 2, dx + 2]) == pytest.approx(float(((a - b) ** 2).mean()), rel=1e-4)
    assert torch.isinf(costs[1, 2, 3, 2])  # y = 10 is outside
    assert torch.isfinite(costs[1, 2, 2, 2])


def test_messages_find_the_least_total_cost() -> None:
    """Against every combination of displacements of three keypoints."""
    generator = torch.Generator().manual_seed(1)
    points = torch.tensor([[0, 0, 0], [3, 0, 0], [7, 0, 0]])
    centers = torch.tensor([[0, 0, 0], [1, 0, 0], [0, -1, 0]])
    costs = torch.rand((3, 3, 3, 3), generator=generator)
    tree = spanning_tree(points)
    assert float(tree.length.sum()) == pytest.approx(7)
    weight = 0.5
    marginals = regularized(costs, centers, tree, weight, step=1)
    lattice = torch.stack(torch.meshgrid(*[torch.arange(3)] * 3, indexing="ij"), dim=-1).reshape(-1, 3)
    place = lattice.flip(1)[None] - 1 + centers[:, None]  # displacement of each label, x y z
    flat = costs.flatten(1)
    first = weight / 3 * (place[0][:, None] - place[1][None]).square().sum(-1)
    second = weight / 4 * (place[1][:, None] - place[2][None]).square().sum(-1)
    total = flat[0][:, None, None] + flat[1][None, :, None] + flat[2][None, None]
    total = total + first[:, :, None] + second[None]
    for node, dims in enumerate(((1, 2), (0, 2), (0, 1))):
        expected = total.amin(dim=dims)
        found = marginals[node].flatten()
        assert torch.allclose(found - found.min(), expected - expected.min(), atol=1e-5)


def test_the_tree_of_points_in_clusters_is_the_shortest() -> None:
    """A lone point lists neighbors that do not list it: their edges count all the same."""
    random = np.random.default_rng(0)
    clusters = [random.normal(center, 2.0, (25, 3)) for center in ((0, 0, 0), (40, 0, 0))]
    points = np.concatenate([*clusters, random.uniform(8, 32, (6, 3))])
    tree = spanning_tree(torch.from_numpy(points))
    shortest = minimum_spanning_tree(squareform(pdist(points))).sum()
    assert float(tree.length.sum()) == pytest.approx(shortest, rel=1e-3)


def test_least_cost_to_a_fraction_of_a_voxel() -> None:
    z, y, x = torch.meshgrid(*[torch.arange(-2.0, 3.0)] * 3, indexing="ij")
    marginals = ((x - 0.3) ** 2 + (y + 1.2) ** 2 + z**2)[None]
    found = best(marginals, torch.tensor([[10, 0, 0]]), step=2)
    assert torch.allclose(found, torch.tensor([[10.6, -2.4, 0.0]]), atol=1e-4)


def test_interpolation_reproduces_an_affine_motion() -> None:
    points = np.random.default_rng(0).uniform(0, 100, (80, 3))
    matrix = np.array([[1.1, 0.1, 0], [0, 0.9, 0], [0, 0.05, 1]])
    pairs = LandmarkPairs(points, points @ matrix.T + 5)
    others = np.random.default_rng(1).uniform(20, 80, (10, 3))
    assert np.allclose(interpolate(pairs, others), others @ matrix.T + 5, atol=1e-3)
    assert residual(pairs, LandmarkPairs(others, others)).mean() > 3


@pytest.fixture(scope="module")
def shifted() -> tuple[Volume, Volume, np.ndarray]:
    """Textured scans, the second of which is bent by up to 12 mm; and the points' true way."""
    grid = ImageGrid.axis_aligned((56, 52, 48), (2.0, 2.0, 2.0), (10.0, -20.0, 5.0))
    noise = np.random.default_rng(0).normal(size=grid.shape)
    texture = ndimage.gaussian_filter(noise, 1.5)
    values = (texture / texture.std() * 150 - 400).astype(np.float32)
    index = np.indices(grid.shape).astype(float)
    bend = 3 * np.sin(index[0] / 16)  # voxels along x, by z
    moved = ndimage.map_coordinates(values, index - np.stack([0 * bend, 0 * bend + 2, bend]), order=1, mode="nearest")
    return Volume(values, grid), Volume(moved.astype(np.float32), grid), bend


def test_a_known_motion_is_found(shifted: tuple[Volume, Volume, np.ndarray]) -> None:
    fixed, moving, _ = shifted
    settings = KeypointSettings(count=300, spacing_mm=2.0, distance_mm=4.5, reach_mm=12.0)
    pairs = match(fixed, moving, settings=settings)
    index = fixed.grid.to_index(pairs.fixed)
    inside = np.all((index > 6) & (index < np.array(fixed.grid.size) - 8), axis=1)
    expected = np.stack([6 * np.sin(index[:, 2] / 16), np.full(len(index), 4.0), np.zeros(len(index))], axis=1)
    error = np.linalg.norm(pairs.moving - pairs.fixed - expected, axis=1)[inside]
    assert inside.sum() > 60
    assert np.median(error) < 0.7  # a third of a voxel
    assert np.mean(error > 3) < 0.03


def test_scans_of_two_patients_are_refused(shifted: tuple[Volume, Volume, np.ndarray]) -> None:
    fixed = shifted[0]
    noise = np.random.default_rng(9).normal(size=fixed.grid.shape)
    other = Volume((ndimage.gaussian_filter(noise, 1.5) * 1000 - 400).astype(np.float32), fixed.grid)
    whole = LabelMap(np.ones(fixed.grid.shape, np.uint8), fixed.grid)  # masks of one place: no search for it
    with pytest.raises(BadInputError, match="matched there and back"):
        match(fixed, other, whole, whole, KeypointSettings(count=120, spacing_mm=2.0, reach_mm=8.0))


def test_sample_case_by_the_command(sample_case: Path, tmp_path: Path) -> None:
    """Two visits, 35 mm apart as loaded: correspondences bring the manual landmarks together."""
    app = Typer()
    app.command()(main)
    scans = [str(sample_case / f"{name}.nii.gz") for name in ("fixed", "moving")]
    masks = [str(sample_case / f"{name}_mask.nii.gz") for name in ("fixed", "moving")]
    landmarks = sample_case / "landmarks_lps.csv"
    output = tmp_path / "points.csv"
    arguments = [*scans, "--masks", *masks, "--output", str(output), "--landmarks", str(landmarks)]
    result = CliRunner().invoke(app, [*arguments, "--count", "500", "--spacing", "2.5", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    pairs, truth = read_landmark_pairs(output), read_landmark_pairs(landmarks)
    mask = read_label_map(sample_case / "fixed_mask.nii.gz")
    index = np.rint(mask.grid.to_index(pairs.fixed)).astype(int)
    assert mask.array[tuple(index[:, ::-1].T)].astype(bool).mean() > 0.95
    assert np.linalg.norm(truth.fixed - truth.moving, axis=1).mean() > 30
    assert residual(pairs, truth).mean() < 3
    assert "correspondences in" in result.output


def test_the_command_refuses_politely(sample_case: Path, tmp_path: Path) -> None:
    app = Typer()
    app.command()(main)
    fixed = read_volume(sample_case / "fixed.nii.gz")
    flat = Volume(np.where(fixed.array > 0, 1.0, 0.0), fixed.grid)
    write_volume(flat, tmp_path / "flat.nii.gz")
    scans = [str(sample_case / "fixed.nii.gz"), str(tmp_path / "nothing.nii.gz")]
    result = CliRunner().invoke(app, [*scans, "--output", str(tmp_path / "points.csv")])
    assert result.exit_code == 2
    assert "nothing.nii.gz" in result.output
    assert not (tmp_path / "points.csv").exists()
