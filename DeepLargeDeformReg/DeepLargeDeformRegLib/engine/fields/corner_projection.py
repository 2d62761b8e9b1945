"""Unfold the corners of a field that fold, each by the smallest move of its four points.

A corner is a voxel with one neighbor along each axis; its determinant is that of the three differences. Where it is
too small, its four points are moved along its gradient just as far as the linearized determinant needs: the
projection onto one inequality (Kaczmarz 1937). Corners of one kind move at once; a point of several of them moves by
the mean of what they ask for (component averaging, Censor et al. 2001, Parallel Computing 27:777-808). So a shallow
fold is gone after a few rounds, and nothing moves that does not border on one.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from ...core.progress import Monitor
from ..device import constant
from .corner_determinants import neighbors
from .field import determinant

ROUNDS = 40
PATIENCE = 5  # rounds in which the number of folded voxels must fall to a share of
STALLED_SHARE = 0.8
AIM = 0.2  # determinant that a corner is moved to; what is less, the verdict calls suspicious
LARGEST_MOVE = 0.5  # voxels in one round: beyond, the linearized determinant says nothing
MOST_VOXELS = 1 << 18  # more than that is not a field with folds, but one of noise
_SMALLEST_GRADIENT = 1e-3  # squared; a corner whose edges all but vanish has no direction to move in

_NEAR = [at for at in itertools.product(range(-2, 3), repeat=3) if sum(map(abs, at)) <= 2]


def project_corners(
    voxels: Tensor, folded: Tensor, minimum: float, monitor: Monitor, rounds: int = ROUNDS, aim: float = AIM
) -> Tensor:
    """The displacement with as many corners unfolded as can be; a few with deep folds may be left.

    Args:
        voxels: displacement in voxels ``(1, 3, D, H, W)``, in the order (x, y, z).
        folded: where a corner's determinant is below ``minimum``, ``(1, 1, D, H, W)``, boolean.
        minimum: smallest determinant that is left as it is.
        monitor: cancellation.
        rounds: at most.
        aim: determinant that a corner is moved to.
    """
    shape = (voxels.shape[2], voxels.shape[3], voxels.shape[4])
    candidates = torch.nonzero(folded.flatten())[:, 0]
    if len(candidates) > MOST_VOXELS:
        return voxels
    points = voxels[0].flatten(1).T.contiguous()  # the numbers of a point beside each other, for the cache
    numbers = [len(candidates)]
    for _ in range(rounds):
        monitor.check()
        changed = [
            _project(points, candidates, signs, shape, minimum, aim) for signs in itertools.product((1, -1), repeat=3)
        ]
        hit = torch.cat(changed).unique()
        numbers.append(len(hit))
        if len(hit) == 0 or (len(numbers) > PATIENCE and numbers[-1] > STALLED_SHARE * numbers[-1 - PATIENCE]):
            break
        candidates = _near(hit, shape)
    return points.T.reshape(voxels.shape)


def _project(
    points: Tensor,
    candidates: Tensor,
    signs: tuple[int, ...],
    shape: tuple[int, int, int],
    minimum: float,
    aim: float,
) -> Tensor:
    """Move, in place, the corners of one kind that are too small; returns the voxels they belong to.

    Args:
        points: displacements ``(V, 3)``.
        candidates: voxels to look at ``(n,)``.
        signs: whether the corner takes the next (1) or the last (-1) neighbor along x, y and z; at the border it
            takes the one that there is.
        shape: D, H, W.
        minimum: determinants below it are too small.
        aim: that they are moved to.
    """
    others, steps = neighbors(candidates, signs, shape)
    at = points.index_select(0, candidates)
    edges = [(points.index_select(0, other) - at) * step for other, step in zip(others, steps, strict=True)]
    value = determinant(*(edge.T[None] for edge in edges))[0, 0]
    small = torch.nonzero(value < minimum)[:, 0]
    if len(small) == 0:
        return small
    x, y, z = (edge[small] for edge in edges)
    x[:, 0] += 1
    y[:, 1] += 1
    z[:, 2] += 1
    normals = (torch.linalg.cross(y, z), torch.linalg.cross(z, x), torch.linalg.cross(x, y))
    gradients = [normal * step[small] for normal, step in zip(normals, steps, strict=True)]
    gradients = [-(gradients[0] + gradients[1] + gradients[2]), *gradients]
    squares = torch.stack([(gradient * gradient).sum(dim=1, keepdim=True) for gradient in gradients])
    length = (max(aim, 2 * minimum) - value[small])[:, None] / squares.sum(dim=0).clamp_min(_SMALLEST_GRADIENT)
    lengths = torch.minimum(length, LARGEST_MOVE / squares.sqrt().clamp_min(1e-12))
    where = torch.cat([candidates[small], *(other[small] for other in others)])
    moves = torch.cat([gradient * each for gradient, each in zip(gradients, lengths, strict=True)])
    touched, which, counts = where.unique(return_inverse=True, return_counts=True)
    points[touched] += moves.new_zeros((len(touched), 3)).index_add_(0, which, moves) / counts[:, None]
    return candidates[small]


def _near(hit: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Voxels with a corner that has a point in common with a corner of these."""
    depth, height, width = shape
    offsets = constant(_NEAR, hit)
    z = (hit // (width * height))[:, None] + offsets[:, 0]
    y = (hit // width % height)[:, None] + offsets[:, 1]
    x = (hit % width)[:, None] + offsets[:, 2]
    inside = (z >= 0) & (z < depth) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    return ((z * height + y) * width + x)[inside].unique()
