"""Breathing of one patient between two scans: drawn from a model, laid over lungs, with the density it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine.device import constant
from DeepLargeDeformRegLib.engine.fields import DisplacementField, index_gradient
from DeepLargeDeformRegLib.engine.fields.bspline import along_axes, basis, separable
from torch import Tensor

from .breathing import LUNGS, NODES, Array, BreathingModel, read_correspondences
from .draw import Draw, blur, ends

_REACHES = ((8.0, 1e-2), (24.0, 1e-4), (60.0, 1e-6))  # widths (mm) and weights of what a lung carries along
_WALL_MM = 8.0  # within which the motion across the wall dies away


@dataclass(frozen=True, kw_only=True)
class BreathingSettings:
    """A model of breathing and what is drawn from it.

    Args:
        keypoints: folder of correspondences, see :func:`read_correspondences`.
        masks: folder of the masks.
        modes: how many modes are mixed.
        spread: standard deviation of their weights.
        strength: least and largest size of a mixture, of either sign; subjects have 1.
        inflation: largest ratio of the lungs' volumes; its geometry is what linear alignment takes away before, but
            the density of the scans keeps it.
    """

    keypoints: str
    masks: str
    modes: int = 8
    spread: float = 1.2
    strength: tuple[float, float] = (0.3, 1.5)
    inflation: float = 1.7

    def model(self, root: Path, names: Sequence[str]) -> BreathingModel:
        """The model of those subjects whose name is a part of one of the names (of shapes); of all if there are none.

        Raises:
            BadInputError: if there are fewer than two.
        """
        parts = {part for name in names for part in Path(name).parts}
        wanted = [path.stem for path in sorted((root / self.keypoints).glob("*.csv")) if path.stem in parts]
        if names and len(wanted) < 2:
            raise BadInputError("A model of breathing needs two subjects with keypoints among the shapes at least.")
        return BreathingModel.of(read_correspondences(root / self.keypoints, root / self.masks, wanted))


@dataclass(frozen=True, eq=False)
class Breath:
    """What lies between the two scans of a pair.

    Args:
        velocity: from the fixed to the moving scan, ``(2, 3, n, n, n)``.
        inflation: volume of the lungs in the moving scan in units of that in the fixed one.
    """

    velocity: Array
    inflation: float

    @classmethod
    def drawn(cls, model: BreathingModel, draw: Draw, settings: BreathingSettings) -> Breath:
        """A random one: breathing in or out, a little or beyond what subjects showed."""
        weights = settings.spread * Draw(draw.integer(2**31)).normal((min(settings.modes, len(model.modes)),))
        strength = draw.choice((-1.0, 1.0)) * draw.uniform(*settings.strength)
        share = draw.uniform(0.3, 1.0) * strength / settings.strength[1]
        return cls(model.mixture(weights.tolist(), strength), settings.inflation**share)

    def halves(self) -> tuple[Array, Array]:
        """Velocity from each scan, fixed and moving, to the state half way between them."""
        return self.velocity / 2, -self.velocity / 2

    def density(self) -> tuple[float, float]:
        """Factor of the density of each scan, of which the mean state knows nothing."""
        return self.inflation**0.5, self.inflation**-0.5


def velocity_on(mixture: Array, lungs: Tensor, moves: Tensor, grid: ImageGrid) -> DisplacementField:
    """A mixture laid over a patient, mm: lungs slide along the wall, which goes out and in with them.

    Between the lungs and below them, the motion is that of the nearer one. Beyond the wall of the cavity only the
    part across the wall is left, and dies away within about a centimeter: ribs hardly move.

    Args:
        mixture: ``(2, 3, n, n, n)``.
        lungs: 1 in the right lung, 2 in the left one, ``(D, H, W)``.
        moves: the cavity, ``(D, H, W)`` bool: lungs, what is between them and under them.
        grid: axis aligned LPS.
    """
    total = torch.zeros((1, 3, *grid.shape), device=lungs.device)
    weights = torch.full((1, 1, *grid.shape), 1e-12, device=lungs.device)
    for index, label in enumerate(LUNGS):
        own = lungs == label
        box = ends(own)
        positions = [
            1 + (np.arange(n) - low) / max(high - low, 1) * (NODES - 3)
            for n, (low, high) in zip(grid.size, box, strict=True)
        ]
        matrices = along_axes([basis(tuple(at), NODES) for at in positions], total)
        edges = constant([(high - low) * s for (low, high), s in zip(box, grid.spacing, strict=True)], total)
        shares = separable(constant(mixture[index], total)[None], matrices)
        weight = own.float()
        for width, share in _REACHES:
            weight = weight + share * blur(own.float(), width, grid)
        total = total + weight * shares * edges.reshape(1, 3, 1, 1, 1)
        weights = weights + weight
    inner = total / weights
    wide = blur(moves.float(), _WALL_MM, grid)
    across = torch.stack(index_gradient(wide[None, None]), dim=1)[:, :, 0] / constant(grid.spacing, total).reshape(
        1, 3, 1, 1, 1
    )
    normal = across / across.norm(dim=1, keepdim=True).clamp_min(1e-4)
    outer = normal * (normal * inner).sum(dim=1, keepdim=True) * (2 * wide).clamp_max(1.0)
    inside = blur(moves.float(), 0.7 * max(grid.spacing), grid)
    return DisplacementField(torch.lerp(outer, inner, inside), grid)
