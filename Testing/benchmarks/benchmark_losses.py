"""Time of the losses, forward and backward, against plain references in the same run.

    python Testing/benchmarks/benchmark_losses.py --size 128 --repeats 5 --threads 2

The references are what a reader of the papers would write first: one dense box filter a sum, one padded copy a shift,
autograd throughout. Ratios of one run are comparable across machines, seconds are not. Before timing, value and
gradient of each pair are compared.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine import losses
from DeepLargeDeformRegLib.engine.fields import DisplacementField, jacobian_matrix
from torch import Tensor

SPACING = (1.5, 1.5, 2.0)
Loss = Callable[[Tensor], Tensor]


def reference_local_ncc(fixed: Tensor, warped: Tensor, window: int) -> Tensor:
    """One dense convolution a sum, as in VoxelMorph; standardized, or float32 would not do."""
    fixed, warped = ((image - image.mean()) / image.std() for image in (fixed, warped))
    kernel = torch.ones(1, 1, window, window, window)
    ones = F.conv3d(torch.ones_like(fixed), kernel, padding=window // 2)
    f, w, ff, ww, fw = (
        F.conv3d(image, kernel, padding=window // 2) / ones
        for image in (fixed, warped, fixed * fixed, warped * warped, fixed * warped)
    )
    cross, f_variance, w_variance = fw - f * w, ff - f * f, ww - w * w
    return -(cross**2 / ((f_variance + 1e-5) * (w_variance + 1e-5))).mean()


def reference_gradient(image: Tensor, spacing: tuple[float, ...]) -> Tensor:
    padded = F.pad(image, [1] * 6, mode="replicate")
    inner = slice(1, -1)
    x = padded[..., inner, inner, 2:] - padded[..., inner, inner, :-2]
    y = padded[..., inner, 2:, inner] - padded[..., inner, :-2, inner]
    z = padded[..., 2:, inner, inner] - padded[..., :-2, inner, inner]
    return torch.cat([d / (2 * s) for d, s in zip((x, y, z), spacing, strict=True)], dim=1)


def reference_ngf(fixed: Tensor, warped: Tensor, spacing: tuple[float, ...], epsilon: float) -> Tensor:
    f, w = reference_gradient(fixed, spacing), reference_gradient(warped, spacing)
    e = epsilon**2
    inner = (f * w).sum(dim=1) + e
    return (1 - inner**2 / (((f * f).sum(dim=1) + e) * ((w * w).sum(dim=1) + e))).mean()


def reference_mind(image: Tensor, radius: int, dilation: int) -> Tensor:
    """Two one-hot dilated convolutions and one box filter for the twelve pairs, the usual PyTorch formulation."""
    neighbors = [sign * axis for axis in torch.eye(3, dtype=torch.int64) for sign in (1, -1)]
    pairs = [(p, q) for p, q in itertools.combinations(neighbors, 2) if (p - q).square().sum() == 2]
    kernels = torch.zeros(2, 12, 1, 3, 3, 3)
    for channel, pair in enumerate(pairs):
        for side, neighbor in enumerate(pair):
            z, y, x = (neighbor + 1).tolist()
            kernels[side, channel, 0, z, y, x] = 1
    padded = F.pad(image, [dilation] * 6, mode="replicate")
    first, second = (F.conv3d(padded, kernel, dilation=dilation) for kernel in kernels)
    distance = F.pad((first - second) ** 2, [radius] * 6, mode="replicate")
    distance = F.avg_pool3d(distance, 2 * radius + 1, stride=1)
    distance = distance - distance.min(dim=1, keepdim=True)[0]
    variance = distance.mean(dim=1, keepdim=True)
    average = variance.mean().detach()
    return torch.exp(-distance / variance.clamp(average * 1e-3, average * 1e3))


def reference_curvature(u: Tensor, spacing: tuple[float, ...]) -> Tensor:
    """Interior voxels only."""
    inner = slice(1, -1)
    x = u[..., inner, inner, 2:] - 2 * u[..., inner, inner, inner] + u[..., inner, inner, :-2]
    y = u[..., inner, 2:, inner] - 2 * u[..., inner, inner, inner] + u[..., inner, :-2, inner]
    z = u[..., 2:, inner, inner] - 2 * u[..., inner, inner, inner] + u[..., :-2, inner, inner]
    return ((x / spacing[0] ** 2 + y / spacing[1] ** 2 + z / spacing[2] ** 2) ** 2).sum(dim=1).mean()


def reference_volume_change(field: DisplacementField, threshold: float) -> Tensor:
    """A 3x3 matrix and torch.linalg.det per voxel."""
    z = torch.linalg.det(jacobian_matrix(field).permute(0, 3, 4, 5, 1, 2))
    line = (1 - 1 / threshold**2) * z + 2 * (1 - threshold) / threshold
    return torch.where(z >= threshold, (z - 1) ** 2 / z.clamp_min(threshold), line).mean()


def cases(size: int) -> dict[str, tuple[Loss, Loss, Tensor, slice]]:
    """Per name: loss, reference, variable, and the voxels along each axis on which the gradients must agree."""
    generator = torch.Generator().manual_seed(0)
    grid = ImageGrid.axis_aligned((size,) * 3, SPACING)
    fixed = F.avg_pool3d(torch.randn(1, 1, size, size, size, generator=generator), 3, 1, 1) * 500
    warped = F.avg_pool3d(torch.randn(1, 1, size, size, size, generator=generator), 3, 1, 1) * 500
    u = F.avg_pool3d(torch.randn(1, 3, size, size, size, generator=generator), 3, 1, 1)
    features, reference_features = losses.mind_ssc(fixed, 1, 2), reference_mind(fixed, 1, 2)
    everywhere, interior = slice(None), slice(8, -8)
    return {
        "local_ncc, 9^3": (
            lambda w: losses.local_ncc(fixed, w, 9),
            lambda w: reference_local_ncc(fixed, w, 9),
            warped,
            everywhere,
        ),
        "ngf": (
            lambda w: losses.ngf(fixed, w, grid, epsilon=20.0),
            lambda w: reference_ngf(fixed, w, SPACING, 20.0),
            warped,
            interior,
        ),
        "mind_ssc, radius 1, dilation 2": (
            lambda w: losses.feature_ssd(features, losses.mind_ssc(w, 1, 2)),
            lambda w: (reference_features - reference_mind(w, 1, 2)).square().mean(),
            warped,
            interior,
        ),
        "curvature": (
            lambda v: losses.curvature(DisplacementField(v, grid)),
            lambda v: reference_curvature(v, SPACING),
            u,
            interior,
        ),
        "volume_change": (
            lambda v: losses.volume_change(DisplacementField(v, grid)),
            lambda v: reference_volume_change(DisplacementField(v, grid), 0.2),
            u,
            everywhere,
        ),
    }


def gradient(loss: Loss, variable: Tensor) -> Tensor:
    leaf = variable.detach().requires_grad_()
    loss(leaf).backward()
    assert leaf.grad is not None
    return leaf.grad


def check(name: str, loss: Loss, reference: Loss, variable: Tensor, where: slice) -> None:
    """Raise unless the gradients agree up to a common factor (references may leave out the border in the mean)."""
    first, second = (gradient(one, variable)[..., where, where, where].flatten() for one in (loss, reference))
    agreement = torch.dot(first, second) / (first.norm() * second.norm())
    if agreement < 0.999:
        raise RuntimeError(f"{name}: the gradient does not agree with the reference (cosine {agreement:.4f})")


def seconds(loss: Loss, variable: Tensor, repeats: int) -> tuple[float, float]:
    """Least wall and CPU time of a forward and backward pass."""
    wall, cpu = [], []
    for _ in range(repeats):
        start, cpu_start = time.perf_counter(), time.process_time()
        gradient(loss, variable)
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - cpu_start)
    return min(wall), min(cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=128, help="voxels along each axis")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    write = sys.stdout.write
    write(f"{arguments.size}^3 voxels, {arguments.threads} threads, torch {torch.__version__}, forward + backward\n")
    write(f"{'loss':32}{'ms':>8}{'reference':>11}{'faster':>8}{'CPU ms':>9}{'reference':>11}{'faster':>8}\n")
    for name, (loss, reference, variable, where) in cases(arguments.size).items():
        check(name, loss, reference, variable, where)
        wall, cpu = seconds(loss, variable, arguments.repeats)
        reference_wall, reference_cpu = seconds(reference, variable, max(arguments.repeats // 2, 1))
        write(f"{name:32}{wall * 1e3:8.0f}{reference_wall * 1e3:11.0f}{reference_wall / wall:8.1f}")
        write(f"{cpu * 1e3:9.0f}{reference_cpu * 1e3:11.0f}{reference_cpu / cpu:8.1f}\n")


if __name__ == "__main__":
    main()
