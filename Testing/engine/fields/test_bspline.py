"""Cubic B-spline fields against polynomials, against differences, and against the lattice that they must not show."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import Pair, Scan, Volume
from DeepLargeDeformRegLib.core.progress import Monitor
from DeepLargeDeformRegLib.core.settings import RegistrationSettings
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.fields import DisplacementField
from DeepLargeDeformRegLib.engine.fields.bspline import (
    SplineField,
    compose_smoothly,
    control_lattice,
    fit,
    resample_smoothly,
)
from DeepLargeDeformRegLib.engine.registration import pipeline
from DeepLargeDeformRegLib.engine.registration.control import ControlLattice, all_of
from DeepLargeDeformRegLib.engine.registration.deform import Deformed
from DeepLargeDeformRegLib.engine.registration.pipeline import RegistrationRequest
from scipy.spatial.transform import Rotation

DIRECTION = tuple(Rotation.from_euler("xyz", [20, -30, 10], degrees=True).as_matrix().ravel())
GRID = ImageGrid((21, 18, 16), (1.5, 2.0, 2.5), (10.0, -20.0, 30.0), DIRECTION)


def _spline(factor: int, grid: ImageGrid = GRID, dtype: torch.dtype = torch.float64) -> SplineField:
    lattice = control_lattice(grid, factor)
    generator = torch.Generator().manual_seed(factor)
    return SplineField(torch.randn((1, 3, *lattice.shape), generator=generator, dtype=dtype), lattice)


def _quadratic(grid: ImageGrid) -> DisplacementField:
    x, y, z = fields.points(grid, dtype=torch.float64)[0] / 10
    return DisplacementField(torch.stack((x * y + z, z**2 - x, 1 + y**2 - x * z))[None], grid)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_polynomials_are_reproduced_between_the_voxels_too(factor: int) -> None:
    spline = fit(_quadratic(GRID), control_lattice(GRID, factor), 1e-8)
    inner = GRID.cropped((3, 3, 3), (14, 11, 9)).with_spacing(0.7)
    assert torch.allclose(spline.on(inner).displacement, _quadratic(inner).displacement, atol=1e-3)


def test_an_affine_field_is_kept_up_to_the_border() -> None:
    matrix = np.eye(4)
    matrix[:3] += np.random.default_rng(0).normal(size=(3, 4)) / 5
    affine = fields.from_affine(matrix, GRID, dtype=torch.float64)
    spline = fit(affine, control_lattice(GRID, 2))
    assert torch.allclose(spline.on(GRID).displacement, affine.displacement, atol=1e-4)
    along_index = torch.as_tensor((matrix[:3, :3] - np.eye(3)) @ GRID.direction_matrix)
    for axis, derivative in enumerate(spline.gradient_on(GRID)):
        expected = along_index[:, axis].reshape(1, 3, 1, 1, 1).expand_as(derivative)
        assert torch.allclose(derivative, expected, atol=1e-4)


def test_the_derivative_is_that_of_the_values() -> None:
    spline = _spline(3)
    step = 1e-4
    inner = GRID.cropped((2, 2, 2), (15, 12, 11))
    for axis, derivative in enumerate(spline.gradient_on(inner)):
        shift = np.eye(3)[axis] * step / GRID.spacing[axis]
        moved = [
            ImageGrid(inner.size, inner.spacing, tuple(inner.to_physical(sign * shift)), inner.direction)
            for sign in (1, -1)
        ]
        values = [spline.on(grid).displacement for grid in moved]
        assert torch.allclose(derivative, (values[0] - values[1]) / (2 * step), atol=1e-4)


@pytest.mark.parametrize(("factor", "other"), [(4, 4), (4, 2), (2, 1)])
def test_a_fit_returns_a_spline_also_on_the_lattice_of_half_the_factor(factor: int, other: int) -> None:
    known = _spline(factor).on(GRID)
    refitted = fit(known, control_lattice(GRID, other), 1e-8).on(GRID)
    assert torch.allclose(refitted.displacement, known.displacement, atol=1e-3)


def test_points_and_turned_grids_see_the_same_field_as_parallel_ones() -> None:
    spline = _spline(2)
    expected = spline.on(GRID).displacement
    at = spline.at(fields.points(GRID, dtype=torch.float64)[0].flatten(1).T)
    assert torch.allclose(at.T.reshape(1, 3, *GRID.shape), expected)
    turned = ImageGrid.axis_aligned((4, 5, 6), (2.0, 2.0, 2.0), GRID.center)
    at = spline.at(fields.points(turned, dtype=torch.float64)[0].flatten(1).T)
    assert torch.allclose(at.T.reshape(1, 3, *turned.shape), spline.on(turned).displacement)


def test_beyond_its_lattice_a_field_goes_on() -> None:
    field = _spline(2, dtype=torch.float32).on(GRID)
    wider = GRID.padded((4, 0, 0), (0, 0, 5))
    found = resample_smoothly(field, wider).displacement
    assert torch.allclose(found[:, :, :-5, :, 4:], field.displacement, atol=1e-4), "voxels keep their values"
    assert torch.allclose(found[:, :, :-5, :, :4], field.displacement[..., :1].expand(-1, -1, -1, -1, 4), atol=1e-4)
    assert torch.allclose(found[:, :, -5:, :, 4:], field.displacement[:, :, -1:].expand(-1, -1, 5, -1, -1), atol=1e-4)


def test_composition_is_exact_for_a_quadratic_map() -> None:
    outer = _quadratic(GRID)
    inner = DisplacementField(torch.full((1, 3, *GRID.shape), 0.8, dtype=torch.float64), GRID)
    moved = ImageGrid(GRID.size, GRID.spacing, tuple(np.add(GRID.origin, 0.8)), GRID.direction)
    found = compose_smoothly(outer, inner).displacement - inner.displacement
    expected = _quadratic(moved).displacement
    assert torch.allclose(found[..., 3:-3, 3:-3, 3:-3], expected[..., 3:-3, 3:-3, 3:-3], atol=1e-3)


def test_the_gradient_of_a_loss_reaches_the_coefficients_from_points_and_voxels() -> None:
    spline = _spline(4)
    results = []
    for way in ("grid", "points"):
        coefficients = spline.coefficients.clone().requires_grad_(True)
        moved = SplineField(coefficients, spline.lattice)
        if way == "grid":
            values = moved.on(GRID).displacement[0].flatten(1).T
        else:
            values = moved.at(fields.points(GRID, dtype=torch.float64)[0].flatten(1).T)
        values.square().sum().backward()
        assert coefficients.grad is not None
        results.append(coefficients.grad)
    assert torch.allclose(results[0], results[1])


def lattice_peak(field: DisplacementField, period: int) -> float:
    """Power of det J along x around the frequency of a lattice, over that around half of it.

    What is interpolated from a lattice repeats its spectrum around the lattice's frequency, more weakly the smoother
    the interpolation is. A field that is smooth has less and less power there.
    """
    determinant = fields.jacobian_determinant(field)[0, 0, 4:-4, 4:-4]
    length = determinant.shape[-1] // period * period
    lines = determinant[..., :length] - determinant[..., :length].mean(dim=-1, keepdim=True)
    power = torch.fft.rfft(lines * torch.hann_window(length), dim=-1).abs().square().mean(dim=(0, 1))
    peak = length // period
    return float(power[peak * 3 // 4 : peak * 5 // 4].mean() / power[peak * 3 // 8 : peak * 5 // 8].mean())


def test_det_j_shows_no_lattice_where_linear_interpolation_does() -> None:
    """From the nodes to the working grid, and from the working grid to the voxels of the scan."""
    grid = ImageGrid.axis_aligned((96, 16, 16), (3.0, 3.0, 3.0))
    control = ControlLattice(grid, 4)
    nodes = torch.randn((1, 3, *control.lattice.shape), generator=torch.Generator().manual_seed(0))
    smooth = control.on(nodes, all_of(grid))
    on_nodes = control.on(nodes, control.on_nodes)
    assert lattice_peak(fields.resample(on_nodes, grid), 4) > 0.5, "the measure sees a lattice where there is one"
    assert lattice_peak(smooth, 4) < 0.05
    voxels = grid.with_spacing(1.0)
    assert lattice_peak(fields.resample(smooth, voxels), 3) > 0.5
    scan = Scan(Volume(np.zeros(voxels.shape, np.float32), voxels))
    request = RegistrationRequest(pair=Pair(scan, scan), settings=RegistrationSettings(fold_free=False))
    deformed = Deformed(field=smooth, origin="", steps=(), seconds={})
    written = pipeline._output_field(deformed, np.eye(4), request, Monitor())
    assert written.grid == voxels
    assert lattice_peak(written, 3) < 0.05
