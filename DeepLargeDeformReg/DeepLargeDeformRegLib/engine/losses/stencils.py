"""What the losses share: box filter, differences, means over a mask, and full precision under autocast.

The filters are linear, so each is an autograd function whose backward is its adjoint. Nothing is kept for the
backward pass, and both directions are shifted additions in place: the losses run at every step of an optimization on
the CPU, where allocating large tensors costs more than adding them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

from ..fields import DisplacementField

P = ParamSpec("P")
T = TypeVar("T")

Axis = tuple[int, float]
"""A tensor dimension and the spacing along it, mm."""


def full_precision(function: Callable[P, T]) -> Callable[P, T]:
    """Decorator: run a loss outside of autocast, with half-precision tensors and fields raised to float32.

    Squares of Hounsfield units overflow float16, and differences of neighbors drown in bfloat16's 8 bits.
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        values = [_raised(value) for value in args]
        named = {name: _raised(value) for name, value in kwargs.items()}
        tensors = (_tensor(value) for value in (*values, *named.values()))
        device_type = next((tensor.device.type for tensor in tensors if tensor is not None), "cpu")
        with torch.autocast(device_type, enabled=False):
            return function(*values, **named)

    return wrapper


def spatial_axes(spacing: tuple[float, float, float]) -> tuple[Axis, Axis, Axis]:
    """Tensor dimensions of the index axes x, y, z in ``(N, C, D, H, W)``, with their spacings (mm)."""
    return (4, spacing[0]), (3, spacing[1]), (2, spacing[2])


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of ``(N, C, D, H, W)`` over all voxels, or weighted with a mask ``(N or 1, 1, D, H, W)``.

    Each image counts the same, however large its mask, so that a batch may be divided among processes. An empty mask
    gives 0 (and no gradient): a crop without the structure does not poison a training run.
    """
    if mask is None:
        return values.mean()
    weights = mask.to(values.dtype)
    sums = (values * weights).flatten(1).sum(dim=1)
    total = weights.flatten(1).sum(dim=1) * values.shape[1]
    return (sums / total.clamp_min(torch.finfo(values.dtype).tiny)).mean()


def require_same_shape(first: Tensor, second: Tensor) -> None:
    """Raise ``ValueError`` unless both are ``(N, C, D, H, W)`` of one shape."""
    if first.dim() != 5 or first.shape != second.shape:
        raise ValueError(
            f"tensors of one shape (N, C, D, H, W) are needed, not {tuple(first.shape)} and {tuple(second.shape)}"
        )


def box_sum(image: Tensor, window: int) -> Tensor:
    """Sum over a cube of ``window``^3 voxels around each voxel, zero outside of the image; shape as given."""
    return _BoxSum.apply(image, window // 2)


def box_count(shape: tuple[int, ...], window: int, like: Tensor) -> Tensor:
    """Number of voxels of each cube of :func:`box_sum` that lie in the image, ``(1, 1, D, H, W)``."""
    radius = window // 2
    counts = []
    for length in shape[-3:]:
        index = torch.arange(length, device=like.device)
        inside = torch.minimum(index, torch.full_like(index, radius))
        inside = inside + torch.minimum(length - 1 - index, torch.full_like(index, radius)) + 1
        counts.append(inside.to(like.dtype))
    depth, height, width = counts
    return (depth[:, None, None] * height[:, None] * width)[None, None]


def derivative(values: Tensor, axis: Axis) -> Tensor:
    """First derivative along an axis, per mm: central differences, one-sided at the two border voxels."""
    return _Derivative.apply(values, *axis)


def laplacian(values: Tensor, spacing: tuple[float, float, float]) -> Tensor:
    """Sum of the three second derivatives of ``(N, C, D, H, W)``, per mm^2.

    Three-point stencil; a border voxel takes, along the axis that ends there, the second derivative of its inner
    neighbor. So affine functions have none anywhere and quadratic ones the exact one everywhere. An axis of fewer
    than three voxels contributes nothing.
    """
    return _SecondDerivatives.apply(values, spatial_axes(spacing))


class _BoxSum(torch.autograd.Function):
    """Self-adjoint: the backward is the same filter."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, radius: int) -> Tensor:
        ctx.radius = radius
        for dim in (4, 3, 2):
            length = image.shape[dim]
            total = image.clone()
            for shift in range(1, min(radius, length - 1) + 1):
                rest = length - shift
                total.narrow(dim, shift, rest).add_(image.narrow(dim, 0, rest))
                total.narrow(dim, 0, rest).add_(image.narrow(dim, shift, rest))
            image = total
        return image

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _BoxSum.apply(gradients[0], ctx.radius), None


class _Derivative(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, dim: int, spacing: float) -> Tensor:
        ctx.axis = (dim, spacing)
        length = values.shape[dim]
        if length == 1:
            return torch.zeros_like(values)
        result = torch.empty_like(values)
        torch.sub(
            values.narrow(dim, 2, length - 2),
            values.narrow(dim, 0, length - 2),
            out=result.narrow(dim, 1, length - 2),
        )
        for start, end in ((0, 0), (length - 2, length - 1)):
            difference = values.narrow(dim, start + 1, 1) - values.narrow(dim, start, 1)
            result.narrow(dim, end, 1).copy_(difference * 2)
        return result.mul_(0.5 / spacing)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _DerivativeAdjoint.apply(gradients[0], *ctx.axis), None, None


class _DerivativeAdjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, dim: int, spacing: float) -> Tensor:
        ctx.axis = (dim, spacing)
        length = gradient.shape[dim]
        result = torch.zeros_like(gradient)
        if length == 1:
            return result
        inner = gradient.narrow(dim, 1, length - 2)
        result.narrow(dim, 2, length - 2).add_(inner)
        result.narrow(dim, 0, length - 2).sub_(inner)
        for start, end in ((0, 0), (length - 2, length - 1)):
            one_sided = gradient.narrow(dim, end, 1) * 2
            result.narrow(dim, start + 1, 1).add_(one_sided)
            result.narrow(dim, start, 1).sub_(one_sided)
        return result.mul_(0.5 / spacing)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _Derivative.apply(gradients[0], *ctx.axis), None, None


class _SecondDerivatives(torch.autograd.Function):
    """Sum of second derivatives along the given axes."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, axes: tuple[Axis, ...]) -> Tensor:
        ctx.axes = axes
        result = torch.zeros_like(values)
        for dim, spacing in axes:
            inner = values.shape[dim] - 2
            if inner < 1:
                continue
            # The difference comes before the weight: of a translation and of a ramp it is exactly zero.
            difference = values.narrow(dim, 0, inner) + values.narrow(dim, 2, inner)
            difference.sub_(values.narrow(dim, 1, inner), alpha=2)
            weight = spacing**-2
            result.narrow(dim, 1, inner).add_(difference, alpha=weight)
            result.narrow(dim, 0, 1).add_(difference.narrow(dim, 0, 1), alpha=weight)
            result.narrow(dim, inner + 1, 1).add_(difference.narrow(dim, inner - 1, 1), alpha=weight)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _SecondDerivativesAdjoint.apply(gradients[0], ctx.axes), None


class _SecondDerivativesAdjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, axes: tuple[Axis, ...]) -> Tensor:
        ctx.axes = axes
        result = torch.zeros_like(gradient)
        for dim, spacing in axes:
            inner = gradient.shape[dim] - 2
            if inner < 1:
                continue
            weighted = gradient.narrow(dim, 1, inner) * spacing**-2
            weighted.narrow(dim, 0, 1).add_(gradient.narrow(dim, 0, 1), alpha=spacing**-2)
            weighted.narrow(dim, inner - 1, 1).add_(gradient.narrow(dim, inner + 1, 1), alpha=spacing**-2)
            result.narrow(dim, 0, inner).add_(weighted)
            result.narrow(dim, 2, inner).add_(weighted)
            result.narrow(dim, 1, inner).sub_(weighted, alpha=2)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _SecondDerivatives.apply(gradients[0], ctx.axes), None


def _raised(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16):
        return value.float()
    if isinstance(value, DisplacementField) and value.displacement.dtype in (torch.float16, torch.bfloat16):
        return value.to(torch.float32)
    return value


def _tensor(value: Any) -> Tensor | None:
    if isinstance(value, DisplacementField):
        return value.displacement
    return value if isinstance(value, Tensor) else None
