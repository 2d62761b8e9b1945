"""Fields against SimpleITK on an oblique anisotropic grid, against closed forms, and property tests."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.fields import slabs, to_sitk
from DeepLargeDeformRegLib.engine.fields.field import DisplacementField
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

DIRECTION = tuple(Rotation.from_euler("xyz", [20, -30, 10], degrees=True).as_matrix().ravel())
GRID = ImageGrid((40, 36, 30), (0.8, 1.1, 2.3), (10.0, -20.0, 30.0), DIRECTION)
INNER = (slice(None), slice(None), *(slice(8, -8),) * 3)


def smooth_field(seed: int, size_mm: float = 3.0) -> DisplacementField:
    generator = np.random.default_rng(seed)
    parts = np.stack([gaussian_filter(generator.standard_normal(GRID.shape), 4) for _ in range(3)])
    return DisplacementField(torch.tensor(size_mm * parts[None] / np.abs(parts).max(), dtype=torch.float32), GRID)


def test_warp_equals_simpleitk_on_oblique_grids() -> None:
    image = gaussian_filter(np.random.default_rng(3).standard_normal(GRID.shape), 2).astype(np.float32)
    field = smooth_field(0)
    ours = fields.warp(torch.from_numpy(image)[None, None], GRID, field)[0, 0].numpy()
    reference = GRID.to_image(image)
    theirs = sitk.GetArrayFromImage(sitk.Resample(reference, reference, to_sitk(field), sitk.sitkLinear, 0.0))
    inner = (slice(8, -8),) * 3
    assert np.abs(ours - theirs)[inner].max() < 1e-4 * np.abs(image).max()


def test_composition_equals_simpleitk_on_oblique_grids() -> None:
    outer, inner = smooth_field(1), smooth_field(2)
    ours = fields.compose(outer, inner)
    index = np.array([[20, 18, 15], [12, 20, 10], [28, 14, 20]])
    for (x, y, z), point in zip(index, GRID.to_physical(index), strict=True):
        theirs = to_sitk(outer).TransformPoint(to_sitk(inner).TransformPoint(point))
        mine = point + ours.displacement[0, :, z, y, x].numpy()
        np.testing.assert_allclose(mine, theirs, atol=1e-3)


def test_jacobian_equals_simpleitk() -> None:
    field = smooth_field(4)
    # ITK differentiates along the index axes but does not turn the vectors into them: do that for it.
    turned = np.einsum("ji,jdhw->dhwi", GRID.direction_matrix, field.displacement[0].double().numpy())
    image = sitk.GetImageFromArray(turned, isVector=True)
    image.SetSpacing(GRID.spacing)
    theirs = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(image))
    ours = fields.jacobian_determinant(field)[0, 0].numpy()
    inner = (slice(1, -1),) * 3
    assert np.abs(ours - theirs)[inner].max() < 1e-4 * np.abs(theirs).max()


@settings(max_examples=15, deadline=None)
@given(st.floats(0.5, 2.0), st.floats(0.5, 2.0), st.floats(0.5, 2.0), st.floats(-0.4, 0.4))
def test_jacobian_of_an_affine_map_is_its_determinant(a: float, b: float, c: float, shear: float) -> None:
    matrix = np.eye(4)
    matrix[:3, :3] = [[a, shear, 0], [0, b, shear], [0, 0, c]]
    determinant = fields.jacobian_determinant(fields.from_affine(matrix, GRID))
    assert torch.allclose(determinant, torch.full_like(determinant, a * b * c), rtol=1e-3)


def test_composition_with_the_inverse_is_the_identity() -> None:
    field = smooth_field(5)
    inverse = fields.invert(field)
    assert float(inverse.residual_mm[INNER].max()) < 0.02
    there_and_back = fields.compose(inverse.field, field)
    assert float(there_and_back.displacement[INNER].abs().max()) < 0.1


def test_exponential_of_a_constant_velocity_is_the_translation() -> None:
    constant = DisplacementField(torch.ones((1, 3, *GRID.shape)) * 2.5, GRID)
    torch.testing.assert_close(fields.exponentiate(constant).displacement, constant.displacement)


def test_resampling_to_another_grid_keeps_a_linear_field() -> None:
    matrix = np.eye(4)
    matrix[:3, :3] += 0.01
    finer = GRID.cropped((5, 5, 5), (20, 20, 15)).with_spacing(0.9)
    resampled = fields.resample(fields.from_affine(matrix, GRID), finer)
    torch.testing.assert_close(
        resampled.displacement, fields.from_affine(matrix, finer).displacement, atol=2e-4, rtol=0
    )


def test_the_inverse_of_slabs_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each slab ends when its own voxels are found: both are right to the tolerance, and not the same to the bit."""
    field = smooth_field(3)
    monkeypatch.setattr(fields.inversion, "SLAB_VOXELS", 10**9)
    whole = fields.invert(field, tolerance_mm=1e-4)
    monkeypatch.setattr(fields.inversion, "SLAB_VOXELS", 40 * 36 * 7)
    slabs = fields.invert(field, tolerance_mm=1e-4)
    assert slabs.field.grid == GRID
    assert slabs.residual_mm.shape == whole.residual_mm.shape
    for inverse in (whole, slabs):
        assert float(inverse.residual_mm.max()) <= 1e-4
    torch.testing.assert_close(slabs.field.displacement, whole.field.displacement, atol=1e-3, rtol=0)


def test_an_inversion_can_be_cancelled() -> None:
    from DeepLargeDeformRegLib.core.errors import CancelledError
    from DeepLargeDeformRegLib.core.progress import Monitor

    grid = ImageGrid((8, 8, 8), (1.0, 1.0, 1.0))
    with pytest.raises(CancelledError):
        fields.invert(fields.identity(grid), monitor=Monitor(should_cancel=lambda: True))


def test_large_grids_are_worked_on_slab_by_slab_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = ImageGrid.axis_aligned((9, 8, 11), (2.0, 1.5, 3.0), (5.0, -4.0, 7.0))
    other = ImageGrid.axis_aligned((7, 9, 12), (2.5, 1.5, 2.5), (4.0, -5.0, 6.0))
    generator = torch.Generator().manual_seed(0)
    field = DisplacementField(2 * torch.randn(1, 3, *grid.shape, generator=generator), grid)
    image, matrix = (
        torch.rand(1, 2, *other.shape, generator=generator),
        np.eye(4) + 0.03 * np.arange(16).reshape(4, 4),
    )

    def results() -> list[torch.Tensor]:
        return [
            fields.warp(image, other, field, fill=-1.0),
            fields.warp(image, other, field, mode="nearest", padding="border"),
            fields.resample(field, other).displacement,
            fields.compose_affine(matrix, field).displacement,
            fields.from_affine(matrix, other).displacement,
            fields.jacobian_determinant(field),
        ]

    at_once = results()
    monkeypatch.setattr(slabs, "CPU_VOXELS", 2 * 9 * 8)
    for one, other_way in zip(at_once, results(), strict=True):
        torch.testing.assert_close(one, other_way, rtol=1e-5, atol=1e-5)
    image.requires_grad_()
    fields.warp(image, other, field).sum().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0, "gradients pass, all planes at once"
