"""Linear pre-alignment of two scans as they were loaded.

Steps that need no initial guess. First a global search over all translations: the normalized correlation of the
scans where they overlap, for every shift at once by FFT (Padfield, IEEE TIP 2012), in several intensity windows,
since soft tissue finds the liver in a larger field of view where air and skin would match any slice of a trunk. The
best shifts, and the best one at each height of the body, where slices of two trunks resemble each other most, are
then refined to a rigid or affine map on MIND self-similarity, again counted in the overlap alone: all of them
briefly, the few best further, the best one to the end (successive halving). Candidates of a round are refined
together, each on its own parameters. Masks, where there are any, add their own candidate and a term, and the last
round looks at their surroundings alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from ...core.errors import BadInputError
from ...core.geometry import ImageGrid
from ...core.images import Volume
from ...core.progress import Monitor
from ...core.sentences import marked as _
from .. import fields
from ..anatomy.structures import Structures
from ..fields import averaged, counted_voxels
from ..losses.mind import mind_ssc
from .adam import Adam
from .pointwise import interpolate, rows_of

Window = tuple[float, float]

SEARCH_VOXELS = 56  # the longer scan axis in the translation search: an FFT of 128^3 at most
MINIMAL_SEARCH_SPACING = 4.0  # mm; finer adds time, not capture range
MINIMAL_OVERLAP = 0.25  # of the smaller scan; less is not evidence enough
REFINEMENT_SPACING = 5.0  # mm
HEIGHT_STEP = 24.0  # mm between candidates along the body; a brief refinement moves them by half of it
DISTINCT_MM = 12.0  # candidates that lie closer are one: refinement reaches as far
SMALL_MM = 40.0  # scans whose longest edge is shorter are searched with all lengths shortened alike
AFFINE_STIFFNESS = 0.05  # against log-scales and shears: a scale of 1.2 costs about as much as a MIND change of 0.002
OVERLAP_WEIGHT = 0.1  # MIND difference that a candidate pays for losing all overlap
MASK_WEIGHT = 1.0
UNSEEN_SHARE = 0.2  # of a structure that the moving scan's end cuts off; see _compare
HEIGHTS_MM = (0.0, 15.0, -15.0)  # along the body, from which the last round starts where structures are known
PREFERENCE = 3  # power of the structures' weights: no linear map suits many organs, so the chief one decides
NEAR_MM = 25.0  # around the chief structures: what the last round compares
CHIEF_WEIGHT = 0.05  # of all structures' weights, taken to that power; bone and lungs reach through the whole scan


@dataclass(frozen=True, kw_only=True)
class _Effort:
    """How candidates of a round are refined: at most how many, at how many points, in how many steps of what size.

    The points lie near structures if ``near``, or else all over the fixed scan.
    """

    candidates: int
    points: int
    steps: int
    rate: float
    near: bool = False


ROUNDS = (
    _Effort(candidates=64, points=3_000, steps=15, rate=0.02),
    _Effort(candidates=4, points=8_000, steps=20, rate=0.02),
    _Effort(candidates=1, points=20_000, steps=30, rate=0.01),
)
# Instead of the last one, where structures are known.
LAST_NEAR = _Effort(candidates=1, points=6_000, steps=60, rate=0.02, near=True)


@dataclass(frozen=True)
class _Features:
    """Self-similarity of one scan on a coarse grid, with where it is defined, ready to be sampled."""

    values: Tensor  # (1, C + 1, D, H, W): features, then validity
    grid: ImageGrid
    masks: Tensor | None  # (1, K, D, H, W) structures
    weights: Tensor | None  # (K,) of the structures, sum 1


def prealign(
    fixed: Volume,
    moving: Volume,
    windows: Sequence[Window],
    kind: str = "affine",
    structures: tuple[Structures, Structures] | None = None,
    monitor: Monitor | None = None,
) -> npt.NDArray[np.float64]:
    """Find the linear map from fixed to moving points from the scans as loaded.

    Args:
        fixed: fixed scan.
        moving: moving scan; position and field of view may differ by any amount.
        windows: intensity windows (low, high); each proposes shifts, the first one is used for refinement.
        kind: ``"translation"``, ``"rigid"`` or ``"affine"``.
        structures: of the fixed and of the moving scan, if some are known.
        monitor: progress and cancellation.

    Returns:
        The best map found: homogeneous (4, 4), LPS mm.

    Raises:
        BadInputError: if no overlap of the scans could be found.
    """
    monitor = monitor or Monitor()
    monitor.report("prealign", 0.0, _("Searching for the position of the scans"))
    fixed_structures, moving_structures = structures if structures is not None else (None, None)
    shifts = _structure_shifts(fixed_structures, moving_structures)
    for window in windows:
        shifts += translation_candidates(fixed, moving, window, monitor=monitor)
    if not shifts:
        raise BadInputError(_("The two scans have nothing in common that could be aligned; check the selection."))
    scale = _scale(fixed, moving)
    fixed_features = _features(fixed, windows[0], fixed_structures, scale)
    moving_features = _features(moving, windows[0], moving_structures, scale)
    candidates = np.array(_distinct(shifts, DISTINCT_MM * scale))
    parameters = torch.zeros((len(candidates), 12), dtype=torch.float64)
    refinement = _Refinement(fixed_features, moving_features, kind)
    rounds = ROUNDS if structures is None else (*ROUNDS[:-1], LAST_NEAR)
    for number, effort in enumerate(rounds):
        span = monitor.span(0.4 + 0.6 * number / len(rounds), 0.4 + 0.6 * (number + 1) / len(rounds))
        candidates, parameters = candidates[: effort.candidates], parameters[: effort.candidates]
        if effort.near:  # where a scan ends within an organ, there are minima at several heights
            offsets = np.array([[0.0, 0.0, mm] for mm in HEIGHTS_MM]) * scale
            candidates, parameters = candidates + offsets, parameters.expand(len(offsets), -1)
        parameters, cost = refinement.refined(candidates, parameters, effort, span)
        best = cost.argsort(stable=True)
        candidates, parameters = candidates[best.numpy()], parameters[best]
    monitor.report("prealign", 1.0, _("Position found"))
    return refinement.matrix(candidates[0], parameters[0])


def translation_candidates(
    fixed: Volume, moving: Volume, window: Window, count: int = 3, monitor: Monitor | None = None
) -> list[npt.NDArray]:
    """Shifts (LPS mm, fixed to moving) by overlap-aware correlation of all translations.

    The correlation is normalized over each shift's own overlap; shifts that overlap in less than a quarter of the
    smaller scan are left out, and the rest is weighted with the square root of the overlap.

    Returns:
        The ``count`` best ones, best first, and then the best one for each height, ``HEIGHT_STEP`` apart.
    """
    scale = _scale(fixed, moving)
    spacing = max(MINIMAL_SEARCH_SPACING * scale, max(*fixed.grid.extent, *moving.grid.extent) / SEARCH_VOXELS)
    fixed_grid, moving_grid = _box(fixed.grid, spacing), _box(moving.grid, spacing)
    fixed_image, fixed_valid = _on_grid(fixed, fixed_grid, window)
    moving_image, moving_valid = _on_grid(moving, moving_grid, window)
    correlation, overlap = _masked_correlation(
        fixed_image[0, 0].double(),
        fixed_valid[0, 0].double(),
        moving_image[0, 0].double(),
        moving_valid[0, 0].double(),
        monitor or Monitor(),
    )
    score = torch.where(overlap >= MINIMAL_OVERLAP, correlation * overlap.clamp(0, 1).sqrt(), -1.0).numpy()
    offset = np.array(moving_grid.origin) - np.array(fixed_grid.origin)

    def shift_of(peak: Sequence[int]) -> npt.NDArray:
        lag = [i if i < n else i - length for i, n, length in zip(peak, fixed_grid.shape, score.shape, strict=True)]
        return offset - spacing * np.array(lag[::-1])

    heights = []
    for height in range(0, score.shape[0], max(1, round(HEIGHT_STEP * scale / spacing))):
        row, column = divmod(int(score[height].argmax()), score.shape[2])
        if score[height, row, column] > 0:
            heights.append(shift_of((height, row, column)))
    shifts = []
    for _candidate in range(count):
        peak = [int(i) for i in np.unravel_index(int(score.argmax()), score.shape)]
        if score[tuple(peak)] <= 0:
            break
        shifts.append(shift_of(peak))
        around = [np.arange(i - 3, i + 4) % length for i, length in zip(peak, score.shape, strict=True)]
        score[np.ix_(*around)] = -1.0
    return shifts + heights


def _masked_correlation(
    f: Tensor, f_valid: Tensor, g: Tensor, g_valid: Tensor, monitor: Monitor
) -> tuple[Tensor, Tensor]:
    """Normalized cross-correlation and overlap fraction for all lags; index i holds f(x + i) against g(x)."""
    shape = [scipy.fft.next_fast_len(a + b - 1, real=True) for a, b in zip(f.shape, g.shape, strict=True)]

    def forward(values: Tensor) -> Tensor:
        monitor.check()
        return torch.fft.rfftn(values, shape)

    def backward(values: Tensor) -> Tensor:
        monitor.check()
        return torch.fft.irfftn(values, shape)

    f, g = f * f_valid, g * g_valid
    f_hat, f_valid_hat, f2_hat = forward(f), forward(f_valid), forward(f * f)
    g_hat, g_valid_hat, g2_hat = forward(g).conj(), forward(g_valid).conj(), forward(g * g).conj()
    count = backward(f_valid_hat * g_valid_hat).clamp(min=1.0)
    f_sum, g_sum = backward(f_hat * g_valid_hat), backward(f_valid_hat * g_hat)
    covariance = backward(f_hat * g_hat) - f_sum * g_sum / count
    f_variance = (backward(f2_hat * g_valid_hat) - f_sum**2 / count).clamp(min=0)
    g_variance = (backward(f_valid_hat * g2_hat) - g_sum**2 / count).clamp(min=0)
    scale = (f_variance * g_variance).sqrt()
    # Of scans that are the same everywhere only the transform's rounding varies.
    rounding = 1e-9 * float((f * f).sum() * (g * g).sum()) ** 0.5
    varies = scale > max(1e-5 * float(scale.max()), rounding)
    correlation = torch.where(varies, covariance / scale.clamp(min=1e-12), 0.0)
    smaller = min(float(f_valid.sum()), float(g_valid.sum()))
    return correlation, count / max(smaller, 1.0)


class _Refinement:
    """Refines shifts to linear maps. Parameters of a map: translation, rotation, log-scales, shears."""

    def __init__(self, fixed: _Features, moving: _Features, kind: str) -> None:
        self._fixed, self._moving = fixed, moving
        self._free = {"translation": 3, "rigid": 6, "affine": 12}[kind]
        self._smaller = min(1.0, _volume(moving) / _volume(fixed))
        positions = fields.points(fixed.grid, dtype=torch.float64)[0].flatten(1).T
        self._valid = torch.nonzero(fixed.values[0, -1].reshape(-1) > 0.5)[:, 0]
        if not len(self._valid):
            raise BadInputError(
                _("The mask leaves too little of the fixed scan to align; leave out less, or no mask.")
            )
        self._near = _near(fixed, self._valid)
        self._center = positions[self._near].mean(dim=0)
        middle = positions[self._valid].mean(dim=0)
        self._radius = float((positions[self._valid] - middle).norm(dim=1).mean())
        self._positions = positions
        self._table = _table(moving)

    def refined(
        self, shifts: npt.NDArray, parameters: Tensor, effort: _Effort, monitor: Monitor
    ) -> tuple[Tensor, Tensor]:
        """Parameters (B, 12) and costs (B,), lower is better, of the maps to which shifts (B, 3) were refined."""
        random = torch.Generator().manual_seed(0)
        among = self._near if effort.near else self._valid
        chosen = among[torch.randperm(len(among), generator=random)[: effort.points]]
        selected = self._positions[chosen]
        fixed_values = self._fixed.values[0, :-1].flatten(1)[:, chosen]
        inside = None if self._fixed.masks is None else self._fixed.masks[0].flatten(1)[:, chosen]
        active = torch.zeros(12, dtype=torch.float64)
        active[: self._free] = 1.0
        parameters = parameters.detach().clone().requires_grad_(True)
        optimizer = Adam(parameters, effort.rate, effort.steps, 0.05)
        initial = torch.as_tensor(shifts)[:, None]
        for step in range(effort.steps + 1):
            monitor.report("prealign", step / (effort.steps + 1), _("Aligning position and size"))
            linear, translation = _linear_map(parameters * active, self._radius)
            mapped = (selected - self._center) @ linear.mT + self._center + initial + translation[:, None]
            loss, overlap, mask_loss = _compare(self._moving, self._table, mapped, fixed_values, inside)
            lost = 1.0 - (overlap / self._smaller).clamp(max=1.0)
            stiffness = AFFINE_STIFFNESS * (parameters[:, 6:] ** 2).sum(dim=1)
            cost = loss + OVERLAP_WEIGHT * lost**2 + MASK_WEIGHT * mask_loss + stiffness
            if step < effort.steps:
                cost.sum().backward()
                optimizer.step()
        return parameters.detach() * active, cost.detach()

    def matrix(self, shift: npt.NDArray, parameters: Tensor) -> npt.NDArray[np.float64]:
        """Homogeneous matrix (4, 4), LPS mm, of one map."""
        linear, translation = _linear_map(parameters[None], self._radius)
        matrix = np.eye(4)
        matrix[:3, :3] = linear[0].numpy()
        matrix[:3, 3] = (self._center + torch.as_tensor(shift) + translation[0] - linear[0] @ self._center).numpy()
        return matrix


def _near(features: _Features, valid: Tensor) -> Tensor:
    """Of the indices of valid voxels, those near a structure that counts; all of them where none is known."""
    if features.masks is None or features.weights is None:
        return valid
    inside = (features.masks[0, features.weights > CHIEF_WEIGHT].amax(dim=0) > 0.5).numpy()
    steps = max(1, round(NEAR_MM / features.grid.spacing[0]))
    near = valid[torch.from_numpy(ndimage.binary_dilation(inside, iterations=steps)).flatten()[valid]]
    return near if len(near) else valid


def _volume(features: _Features) -> float:
    return float(features.values[:, -1].sum()) * features.grid.voxel_volume


def _table(features: _Features) -> Tensor:
    """Features, validity and masks as rows of voxels, with a rim of zeros: nothing is defined beyond the scan."""
    values = features.values if features.masks is None else torch.cat((features.values, features.masks), dim=1)
    return rows_of(F.pad(values, (1,) * 6))


def _compare(
    moving: _Features, table: Tensor, mapped: Tensor, fixed_values: Tensor, fixed_inside: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """MIND difference in the overlap, overlap fraction, and soft Dice loss of the masks, (B,) each.

    What the field of view of the moving scan cuts off takes no part in the first two, and a small one in Dice: in
    full, a liver without its dome would be stretched over the other one's; without any, Dice hardly tells at which
    height of the liver the moving scan ends, and the fixed organ can be pushed out of it.

    Args:
        moving: features of the moving scan.
        table: the same as rows.
        mapped: points (B, n, 3), LPS mm.
        fixed_values: features of the fixed scan at them (C, n).
        fixed_inside: its masks there (K, n); or None.
    """
    to_index = torch.as_tensor(moving.grid.physical_to_index)
    index = (mapped @ to_index[:3, :3].T + to_index[:3, 3]).flatten(0, 1).T.float()
    width, height, depth = moving.grid.size
    sampled = interpolate(table, (width + 2, height + 2, depth + 2), index + 1).reshape(*mapped.shape[:2], -1)
    count = len(fixed_values)
    weight = sampled[..., count]
    difference = (sampled[..., :count] - fixed_values.T * weight[..., None]).square().mean(dim=2)
    loss = difference.sum(dim=1) / weight.sum(dim=1).clamp(min=1.0)
    mask_loss = torch.zeros_like(loss)
    if fixed_inside is not None and moving.masks is not None and moving.weights is not None:
        moved_inside = sampled[..., count + 1 : count + 1 + len(fixed_inside)].permute(2, 0, 1)
        fixed_inside = fixed_inside[:, None]
        both = (fixed_inside * moved_inside).sum(dim=2)
        seen = UNSEEN_SHARE + (1 - UNSEEN_SHARE) * weight
        either = (fixed_inside * seen + moved_inside).sum(dim=2)
        mask_loss = (moving.weights[:, None] * (1.0 - 2.0 * both / either.clamp(min=1.0))).sum(dim=0)
    return loss, weight.mean(dim=1), mask_loss


def _linear_map(parameters: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Linear parts (B, 3, 3) and translations (B, 3) of parameters (B, 12)."""
    shift, rotation, scale, shear = parameters.split(3, dim=1)
    zero = torch.zeros_like(shift[:, 0])
    x, y, z = rotation.T
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).reshape(-1, 3, 3)
    a, b, c = shear.T
    stretch = torch.stack([scale[:, 0], a, b, a, scale[:, 1], c, b, c, scale[:, 2]], dim=1).reshape(-1, 3, 3)
    # Radius makes a step of each parameter move the points by about the same distance.
    return torch.matrix_exp(skew) @ torch.matrix_exp(stretch), shift * radius


def _scale(fixed: Volume, moving: Volume) -> float:
    """Factor of all lengths for scans of a few centimeters, as of an inner ear or a mouse: 1 for larger ones."""
    return min(1.0, max(*fixed.grid.extent, *moving.grid.extent) / SMALL_MM)


def _features(volume: Volume, window: Window, structures: Structures | None, scale: float) -> _Features:
    grid = _box(volume.grid, max(REFINEMENT_SPACING * scale, max(volume.grid.extent) / 96))
    image, valid = _on_grid(volume, grid, window)
    features = mind_ssc(image, radius=1, dilation=1)
    values = torch.cat((features * valid, valid), dim=1)
    if structures is None:
        return _Features(values, grid, None, None)
    weights = torch.tensor(structures.weights) ** PREFERENCE
    return _Features(values, grid, structures.on(grid), weights / weights.sum())


def _on_grid(volume: Volume, grid: ImageGrid, window: Window) -> tuple[Tensor, Tensor]:
    """The windowed scan on a coarser grid, low-pass filtered before, and where it counts, ``(1, 1, D, H, W)``."""
    factors = [
        min(n, max(1, round(g / s)))
        for g, s, n in zip(grid.spacing, volume.grid.spacing, volume.grid.size, strict=True)
    ]
    image, source = averaged(volume, factors, window), volume.grid.coarser(factors)
    identity = fields.identity(grid)
    if volume.counted is None:
        inside = fields.covered(source, identity)
    else:
        inside = fields.warp(F.avg_pool3d(counted_voxels(volume), tuple(factors[::-1])), source, identity) > 0.5
    return fields.warp(image, source, identity, padding="border"), inside.to(image.dtype)


def _box(grid: ImageGrid, spacing: float) -> ImageGrid:
    """Axis-aligned isotropic grid around all voxel centers."""
    corners = grid.corners
    low, high = corners.min(axis=0), corners.max(axis=0)
    size = np.ceil((high - low) / spacing).astype(int) + 1
    return ImageGrid.axis_aligned(size.tolist(), (spacing,) * 3, low.tolist())


def _structure_shifts(fixed: Structures | None, moving: Structures | None) -> list[npt.NDArray]:
    """Shifts that lay the middle of a structure on its partner's: of all of them together, and of each by itself."""
    if fixed is None or moving is None:
        return []
    shifts = moving.centroids() - fixed.centroids()
    together = np.average(shifts, axis=0, weights=fixed.weights)
    return [together, *shifts]


def _distinct(shifts: list[npt.NDArray], distance_mm: float) -> list[npt.NDArray]:
    """Shifts without those that lie closer than the refinement reaches anyway."""
    kept: list[npt.NDArray] = []
    for shift in shifts:
        if all(np.linalg.norm(shift - other) > distance_mm for other in kept):
            kept.append(shift)
    return kept
