"""How a search and a refinement are done: what a preset holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SearchLevel:
    """One exhaustive search: cells of ``factor`` voxels, ``radius`` cells in each direction."""

    factor: int
    radius: int


@dataclass(frozen=True)
class RefinementLevel:
    """One level of the optimization: lattice cells of ``factor`` voxels, ``steps`` at most, step size in mm."""

    factor: int
    steps: int
    rate_mm: float


@dataclass(frozen=True)
class RefinementPlan:
    """How a field is refined.

    Args:
        levels: coarse to fine.
        similarity: ``"mind"`` (features at random points), ``"ngf"`` or ``"ncc"`` (dense).
        diffusion: weight of the squared first derivatives (dimensionless strain).
        curvature: weight of the squared Laplacian, mm^2.
        volume_change: weight of the volume change penalty.
        masks: weight of the squared difference of the warped label masks.
        landmarks: weight of the squared landmark distance, per mm^2.
        points: random points a step.
        mind_radius: patch radius of MIND, voxels.
        mind_dilation: neighbor distance of MIND, voxels.
    """

    levels: tuple[RefinementLevel, ...]
    similarity: str = "mind"
    diffusion: float = 0.3
    curvature: float = 0.0
    volume_change: float = 0.0
    masks: float = 0.0
    landmarks: float = 0.0
    points: int = 60_000
    mind_radius: int = 1
    mind_dilation: int = 1
