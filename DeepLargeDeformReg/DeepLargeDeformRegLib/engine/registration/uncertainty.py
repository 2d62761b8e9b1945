"""What speaks for and against a map: a symmetric map, where solutions disagree, and what error to expect where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...core.geometry import ImageGrid
from ...core.progress import Monitor
from .. import fields
from ..fields import DisplacementField
from ..losses.mind import mind_ssc
from ..losses.stencils import box_count, box_sum, derivative, spatial_axes

# Of ``python -m training.evaluation uncertainty``: log error of landmarks on log mismatch and log strain.
ERROR_SCALE_MM = 27.7
MISMATCH_EXPONENT = 0.57
STRAIN_EXPONENT = 0.48
SMALLEST_STRAIN = 0.02  # a map that hardly bends is not without error for that
FEATURES = (1, 2)  # radius and dilation of the self-similarity, voxels
SMALLEST_MISMATCH = 1e-3
SMALLEST_WEIGHT = 1e-6  # of the mean one: without an edge nearby there is nothing that could disagree


def symmetrized(
    forward: DisplacementField, backward: DisplacementField, monitor: Monitor | None = None
) -> DisplacementField:
    """The mean of the forward map and the inverse of the backward map, both ``(1, 3, D, H, W)`` on one grid.

    Exchanging the scans then gives the inverse map, up to the error of a numerical inverse, where either run alone
    may miss the other by millimeters (compare Christensen and Johnson, IEEE TMI 2001).
    """
    opposite = fields.invert(backward, forward.grid, monitor=monitor).field
    return DisplacementField((forward.displacement + opposite.displacement) / 2, forward.grid)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What tells where a map errs, ``(1, 1, D, H, W)`` each.

    Args:
        grid: of all of them.
        mismatch: mean squared difference of the self-similarities (MIND-SSC) of the fixed and the warped scan, as
            their edges have it; NaN where a mask leaves one of them out, as nothing is known there.
        strain: Frobenius norm of the displacement's gradient, the linear alignment left out; dimensionless.
        spread: root mean square distance of several solutions from their mean, mm; None where there is one solution.
    """

    grid: ImageGrid
    mismatch: Tensor
    strain: Tensor
    spread: Tensor | None = None

    @classmethod
    def of(
        cls,
        fixed: Tensor,
        warped: Tensor,
        field: DisplacementField,
        solutions: Sequence[DisplacementField] = (),
        left_out: Tensor | None = None,
        features: Tensor | None = None,
    ) -> Evidence:
        """Evidence on a map.

        Args:
            fixed: fixed scan ``(1, 1, D, H, W)`` on the field's grid.
            warped: moving scan warped by the field, likewise.
            field: the map, mm.
            solutions: independent ones on the same grid, such as a run and the inverse of the one in the other
                direction, if there are several.
            left_out: above 0.5 where a mask leaves out either scan, ``(1, 1, D, H, W)``; None without masks.
            features: self-similarity of the fixed scan (:data:`FEATURES`), if it is known.
        """
        first = mind_ssc(fixed, *FEATURES) if features is None else features
        difference = torch.zeros_like(fixed)
        for one, other in zip(first.split(1, dim=1), mind_ssc(warped, *FEATURES).split(1, dim=1), strict=True):
            difference += (one - other).square_()
        difference /= first.shape[1]
        del first
        # Between edges both show noise, which never agrees: there, the edges around tell how well the scans agree.
        weight = _squared_gradient(fixed, field.grid) + _squared_gradient(warped, field.grid)
        if left_out is not None:
            weight = weight * (left_out <= 0.5)
        weight = weight / weight.mean().clamp(min=torch.finfo(weight.dtype).tiny)
        mismatch = _around(difference * weight, 5) / _around(weight, 5).clamp(min=SMALLEST_WEIGHT)
        if left_out is not None:
            mismatch = mismatch.masked_fill(left_out > 0.5, float("nan"))
        strain = _around(_squared_gradient(field.displacement, field.grid), 5).sqrt()
        return cls(field.grid, mismatch, strain, disagreement(solutions) if solutions else None)

    def to(self, device: torch.device | str) -> Evidence:
        """The same on another device."""
        spread = None if self.spread is None else self.spread.to(device)
        return Evidence(self.grid, self.mismatch.to(device), self.strain.to(device), spread)

    def expected_error(self) -> Tensor:
        """Expected distance from the truth, mm, ``(1, 1, D, H, W)``.

        A power law of mismatch and strain, fitted to the errors of landmarks under good maps and bad ones: errors are
        large where the warped scan does not look like the fixed one, and where the map had to bend most. Where
        several solutions disagree, their distance is added in square. NaN where a mask leaves a scan out.
        """
        mismatch = self.mismatch.clamp(min=SMALLEST_MISMATCH).pow(MISMATCH_EXPONENT)
        error = ERROR_SCALE_MM * mismatch * self.strain.clamp(min=SMALLEST_STRAIN).pow(STRAIN_EXPONENT)
        return error if self.spread is None else (error.square() + self.spread.square()).sqrt()


def disagreement(solutions: Sequence[DisplacementField]) -> Tensor:
    """How far solutions on one grid lie apart: root mean square distance from their mean, mm, ``(1, 1, D, H, W)``.

    Where the images determine the map, runs with another direction, initial field or features end at the same
    place; where they do not, each ends elsewhere.
    """
    stack = torch.cat([solution.displacement for solution in solutions])
    deviation = stack - stack.mean(dim=0, keepdim=True)
    return deviation.square().sum(dim=1, keepdim=True).mean(dim=0, keepdim=True).sqrt()


def _squared_gradient(values: Tensor, grid: ImageGrid) -> Tensor:
    """Sum of the squared derivatives of ``(1, C, D, H, W)`` along all axes, per mm^2, ``(1, 1, D, H, W)``."""
    total = torch.zeros_like(values[:, :1])
    for axis in spatial_axes(grid.spacing):
        total += derivative(values, axis).square().sum(dim=1, keepdim=True)
    return total


def _around(values: Tensor, window: int) -> Tensor:
    """Mean around each voxel, by two box filters; at the border of the voxels that there are."""
    share = box_count(values.shape, window, values).reciprocal()
    for _ in range(2):
        values = box_sum(values, window) * share
    return values
