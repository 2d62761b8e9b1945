"""How a search and a refinement are done: what a preset holds."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class SearchLevel:
    """One exhaustive search: cells of ``factor`` voxels, ``radius`` cells in each direction."""

    factor: int
    radius: int


@dataclass(frozen=True)
class RefinementLevel:
    """One level of the optimization.

    Args:
        factor: voxels of a lattice cell along each axis.
        steps: at most.
        rate_mm: step size.
        organs: weight of the organs that were found automatically, falling from level to level, so that intensities
            alone decide the last millimeters.
    """

    factor: int
    steps: int
    rate_mm: float
    organs: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RefinementPlan:
    """How a field is refined.

    Args:
        levels: coarse to fine.
        updates: True if each level adds an update to what a search found, as to what a network found, False if
            the levels bend one spline that begins as it.
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
    updates: bool = False
    similarity: str = "mind"
    diffusion: float = 0.3
    curvature: float = 0.0
    volume_change: float = 0.0
    masks: float = 0.0
    landmarks: float = 0.0
    points: int = 60_000
    mind_radius: int = 1
    mind_dilation: int = 1


@dataclass(frozen=True, kw_only=True)
class DeformationPlan:
    """How the deformation of one aligned pair is found.

    Args:
        refinement: instance optimization; its self-similarity also judges the initial fields.
        search: levels of the search from the linear alignment where no network's field wins; none skips it.
        search_beside_network: True searches so where a network's field wins, too, unless outlines or organs guide,
            and goes on from what matches better.
        network_search: levels of a search for what a network's field leaves; none skips it.
        organs: weight of the organs that were found automatically, against self-similarity, in searches and in the
            choice of the initial field.
        refine: False keeps the initial field, without a search.
        refine_network: False keeps the initial field if a network gave it, with what the search added.
    """

    refinement: RefinementPlan
    search: tuple[SearchLevel, ...] = ()
    search_beside_network: bool = False
    network_search: tuple[SearchLevel, ...] = ()
    organs: float = 0.0
    refine: bool = True
    refine_network: bool = True

    def at_spacing(self, factor: float) -> DeformationPlan:
        """The plan for a working grid whose spacing is that many times the preset's: lengths shrink with it."""
        if factor == 1.0:
            return self
        levels = tuple(replace(level, rate_mm=level.rate_mm * factor) for level in self.refinement.levels)
        curvature, landmarks = self.refinement.curvature * factor**2, self.refinement.landmarks / factor**2
        return replace(
            self, refinement=replace(self.refinement, levels=levels, curvature=curvature, landmarks=landmarks)
        )
