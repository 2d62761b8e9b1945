"""Soft masks of structures that two scans share, whoever outlined them: the user, thresholds or a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...core.errors import BadInputError
from ...core.geometry import ImageGrid
from ...core.images import LabelMap
from ...core.sentences import marked as _
from .. import fields
from ..device import constant, to_device
from ..fields import DisplacementField


@dataclass(frozen=True, eq=False)
class Structures:
    """Soft masks of one scan; those of another scan have the same structures in the same channels.

    Args:
        shares: ``(1, K, D, H, W)``, 0..1.
        grid: of the shares.
        weights: how much each structure counts, ``(K,)``.
    """

    shares: Tensor
    grid: ImageGrid
    weights: tuple[float, ...]

    @classmethod
    def union_of(cls, labels: LabelMap, values: Sequence[int]) -> Structures:
        """One mask of all structures of some values."""
        inside = torch.from_numpy(labels.union(values).astype(np.float32))
        return cls(inside[None, None], labels.grid, (1.0,))

    def on(self, grid: ImageGrid) -> Tensor:
        """The shares on another grid, ``(1, K, D, H, W)``."""
        return fields.warp(self.shares, self.grid, fields.identity(grid))

    def through(self, map_: DisplacementField) -> Tensor:
        """The shares through a map, on its grid and device, times the square roots of their weights.

        Squared differences of these are weighted with the weights.
        """
        roots = constant(self.weights, map_.displacement).sqrt().reshape(1, -1, 1, 1, 1)
        return fields.warp(to_device(self.shares, roots.device), self.grid, map_) * roots

    def centroids(self) -> npt.NDArray[np.float64]:
        """Middle of each structure, LPS mm ``(K, 3)``.

        Raises:
            BadInputError: if one is empty.
        """
        middles = []
        for share in self.shares[0]:
            inside = torch.nonzero(share > 0.5).numpy()
            if not len(inside):
                raise BadInputError(_("A segmentation is empty; choose another one or leave it out."))
            middles.append(self.grid.to_physical(inside.mean(axis=0)[::-1]))
        return np.array(middles)
