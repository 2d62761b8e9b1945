"""Repair leaves no fold in hostile fields, by our determinant and by SimpleITK's, and changes little else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from DeepLargeDeformRegLib.core.errors import CancelledError
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import Pair, Scan
from DeepLargeDeformRegLib.core.progress import Monitor
from DeepLargeDeformRegLib.core.settings import RegistrationSettings
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.fields.bspline import SplineField, control_lattice, fit
from DeepLargeDeformRegLib.engine.fields.corner_determinants import smallest_corner_determinant
from DeepLargeDeformRegLib.engine.fields.field import DisplacementField
from DeepLargeDeformRegLib.engine.fields.folding import repair_folds
from DeepLargeDeformRegLib.engine.metrics import dice
from DeepLargeDeformRegLib.engine.registration.pipeline import RegistrationRequest, register
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from training.evaluation import cases as benchmark_cases

DIRECTION = tuple(Rotation.from_euler("xyz", [20, -30, 10], degrees=True).as_matrix().ravel())
GRID = ImageGrid((40, 36, 30), (0.8, 1.1, 2.3), (10.0, -20.0, 30.0), DIRECTION)


def _of(voxels: torch.Tensor) -> DisplacementField:
    return fields.from_voxels(voxels[None].float(), GRID)


def _indices() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    z, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in GRID.shape), indexing="ij")
    return x, y, z


def _noise(size_mm: float) -> DisplacementField:
    noise = torch.randn((1, 3, *GRID.shape), generator=torch.Generator().manual_seed(0)) * size_mm
    return DisplacementField(noise, GRID)


def _mirrored_ball() -> DisplacementField:
    """Inside a ball left and right are exchanged."""
    x, y, z = _indices()
    inside = ((x - 20) ** 2 + (y - 18) ** 2 + (z - 15) ** 2 < 64).float()
    zero = torch.zeros_like(x)
    return _of(torch.stack((2 * (20 - x) * inside, zero, zero)))


def _collision() -> DisplacementField:
    """Two halves run into each other by ten voxels."""
    x, _, _ = _indices()
    zero = torch.zeros_like(x)
    return _of(torch.stack((torch.where(x < 20, 5.0, -5.0), zero, zero)))


def _oblique_slip() -> DisplacementField:
    """Two halves slip along an oblique plane by twelve voxels, which differences across its steps see as folds."""
    x, y, _ = _indices()
    side = torch.where(x + y < 38, 6.0, -6.0)
    return _of(torch.stack((side, -side + 1.0, torch.zeros_like(side))))


def _whirl() -> DisplacementField:
    """A turn by half a circle that ends within two voxels."""
    x, y, z = _indices()
    radius = ((x - 20) ** 2 + (y - 18) ** 2).sqrt()
    angle = torch.pi * torch.sigmoid((9 - radius) * 2)
    dx, dy = x - 20, y - 18
    turned = torch.stack((angle.cos() * dx - angle.sin() * dy, angle.sin() * dx + angle.cos() * dy))
    return _of(torch.stack((turned[0] - dx, turned[1] - dy, torch.zeros_like(z))))


HOSTILE: dict[str, Callable[[], DisplacementField]] = {
    "noise of 5 mm": lambda: _noise(5.0),
    "noise of 60 mm": lambda: _noise(60.0),
    "mirrored ball": _mirrored_ball,
    "collision": _collision,
    "oblique slip": _oblique_slip,
    "whirl": _whirl,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_fold_is_left_in_hostile_fields(name: str) -> None:
    field = HOSTILE[name]()
    assert float(fields.jacobian_determinant(field).min()) <= 0
    repaired = repair_folds(field).field
    assert float(fields.jacobian_determinant(repaired).min()) > 0
    # SimpleITK's filter leaves the direction out, so it gets the same map on axes without one; it halves the
    # differences at the border.
    upright = ImageGrid.axis_aligned(GRID.size, GRID.spacing)
    vectors = fields.from_voxels(fields.to_voxels(repaired), upright).displacement[0].permute(1, 2, 3, 0)
    image = upright.to_image(vectors.contiguous().numpy(), is_vector=True)
    theirs = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(image, True))
    assert theirs[1:-1, 1:-1, 1:-1].min() > 0


def test_a_fold_is_repaired_where_it_is() -> None:
    """A smooth field with a local fold: far from it nothing changes, near it little more than the fold is deep."""
    generator = np.random.default_rng(6)
    parts = np.stack([gaussian_filter(generator.standard_normal(GRID.shape), 4) for _ in range(3)])
    smooth = DisplacementField(torch.tensor(parts[None] / np.abs(parts).max(), dtype=torch.float32), GRID)
    x, y, z = _indices()
    bump = torch.exp(-((x - 20) ** 2 + (y - 18) ** 2 + (z - 15) ** 2) / 8)
    folded = DisplacementField(smooth.displacement + 6 * bump * torch.tensor([1.0, 0.5, 0]).view(1, 3, 1, 1, 1), GRID)
    repair = repair_folds(folded)
    assert repair.folded_voxels > 0
    assert float(fields.jacobian_determinant(repair.field).min()) > 0
    change = (repair.field.displacement - folded.displacement).norm(dim=1)[0]
    far = (x - 20).abs().maximum((y - 18).abs()).maximum((z - 15).abs()) > 13
    assert float(change[far].max()) < 1e-6  # mm: rounding on the way to voxels and back
    assert repair.largest_change_mm < 6.0


def test_a_shallow_fold_is_moved_apart_and_not_smoothed() -> None:
    """A field with detail everywhere that folds in a few places keeps its detail next to them."""
    generator = np.random.default_rng(2)
    parts = np.stack([gaussian_filter(generator.standard_normal(GRID.shape), 1.5) for _ in range(3)])
    detailed = _of(torch.tensor(parts / parts.std()) * 0.6)
    folded = int((smallest_corner_determinant(detailed) <= 0).sum())
    assert 20 < folded < detailed.displacement[0, 0].numel() / 20
    repair = repair_folds(detailed)
    assert float(smallest_corner_determinant(repair.field).min()) > 0
    change = (fields.to_voxels(repair.field) - fields.to_voxels(detailed)).norm(dim=1)
    assert int((change > 1e-4).sum()) < 8 * folded  # a fold's corners have few points
    assert float(change.max()) < 1.0
    low_pass = torch.nn.functional.avg_pool3d(fields.to_voxels(detailed), 3, 1, 1) - fields.to_voxels(detailed)
    assert float(change.mean()) < 0.05 * float(low_pass.norm(dim=1).mean())


def test_a_spline_is_repaired_by_its_coefficients() -> None:
    """It stays a spline, and its det J bends less than where single voxels were moved."""
    lattice = control_lattice(GRID.with_spacing([2 * spacing for spacing in GRID.spacing]), 1)
    random = torch.randn((1, 3, *lattice.shape), generator=torch.Generator().manual_seed(3))
    field = fields.from_voxels(SplineField(1.4 * random, lattice).on(GRID).displacement, GRID)
    folded = int((smallest_corner_determinant(field) < 0.01).sum())
    assert 100 < folded < 1000
    repaired = repair_folds(field, lattice=lattice).field
    assert float(smallest_corner_determinant(repaired).min()) > 0
    change = DisplacementField(repaired.displacement - field.displacement, GRID)
    again = fit(change, lattice, 1e-8).on(GRID)
    largest = float(change.displacement.abs().max())
    assert torch.allclose(again.displacement, change.displacement, atol=0.01 * largest)
    voxel_by_voxel = repair_folds(field).field
    bends = [_third_differences(one) for one in (repaired, voxel_by_voxel)]
    assert bends[0] < 0.96 * bends[1]


def _third_differences(field: DisplacementField) -> float:
    """99.9th percentile of the third differences of log det J, which kinks make large."""
    logarithm = fields.jacobian_determinant(field).clamp(min=0.02).log()
    return max(float(torch.quantile(logarithm.diff(n=3, dim=dim).abs(), 0.999)) for dim in (2, 3, 4))


def test_the_repair_of_a_networks_map_costs_no_overlap(shared_data: Path) -> None:
    """A network's map of two hippocampi folds in a few voxels; without them the outlines fit as well."""
    case = benchmark_cases.hippocampus(shared_data)[2]
    fixed, moving = case.fixed_labels, case.moving_labels
    assert fixed is not None
    assert moving is not None
    labels = torch.from_numpy(moving.array.astype(np.float32))[None, None]
    folds, overlaps = [], []
    for fold_free in (False, True):
        settings = RegistrationSettings(
            preset="mr-hippocampus", model="hippocampus-mr-mlvirnet-2019", device="cpu", fold_free=fold_free
        )
        field = register(RegistrationRequest(pair=Pair(Scan(case.fixed), Scan(case.moving)), settings=settings)).field
        warped = fields.warp(labels, moving.grid, field, mode="nearest")[0, 0].numpy()
        folds.append(int((fields.jacobian_determinant(field) <= 0).sum()))
        overlaps.append([dice(fixed.array == value, warped == value) for value in (1, 2)])
    assert folds[0] > 0
    assert folds[1] == 0
    assert min(overlaps[0]) > 0.85
    np.testing.assert_allclose(overlaps[1], overlaps[0], atol=0.003)


def test_folds_at_the_border_are_repaired() -> None:
    """Where a voxel has one neighbor only along an axis, that one counts, from either side."""
    for axis in range(3):
        for end in (0, -1):
            voxels = torch.zeros((1, 3, *GRID.shape))
            voxels[0, axis].movedim(2 - axis, 0)[end] = 2.0 if end == 0 else -2.0
            field = fields.from_voxels(voxels, GRID)
            assert float(smallest_corner_determinant(field).min()) < 0
            assert float(smallest_corner_determinant(repair_folds(field).field).min()) > 0


def test_a_flat_field_is_repaired() -> None:
    """A single slice has no neighbors along z."""
    grid = ImageGrid((24, 20, 1), GRID.spacing, GRID.origin, DIRECTION)
    voxels = torch.zeros((1, 3, 1, 20, 24))
    voxels[0, 0, 0, 8:12, 10:12] = torch.tensor([0.8, -0.8])
    field = fields.from_voxels(voxels, grid)
    assert float(smallest_corner_determinant(field).min()) < 0
    assert float(smallest_corner_determinant(repair_folds(field).field).min()) > 0


def test_a_field_without_folds_is_left_as_it_is() -> None:
    x, y, z = _indices()
    wave = _of(torch.stack((torch.sin(y / 6), torch.cos(z / 5), torch.sin(x / 7))))
    repaired = repair_folds(wave)
    assert repaired.folded_voxels == 0
    assert repaired.largest_change_mm == 0.0
    assert repaired.field is wave


def test_a_repair_can_be_cancelled() -> None:
    with pytest.raises(CancelledError):
        repair_folds(_collision(), monitor=Monitor(should_cancel=lambda: True))
