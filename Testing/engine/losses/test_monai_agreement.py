"""Agreement with MONAI where it has the same loss, in its units (voxels) and where both define it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine import losses
from DeepLargeDeformRegLib.engine.fields import from_affine

from .conftest import noise, smooth_field

monai = pytest.importorskip("monai.losses", reason="needs MONAI: pip install monai")

pytestmark = pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")  # in MONAI's own indexing

GRID = ImageGrid.axis_aligned((12, 11, 10), (1.0, 1.0, 1.0))


def interior(margin: int) -> torch.Tensor:
    mask = torch.zeros(1, 1, *GRID.shape)
    mask[..., margin:-margin, margin:-margin, margin:-margin] = 1
    return mask


def test_diffusion() -> None:
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] += torch.tensor([[0.2, 0.1, 0], [0, -0.3, 0.1], [0.4, 0, 0.1]])
    field = from_affine(matrix.numpy(), GRID, dtype=torch.float64)
    assert losses.diffusion(field).item() == pytest.approx(3 * monai.DiffusionLoss()(field.displacement).item())
    # MONAI's differences are central, these are of adjacent voxels: the same up to the discretization.
    field = smooth_field(GRID)
    expected = 3 * monai.DiffusionLoss()(field.displacement).item()
    assert losses.diffusion(field, interior(1)).item() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("window", [3, 5, 7])
def test_local_ncc(generator: torch.Generator, window: int) -> None:
    fixed, warped = noise(generator, 1, 1, *GRID.shape), noise(generator, 1, 1, *GRID.shape)
    voxelwise = monai.LocalNormalizedCrossCorrelationLoss(kernel_size=window, reduction="none")(warped, fixed)
    # MONAI counts zeros around the image, so the two agree where the window does not reach over the border.
    mask = interior(window // 2)
    expected = voxelwise[mask.bool()].mean().item()
    assert losses.local_ncc(fixed, warped, window, mask).item() == pytest.approx(expected, rel=1e-3)


def test_mutual_information(generator: torch.Generator) -> None:
    fixed = torch.rand(1, 1, *GRID.shape, generator=generator)
    warped = (fixed + 0.3 * torch.rand(1, 1, *GRID.shape, generator=generator)).clamp(max=1)
    fixed[..., 0, 0, 0], fixed[..., 0, 0, 1] = 0, 1  # MONAI takes 0 and 1 for the range
    warped[..., 0, 0, 0], warped[..., 0, 0, 1] = 0, 1
    expected = monai.GlobalMutualInformationLoss(num_bins=20, sigma_ratio=0.5)(warped, fixed)
    assert losses.mutual_information(fixed, warped, bins=20).item() == pytest.approx(expected.item(), rel=1e-3)


def test_dice(generator: torch.Generator) -> None:
    labels = torch.randint(0, 4, (2, *GRID.shape), generator=generator)
    fixed = F.one_hot(labels, 4).movedim(-1, 1).double()
    warped = torch.softmax(noise(generator, 2, 4, *GRID.shape), dim=1)
    expected = monai.DiceLoss(smooth_nr=0, smooth_dr=0)(warped, fixed)
    assert losses.dice(fixed, warped).item() == pytest.approx(expected.item())
