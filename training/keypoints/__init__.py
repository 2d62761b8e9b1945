"""Automatic correspondences of two scans of one patient: Foerstner keypoints, matched on self-similarity context.

The keypoint loss of CNN lung registration trains on them (Hering et al., Medical Image Analysis 2021, section 3.2).
``python -m training.keypoints FIXED MOVING --output points.csv`` writes them; see :func:`match`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import LabelMap, LandmarkPairs, Volume
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.fields import as_tensor
from DeepLargeDeformRegLib.engine.losses.mind import mind_ssc
from DeepLargeDeformRegLib.engine.registration.prealign import prealign
from scipy.interpolate import RBFInterpolator
from torch import Tensor

from .foerstner import foerstner_keypoints
from .matching import agreeing, best, patch_costs, regularized, spanning_tree, stages

MINIMUM = 50
"""Fewer keypoints than this are no evidence of a motion."""


@dataclass(frozen=True, kw_only=True)
class KeypointSettings:
    """How correspondences are found. Lengths are mm.

    Args:
        count: most keypoints.
        spacing_mm: of the grid on which they are found and matched.
        distance_mm: half edge of the box in which a keypoint is the most distinct voxel.
        reach_mm: farthest displacement besides the linear one, along each axis.
        weight: of neighbors' moving alike, against the difference of their patches.
        tolerance_mm: how far from its beginning a keypoint may return when matched back.
        window: intensities that count, low and high.
    """

    count: int = 2000
    spacing_mm: float = 1.5
    distance_mm: float = 4.0
    reach_mm: float = 24.0
    weight: float = 0.016
    tolerance_mm: float = 2.5
    window: tuple[float, float] = (-1000.0, 200.0)


def match(
    fixed: Volume,
    moving: Volume,
    fixed_mask: LabelMap | None = None,
    moving_mask: LabelMap | None = None,
    settings: KeypointSettings | None = None,
    device: torch.device | str = "cpu",
) -> LandmarkPairs:
    """Corresponding points of two scans of one patient, LPS mm.

    Args:
        fixed: the scan in which keypoints are found.
        moving: the other one, as loaded.
        fixed_mask: region of the keypoints, such as the lungs; the whole scan by default.
        moving_mask: the same region there; with both, their moments pre-align the scans, otherwise the intensities.
        settings: see :class:`KeypointSettings`.
        device: where to compute.

    Raises:
        BadInputError: if fewer than 50 keypoints are found or agree.
    """
    settings = settings or KeypointSettings()
    matrix = _linear(fixed, moving, fixed_mask, moving_mask, settings)
    grid, mask = _region(fixed, fixed_mask, settings, torch.device(device))
    images = _resampled(fixed, moving, matrix, grid, settings, torch.device(device))
    points = foerstner_keypoints(images[0], grid, mask, settings.count, settings.distance_mm)
    _check(len(points), "were found")
    features = [mind_ssc(image[None, None], radius=1, dilation=2)[0] for image in images]
    forward = _search(features[0], features[1], points, settings, grid)
    ends = (points + forward).round().long()
    there = _search(features[1], features[0], ends, settings, grid, initial=-forward)
    # The way back begins at a voxel, so what was rounded off is not held against it.
    backward = there + (ends - points - forward)
    is_good = agreeing(forward, backward, settings.tolerance_mm / grid.spacing[0])
    _check(int(is_good.sum()), "could be matched there and back")
    kept = points[is_good].double().cpu().numpy()
    displacement = 0.5 * (forward - backward)[is_good].double().cpu().numpy()
    aligned = grid.to_physical(kept + displacement)
    return LandmarkPairs(grid.to_physical(kept), aligned @ matrix[:3, :3].T + matrix[:3, 3])


def interpolate(correspondences: LandmarkPairs, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Where correspondences take other points ``(n, 3)``, LPS mm: a thin-plate spline of the nearest fifty."""
    spline = RBFInterpolator(
        correspondences.fixed,
        correspondences.moving - correspondences.fixed,
        neighbors=min(50, len(correspondences)),
        smoothing=1.0,
    )
    positions = np.asarray(points, dtype=np.float64)
    return positions + spline(positions)


def residual(correspondences: LandmarkPairs, landmarks: LandmarkPairs) -> npt.NDArray[np.float64]:
    """Distance (mm) of each moving landmark from where the correspondences take its fixed one."""
    return np.linalg.norm(interpolate(correspondences, landmarks.fixed) - landmarks.moving, axis=1)


def _search(
    fixed: Tensor,
    moving: Tensor,
    points: Tensor,
    settings: KeypointSettings,
    grid: ImageGrid,
    initial: Tensor | None = None,
) -> Tensor:
    """Displacement ``(n, 3)`` of points in voxels; around an initial one only the finest search is needed."""
    tree = spanning_tree(points)
    displacement = torch.zeros(points.shape, device=fixed.device) if initial is None else initial
    for step, radius in stages(settings.reach_mm, grid.spacing[0])[0 if initial is None else 1 :]:
        centers = displacement.round().long()
        costs = patch_costs(fixed, moving, points, centers, radius, step)
        displacement = best(regularized(costs, centers, tree, settings.weight, step), centers, step)
    return displacement


def _linear(
    fixed: Volume,
    moving: Volume,
    fixed_mask: LabelMap | None,
    moving_mask: LabelMap | None,
    settings: KeypointSettings,
) -> npt.NDArray[np.float64]:
    """Linear map from fixed to moving points (4, 4): by the masks' moments, or by the engine's pre-alignment."""
    if fixed_mask is None or moving_mask is None:
        return prealign(fixed, moving, [settings.window], "affine")
    (center, size), (target, target_size) = (_moments(mask) for mask in (fixed_mask, moving_mask))
    matrix = np.diag([*(target_size / size), 1.0])
    matrix[:3, 3] = target - matrix[:3, :3] @ center
    return matrix


def _moments(mask: LabelMap) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and deviation of a mask's voxels along x, y, z, LPS mm."""
    points = mask.grid.to_physical(np.argwhere(mask.mask())[:, ::-1])
    return points.mean(axis=0), points.std(axis=0)


def _region(
    fixed: Volume, mask: LabelMap | None, settings: KeypointSettings, device: torch.device
) -> tuple[ImageGrid, Tensor]:
    """Isotropic axis-aligned grid around the mask, and the mask on it."""
    corners = fixed.grid.corners
    if mask is not None:
        corners = mask.grid.to_physical(np.argwhere(mask.mask())[:, ::-1])
    low, high = corners.min(axis=0), corners.max(axis=0)
    margin = 0.0 if mask is None else 4 * settings.spacing_mm
    size = np.ceil((high - low + 2 * margin) / settings.spacing_mm).astype(int) + 1
    grid = ImageGrid.axis_aligned(size.tolist(), [settings.spacing_mm] * 3, (low - margin).tolist())
    if mask is None:
        return grid, torch.ones(grid.shape, dtype=torch.bool, device=device)
    share = torch.from_numpy(mask.mask().astype(np.float32)).to(device)[None, None]
    return grid, fields.warp(share, mask.grid, fields.identity(grid, device=device))[0, 0] > 0.5


def _resampled(
    fixed: Volume,
    moving: Volume,
    matrix: npt.NDArray[np.float64],
    grid: ImageGrid,
    settings: KeypointSettings,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Both scans on the grid, the moving one through the linear map, within 0..1; ``(D, H, W)`` each."""
    low, high = settings.window
    maps = (fields.identity(grid, device=device), fields.from_affine(matrix, grid, device))
    first, second = (
        (fields.warp(as_tensor(v, device), v.grid, m, fill=low)[0, 0].clamp(low, high) - low) / (high - low)
        for v, m in zip((fixed, moving), maps, strict=True)
    )
    return first, second


def _check(count: int, what: str) -> None:
    if count < MINIMUM:
        raise BadInputError(
            f"Only {count} keypoints {what}, at least {MINIMUM} are needed; check that both scans and masks are of "
            "one patient, and that the intensity window fits them."
        )


__all__: Sequence[str] = ["KeypointSettings", "interpolate", "match", "residual"]
