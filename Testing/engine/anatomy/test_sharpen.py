"""Outlines at the scan's own edges: better where an organ has contrast, as they were where it has none."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from DeepLargeDeformRegLib.engine.anatomy.sharpen import sharpen
from scipy import ndimage

Z, Y, X = np.meshgrid(*(np.arange(n) for n in (32, 36, 40)), indexing="ij")
ORGAN = ((Z - 15) / 8.0) ** 2 + ((Y - 18) / 9.0) ** 2 + ((X - 20) / 12.0) ** 2 < 1
SPACING_MM = 3.0


def prior_of(mask: npt.NDArray[np.bool_], shift: int = 2) -> npt.NDArray[np.float32]:
    """What a network finds: blurred, and some millimeters off."""
    return np.roll(ndimage.gaussian_filter(mask.astype(np.float32), 1.5), shift, axis=2)


def scan(inside_hu: float, outside_hu: float = -90.0, noise_hu: float = 15.0) -> npt.NDArray[np.float32]:
    """The organ with partial volume in its surroundings."""
    share = ndimage.gaussian_filter(ORGAN.astype(np.float32), 0.5)
    noise = np.random.default_rng(0).normal(0, noise_hu, ORGAN.shape)
    return (outside_hu + (inside_hu - outside_hu) * share + noise).astype(np.float32)


def dice(probability: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]) -> float:
    """Overlap of the outline at a half and a mask."""
    inside = probability > 0.5
    return float(2 * (inside & mask).sum() / (inside.sum() + mask.sum()))


@pytest.mark.parametrize("inside_hu", [20.0, 60.0, 180.0])
def test_an_organ_with_contrast_is_outlined_where_it_ends(inside_hu: float) -> None:
    prior = prior_of(ORGAN)
    assert dice(prior, ORGAN) < 0.9
    assert dice(sharpen(prior, scan(inside_hu), SPACING_MM), ORGAN) > 0.95


def test_what_was_found_too_small_grows_to_the_edge() -> None:
    prior = prior_of(ndimage.binary_erosion(ORGAN, iterations=2), 0)
    assert dice(prior, ORGAN) < 0.75
    assert dice(sharpen(prior, scan(60.0), SPACING_MM, 0.35), ORGAN) > 0.9


def test_without_contrast_the_prior_stays() -> None:
    prior = prior_of(ORGAN)
    found = sharpen(prior, scan(50.0, 50.0), SPACING_MM)
    assert dice(found, prior > 0.5) > 0.95
    assert found.min() >= 0
    assert found.max() <= 1


def test_a_neighbor_of_the_same_intensity_is_not_taken_in() -> None:
    image = scan(60.0)
    neighbor = (X > 33) & (Y > 10) & (Y < 26)
    image[neighbor] = 60.0
    found = sharpen(prior_of(ORGAN), image, SPACING_MM)
    assert (found[neighbor & ~ORGAN] > 0.5).mean() < 0.15
    assert dice(found, ORGAN) > 0.9


def test_where_nothing_was_found_there_is_nothing() -> None:
    prior = np.zeros(ORGAN.shape, np.float32)
    assert not sharpen(prior, scan(60.0), SPACING_MM).any()
