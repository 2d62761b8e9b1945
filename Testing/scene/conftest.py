"""Small scans with a field between them, in a real scene."""

from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from Testing.slicer_app.fixtures import application  # noqa: F401


def oblique_image(size: tuple[int, int, int], seed: int = 0) -> sitk.Image:
    """A smooth anisotropic volume whose axes are turned about two axes."""
    noise = sitk.GetImageFromArray(np.random.default_rng(seed).normal(size=size[::-1]).astype(np.float32))
    image = sitk.SmoothingRecursiveGaussian(noise, 2.0) * 1000
    turn = sitk.Euler3DTransform((0, 0, 0), 0.2, -0.1, 0.3)
    image.SetSpacing((1.5, 1.2, 2.5))
    image.SetOrigin((-20.0, 35.0, 100.0))
    image.SetDirection(turn.GetMatrix())
    return image


@pytest.fixture
def fixed_image() -> sitk.Image:
    return oblique_image((24, 26, 18))


@pytest.fixture
def moving_image() -> sitk.Image:
    """Another grid than the fixed one, covering more than the field can reach."""
    image = oblique_image((44, 46, 34), seed=1)
    image.SetOrigin((-36.0, 20.0, 80.0))
    return image


@pytest.fixture
def field(fixed_image: sitk.Image) -> sitk.Image:
    """A smooth displacement field on the fixed grid, up to about 5 mm in each direction, different in x, y and z."""
    rng = np.random.default_rng(2)
    parts = []
    for scale in (5.0, -4.0, 3.0):
        noise = sitk.GetImageFromArray(rng.normal(size=fixed_image.GetSize()[::-1]))
        smooth = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(noise, 4.0))
        parts.append(scale * (0.3 + smooth / np.abs(smooth).max()))
    image = sitk.GetImageFromArray(np.stack(parts, axis=-1).astype(np.float64), isVector=True)
    image.CopyInformation(fixed_image)
    return image


def itk_warped(moving: sitk.Image, field: sitk.Image, interpolator: Any = sitk.sitkLinear) -> sitk.Image:
    """The moving image on the grid of the field, by ITK."""
    transform = sitk.DisplacementFieldTransform(sitk.Image(field))
    return sitk.Resample(moving, field, transform, interpolator, 0.0)
