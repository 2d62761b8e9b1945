"""Discrete matching of keypoints on self-similarity context.

After Heinrich et al., "Estimating large lung motion in COPD patients by symmetric regularised correspondence fields"
(MICCAI 2015) and Ruehaak et al. (IEEE TMI 2017): every displacement of a dense lattice is scored at each keypoint by
the difference of MIND-SSC patches; neighbors in a minimum spanning tree shall move alike, which is solved exactly by
min-sum messages up and down the tree; then finer, around what was found; then back, from the moving scan to the fixed
one, and only matches that return count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from scipy.spatial import cKDTree
from torch import Tensor

NEIGHBORS = 12
"""Candidates for edges of the tree, per keypoint."""
PATCH = 1
"""Patches are of 3x3x3 samples, ``PATCH`` steps to each side."""
CHUNK = 64


@dataclass(frozen=True, eq=False)
class Tree:
    """A spanning tree of keypoints, root first.

    Args:
        order: keypoints so that each comes after its parent.
        parent: of each keypoint; the root's is itself.
        depth: edges to the root.
        length: distance to the parent in voxels.
    """

    order: Tensor
    parent: Tensor
    depth: Tensor
    length: Tensor


def spanning_tree(points: Tensor) -> Tree:
    """Minimum spanning tree of keypoints ``(n, 3)`` by distance, over their nearest neighbors."""
    positions = points.cpu().double().numpy()
    count = len(positions)
    distance, near = cKDTree(positions).query(positions, k=min(NEIGHBORS + 1, count))
    rows = np.repeat(np.arange(count), near.shape[1])
    graph = coo_matrix((distance.ravel() + 1e-3, (rows, near.ravel())), shape=(count, count))
    # Two are neighbors if one of them lists the other. Parts that share none are tied to the first keypoint, far away
    # and so with almost no force.
    star = coo_matrix((np.full(count - 1, 1e4), (np.zeros(count - 1, int), np.arange(1, count))), (count, count))
    tree = minimum_spanning_tree(graph.tocsr().maximum(graph.T.tocsr()) + _missing(graph, star))
    order, parent = breadth_first_order(tree, 0, directed=False)
    parent = np.where(parent < 0, np.arange(count), parent)
    depth = np.zeros(count, int)
    for node in order[1:]:
        depth[node] = depth[parent[node]] + 1
    length = np.linalg.norm(positions - positions[parent], axis=1)
    return Tree(*(torch.from_numpy(np.asarray(values)) for values in (order.astype(np.int64), parent, depth, length)))


def patch_costs(fixed: Tensor, moving: Tensor, points: Tensor, centers: Tensor, radius: int, step: int = 1) -> Tensor:
    """Cost of each displacement of a lattice at each keypoint: mean squared difference of feature patches.

    Args:
        fixed: features ``(C, D, H, W)``.
        moving: likewise, on the same lattice.
        points: keypoints ``(n, 3)`` int64, voxels (x, y, z).
        centers: displacement ``(n, 3)`` int64 around which is searched, voxels (x, y, z).
        radius: of the search, in steps.
        step: voxels between two candidates, and between two samples of a patch.

    Returns:
        ``(n, 2 r + 1, 2 r + 1, 2 r + 1)`` for displacements along z, y, x; infinite outside of the moving scan.
    """
    side = 2 * radius + 1
    reach = PATCH * step
    pad = radius * step + reach
    # Far outside a margin is enough: what lies there has no cost.
    padded_moving = F.pad(moving, (pad,) * 6)
    padded_fixed = F.pad(fixed[None], (reach,) * 6, mode="replicate")[0]
    size = torch.tensor(list(reversed(moving.shape[1:])), device=points.device)
    start = (points + centers).clamp(min=torch.zeros_like(size), max=size - 1)
    window = torch.arange(0, side + 2 * PATCH, device=points.device) * step
    offsets = [o * step for o in range(2 * PATCH + 1)]
    steps = torch.arange(-radius, radius + 1, device=points.device) * step
    costs = []
    for chunk, begin in zip(points.split(CHUNK), start.split(CHUNK), strict=True):
        x, y, z = ((begin[:, axis, None] + window) for axis in range(3))
        cut = padded_moving[:, z[:, :, None, None], y[:, None, :, None], x[:, None, None, :]]
        total = fixed.new_zeros((len(chunk), side, side, side))
        for dz, oz in enumerate(offsets):
            for dy, oy in enumerate(offsets):
                for dx, ox in enumerate(offsets):
                    here = padded_fixed[:, chunk[:, 2] + oz, chunk[:, 1] + oy, chunk[:, 0] + ox]
                    there = cut[:, :, dz : dz + side, dy : dy + side, dx : dx + side]
                    total += (there - here[:, :, None, None, None]).square_().sum(dim=0)
        inside = [
            (begin[:, axis, None] + steps >= 0) & (begin[:, axis, None] + steps < size[axis]) for axis in (2, 1, 0)
        ]
        valid = inside[0][:, :, None, None] & inside[1][:, None, :, None] & inside[2][:, None, None, :]
        costs.append(torch.where(valid, total / (len(offsets) ** 3 * fixed.shape[0]), torch.inf))
    return torch.cat(costs)


def regularized(costs: Tensor, centers: Tensor, tree: Tree, weight: float, step: int) -> Tensor:
    """Min-marginals of all displacements: what each costs when the rest of the tree does its best.

    Args:
        costs: ``(n, s, s, s)`` of displacements along z, y, x.
        centers: around which they lie, ``(n, 3)`` voxels (x, y, z).
        tree: of the keypoints.
        weight: cost of a difference of one voxel between neighbors one voxel apart.
        step: voxels between two displacements.
    """
    total = costs.nan_to_num(posinf=float(costs[costs.isfinite()].max()) * 4)
    stiffness = (weight / tree.length.clamp_min(1.0)).to(total)
    levels = [torch.nonzero(tree.depth == depth).flatten() for depth in range(int(tree.depth.max()) + 1)]
    steps = torch.arange(costs.shape[1], device=costs.device) - costs.shape[1] // 2
    upward = torch.zeros_like(total)
    for nodes in reversed(levels[1:]):
        parents = tree.parent[nodes]
        message = _message(total[nodes], centers[nodes], centers[parents], stiffness[nodes], steps * step)
        upward[nodes] = message
        total.index_add_(0, parents.to(total.device), message)
    for nodes in levels[1:]:
        parents = tree.parent[nodes]
        rest = total[parents] - upward[nodes]
        total[nodes] += _message(rest, centers[parents], centers[nodes], stiffness[nodes], steps * step)
    return total


def best(marginals: Tensor, centers: Tensor, step: int) -> Tensor:
    """Displacement ``(n, 3)`` of least cost in voxels (x, y, z), to a fraction by a parabola along each axis."""
    count, side = marginals.shape[:2]
    index = marginals.flatten(1).argmin(dim=1)
    place = torch.stack((index // side**2, index // side % side, index % side), dim=1)
    result = torch.zeros((count, 3), dtype=marginals.dtype, device=marginals.device)
    rows = torch.arange(count, device=marginals.device)
    for axis in range(3):
        ends = [place.clone(), place.clone()]
        ends[0][:, axis] -= 1
        ends[1][:, axis] += 1
        is_inner = (place[:, axis] > 0) & (place[:, axis] < side - 1)
        values = []
        for at in (ends[0], place, ends[1]):
            z, y, x = at.clamp(0, side - 1).T
            values.append(marginals[rows, z, y, x])
        low, middle, high = values
        curvature = (low + high - 2 * middle).clamp_min(1e-12)
        fraction = torch.where(is_inner, (low - high) / (2 * curvature), 0.0).clamp(-0.5, 0.5)
        result[:, 2 - axis] = (place[:, axis] - side // 2 + fraction) * step
    return result + centers.to(result)


def agreeing(forward: Tensor, backward: Tensor, tolerance: float) -> Tensor:
    """Which keypoints return to within a tolerance (voxels) of where they began, ``(n,)`` bool."""
    return (forward + backward).norm(dim=1) <= tolerance


def _message(costs: Tensor, own: Tensor, other: Tensor, stiffness: Tensor, steps: Tensor) -> Tensor:
    """Least cost for each displacement of the other end of an edge: a quadratic min-convolution, axis by axis."""
    result = costs
    for axis in range(3):
        shift = (own[:, 2 - axis] - other[:, 2 - axis])[:, None, None] + steps[None, None, :] - steps[None, :, None]
        penalty = stiffness[:, None, None] * shift.to(costs) ** 2  # (n, displacement of the other, own one)
        moved = result.movedim(1 + axis, 3)
        moved = (moved[:, :, :, None, :] + penalty[:, None, None]).amin(dim=4)
        result = moved.movedim(3, 1 + axis)
    return result - result.flatten(1).amin(dim=1)[:, None, None, None]


def _missing(graph: coo_matrix, star: coo_matrix) -> coo_matrix:
    """Edges of the star between keypoints that are not neighbors already."""
    known = set(zip(graph.row.tolist(), graph.col.tolist(), strict=True))
    keep = [(0, column) not in known and (column, 0) not in known for column in star.col.tolist()]
    return coo_matrix((star.data[keep], (star.row[keep], star.col[keep])), star.shape).tocsr()


def stages(reach_mm: float, spacing: float) -> Sequence[tuple[int, int]]:
    """Step (voxels) and radius (steps) of the searches, coarse to fine, that reach so far."""
    coarse = 2
    return ((coarse, max(2, round(reach_mm / spacing / coarse))), (1, 4))
