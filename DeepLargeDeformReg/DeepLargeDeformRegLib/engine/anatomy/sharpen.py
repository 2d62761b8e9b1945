"""Outlines of organs at the scan's own edges: what a network found at 6 mm is the prior, and intensities decide.

Two steps, repeated: the intensities inside the organ and around it give each voxel's posterior probability, and the
guided filter (He, Sun and Tang, ECCV 2010) moves its edge to that of the scan. Where the organ has no contrast to
what surrounds it, both leave the prior as it is.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.special import expit, logit

Array = npt.NDArray[np.float32]

_SOFT_TISSUE_HU = (-150.0, 250.0)
_BIN_HU, _NOISE_HU = 5.0, 8.0  # of the histograms, and by how much they are smoothed
_REACH_MM = 15.0  # around the prior: what surrounds the organ, and as far as its outline may move
_ROUNDS = 2
_EVIDENCE = 0.4  # weight of a voxel's intensity: neighbors share partial volume and noise, and do not count in full
_LARGEST_RATIO = 3.0  # natural logarithm of the likelihood ratio that one intensity can give
_RADIUS = 2  # of the guided filter, voxels: about one of the network's cells
_FLAT_HU = 20.0  # of a window: deviation of intensities that is noise rather than an edge
_LEAST_AGREEMENT = 0.7  # Dice of prior and result: what changes more is not sharpened but something else


def sharpen(prior: Array, image: Array, spacing_mm: float, outlined_at: float = 0.5) -> Array:
    """An organ's probability at the resolution of the scan.

    Args:
        prior: probability of each voxel, ``(D, H, W)``, known at a lower resolution.
        image: CT of the same grid, HU.
        spacing_mm: of the grid.
        outlined_at: prior probability at the organ's outline.

    Returns:
        Posterior probabilities ``(D, H, W)``, a half at the outline. Where the scan contradicts the prior altogether,
        the prior, shifted so that its outline is at a half.
    """
    steps = round(_REACH_MM / spacing_mm)
    result = expit(logit(prior.clip(1e-4, 1 - 1e-4)) - logit(outlined_at)).astype(np.float32)
    result[prior <= 0] = 0
    inside = np.argwhere(result > 0.5)
    if len(inside) == 0:
        return result
    low, high = inside.min(axis=0) - steps - _RADIUS, inside.max(axis=0) + steps + _RADIUS + 1
    box = tuple(slice(max(a, 0), b) for a, b in zip(low, high, strict=True))
    values = image[box].clip(*_SOFT_TISSUE_HU)
    first = found = result[box]
    for _ in range(_ROUNDS):
        found = _guided(values, _posterior(found, values, steps))
    labels, _ = ndimage.label(found > 0.5)
    sizes = np.bincount(labels.ravel())
    if len(sizes) == 1:
        return result
    largest = labels == 1 + int(np.argmax(sizes[1:]))
    if 2 * (largest & (first > 0.5)).sum() < _LEAST_AGREEMENT * (largest.sum() + (first > 0.5).sum()):
        return result
    near = ndimage.binary_dilation(largest, iterations=_RADIUS)
    result[:] = 0
    result[box] = np.where(near, found, 0).clip(0, 1)
    return result


def _posterior(prior: Array, values: Array, steps: int) -> Array:
    """Bayes' rule with the intensities of the prior's inside and of what lies around it; 0 farther away."""
    near = ndimage.binary_dilation(prior > 0.5, iterations=steps)
    share, intensity = prior[near].clip(1e-3, 1 - 1e-3), values[near]
    inside = share > 0.5
    index = np.minimum(((intensity - _SOFT_TISSUE_HU[0]) / _BIN_HU).astype(int), _bins() - 1)
    ratio = np.log(_density(index[inside], share[inside]) / _density(index[~inside], 1 - share[~inside]))
    evidence = _EVIDENCE * ratio.clip(-_LARGEST_RATIO, _LARGEST_RATIO)
    posterior = np.zeros_like(prior)
    posterior[near] = expit(logit(share) + evidence[index])
    return posterior


def _bins() -> int:
    return round((_SOFT_TISSUE_HU[1] - _SOFT_TISSUE_HU[0]) / _BIN_HU)


def _density(index: npt.NDArray[np.int_], weight: Array) -> npt.NDArray[np.float64]:
    """Share of each bin of intensity, smoothed, none of them empty."""
    count = np.bincount(index, weight, _bins())
    smooth = ndimage.gaussian_filter1d(count, _NOISE_HU / _BIN_HU, mode="nearest")
    density = smooth + 1e-3 * smooth.mean() + 1e-9
    return np.asarray(density / density.sum())


def _guided(guide: Array, values: Array) -> Array:
    """Guided filter: in each window the best linear function of the guide, averaged over the windows of a voxel.

    A window without contrast says nothing: there the values stay as they are, where the original takes their mean,
    which would shrink what is round.
    """

    def mean(array: Array) -> Array:
        return np.asarray(ndimage.uniform_filter(array, 2 * _RADIUS + 1, mode="nearest"))

    middle, average = mean(guide), mean(values)
    variance = (mean(guide * guide) - middle * middle).clip(0)
    contrast = np.asarray(1 / (variance + _FLAT_HU**2), np.float32)
    slope = (mean(guide * values) - middle * average) * contrast
    share = variance * contrast  # 0 where the scan is flat, 1 where it has edges
    return mean(slope) * guide + mean(share * average - slope * middle) + (1 - mean(share)) * values
