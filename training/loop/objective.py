"""The loss of a configuration: which terms, on which level, of which images and fields."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine import fields, losses
from DeepLargeDeformRegLib.engine.fields import DisplacementField
from DeepLargeDeformRegLib.engine.networks import NetworkOutput
from torch import Tensor, nn

from ..config import LossConfig
from ..pairs.samples import Batch


@dataclass(frozen=True, eq=False, kw_only=True)
class _View:
    """A batch and its field at one resolution; what is warped is warped once."""

    grid: ImageGrid
    field: DisplacementField
    fixed: Tensor
    warped: Tensor
    fixed_labels: Tensor | None
    warped_labels: Tensor | None
    fixed_mask: Tensor | None


class Objective(nn.Module):
    """Weighted sum of the terms of one level.

    Args:
        terms: of the configuration.
        level: the finest level in training, 0 being the coarsest.
        grid: of the input images.
    """

    def __init__(self, terms: tuple[LossConfig, ...], level: int, grid: ImageGrid) -> None:
        super().__init__()
        self.grid = grid
        self.terms = [term for term in terms if term.weight_at(level) != 0]
        self.weights = [term.weight_at(level) for term in self.terms]
        self.functions = nn.ModuleList(_build(term, level) for term in self.terms)

    def forward(self, output: NetworkOutput, batch: Batch) -> dict[str, Tensor]:
        """Each term without its weight, by name, and their weighted sum as ``total``."""
        views: dict[str, _View] = {}
        values: dict[str, Tensor] = {}
        total = batch.fixed.new_zeros(())
        for term, weight, function in zip(self.terms, self.weights, self.functions, strict=True):
            if term.at not in views:
                views[term.at] = self._view(output, batch, term.at)
            value = _of_pairs(function, term, views[term.at], output, batch)
            values[term.name] = value
            total = total + weight * value
        return {"total": total, **values}

    def _view(self, output: NetworkOutput, batch: Batch, at: str) -> _View:
        displacement, stride = output.displacement.float(), 1
        if at != "full" and output.levels:
            displacement, stride = output.levels[-1].displacement.float(), output.levels[-1].stride
        grid = self.grid.coarser(stride) if stride > 1 else self.grid

        def pooled(image: Tensor | None) -> Tensor | None:
            if image is None or stride == 1:
                return image
            return F.avg_pool3d(image.float(), stride)

        fixed, moving = pooled(batch.fixed), pooled(batch.moving)
        fixed_labels, moving_labels = pooled(batch.fixed_labels), pooled(batch.moving_labels)
        if fixed is None or moving is None:
            raise ValueError("a batch has no images")
        channels = [moving] if moving_labels is None else [moving, moving_labels]
        if at == "downsampled" and stride > 1:
            whole = [batch.moving] if batch.moving_labels is None else [batch.moving, batch.moving_labels]
            warped = fields.warp_voxels(torch.cat(whole, dim=1).float(), output.displacement.float())
            warped = F.avg_pool3d(warped, stride)
        else:
            warped = fields.warp_voxels(torch.cat(channels, dim=1).float(), displacement)
        count = moving.shape[1]
        return _View(
            grid=grid,
            field=fields.from_voxels(displacement, grid),
            fixed=fixed,
            warped=warped[:, :count],
            fixed_labels=fixed_labels,
            warped_labels=warped[:, count:] if moving_labels is not None else None,
            fixed_mask=pooled(_mask_of(batch)),
        )


def _build(term: LossConfig, level: int) -> nn.Module:
    try:
        return losses.build(term.name, **term.arguments_at(level))
    except (TypeError, ValueError) as error:
        raise BadInputError(f"The loss {term.name} cannot be built: {error}") from error


def _of_pairs(function: nn.Module, term: LossConfig, view: _View, output: NetworkOutput, batch: Batch) -> Tensor:
    """A term as a mean over all pairs, of which those that it is not for count as zero."""
    if term.pairs == "all" or all(batch.same_patient):
        return _evaluate(function, term, view, output, batch)
    chosen = [index for index, same in enumerate(batch.same_patient) if same]
    if not chosen:
        # Every parameter keeps a gradient, as DDP needs.
        return view.field.displacement.sum() * 0
    share = len(chosen) / len(batch.same_patient)
    return share * _evaluate(function, term, _part(view, chosen), output, _part_of_batch(batch, chosen))


def _part(view: _View, chosen: list[int] | slice) -> _View:
    def part(values: Tensor | None) -> Tensor | None:
        return None if values is None else values[chosen]

    return _View(
        grid=view.grid,
        field=DisplacementField(view.field.displacement[chosen], view.grid),
        fixed=view.fixed[chosen],
        warped=view.warped[chosen],
        fixed_labels=part(view.fixed_labels),
        warped_labels=part(view.warped_labels),
        fixed_mask=part(view.fixed_mask),
    )


def _part_of_batch(batch: Batch, chosen: list[int] | slice) -> Batch:
    first, second = (None if p is None else p[chosen] for p in (batch.fixed_points, batch.moving_points))
    return Batch(fixed=batch.fixed[chosen], moving=batch.moving[chosen], fixed_points=first, moving_points=second)


def _evaluate(function: nn.Module, term: LossConfig, view: _View, output: NetworkOutput, batch: Batch) -> Tensor:
    family: Any = getattr(function, "family", None)
    mask = None
    if term.masked:
        mask = _required(view.fixed_mask, term, "a mask or labels")
        if term.divide_by == "grid":
            return _over_grid(function, term, view, output, batch, mask)
    if family == "similarity":
        return function(view.fixed, view.warped, view.grid, mask)
    if family == "regularity":
        return function(view.field, mask)
    if family == "segmentation":
        return function(_required(view.fixed_labels, term, "labels"), _required(view.warped_labels, term, "labels"))
    if family == "keypoint":
        points = (_required(p, term, "keypoints") for p in (batch.fixed_points, batch.moving_points))
        return function(view.field, *points)
    if family == "classification":
        sides = (output.fixed_logits, batch.fixed_labels), (output.moving_logits, batch.moving_labels)
        losses_of_sides = [
            function(_required(logits, term, "class logits"), _classes(_required(labels, term, "labels"), logits))
            for logits, labels in sides
        ]
        return torch.stack(losses_of_sides).mean()
    raise BadInputError(f"The loss {term.name} is not one that training can use.")


def _over_grid(
    function: nn.Module, term: LossConfig, view: _View, output: NetworkOutput, batch: Batch, mask: Tensor
) -> Tensor:
    """Mean over the pairs of the term's integral within the mask, divided by the volume of the grid."""
    term, of_pairs = replace(term, divide_by="mask"), []
    for index in range(len(view.fixed)):
        one = slice(index, index + 1)  # a list would be copied to the device first, which waits for it
        mean = _evaluate(function, term, _part(view, one), output, _part_of_batch(batch, one))
        of_pairs.append(mean * mask[index].float().mean())
    return torch.stack(of_pairs).mean()


def _mask_of(batch: Batch) -> Tensor | None:
    """Region of the fixed scan ``(N, 1, D, H, W)``: its mask, or else all its structures."""
    if batch.fixed_mask is not None or batch.fixed_labels is None:
        return batch.fixed_mask
    return batch.fixed_labels.sum(dim=1, keepdim=True).clamp(max=1.0)


def _classes(labels: Tensor, logits: Tensor | None) -> Tensor:
    """Class ``(N, d, h, w)`` of each voxel of the logits' lattice: 0 background, then the structures in order."""
    if logits is None or logits.shape[1] != labels.shape[1] + 1:
        raise BadInputError(
            f"The network's classes must be one more (background) than the {labels.shape[1]} structures of the data."
        )
    pooled = F.interpolate(labels.float(), logits.shape[2:], mode="area")
    return torch.cat((1 - pooled.sum(dim=1, keepdim=True), pooled), dim=1).argmax(dim=1)


def _required(value: Tensor | None, term: LossConfig, what: str) -> Tensor:
    if value is None:
        raise BadInputError(f"The loss {term.name} needs {what}, which this data set or network does not have.")
    return value
