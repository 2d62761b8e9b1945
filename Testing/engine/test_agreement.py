"""Symmetric maps and the disagreement of solutions."""

from __future__ import annotations

import pytest
import torch
from DeepLargeDeformRegLib.engine import field as fields
from DeepLargeDeformRegLib.engine.agreement import disagreement, symmetrized
from DeepLargeDeformRegLib.engine.field import DisplacementField
from DeepLargeDeformRegLib.engine.geometry import ImageGrid

GRID = ImageGrid.axis_aligned((24, 20, 16), (2.0, 2.0, 3.0))


def _wave(height_mm: float) -> DisplacementField:
    position = fields.points(GRID)
    wave = height_mm * torch.sin(position.flip(1) / 9.0)
    return DisplacementField(wave, GRID)


def test_a_map_and_its_inverse_are_left_as_they_are() -> None:
    forward = _wave(1.5)
    backward = fields.invert(forward).field
    change = symmetrized(forward, backward).displacement - forward.displacement
    assert float(change[..., 2:-2, 2:-2, 2:-2].abs().max()) < 0.05


def test_exchanging_the_scans_nearly_inverts_the_map() -> None:
    forward, backward = _wave(1.5), DisplacementField(-_wave(0.9).displacement, GRID)

    def missed(first: DisplacementField, second: DisplacementField) -> float:
        there_and_back = fields.compose(second, first).displacement
        return float(there_and_back[..., 3:-3, 3:-3, 3:-3].norm(dim=1).mean())

    before = missed(forward, backward)
    after = missed(symmetrized(forward, backward), symmetrized(backward, forward))
    assert before > 0.4
    assert after < before / 4


def test_disagreement_is_the_distance_from_the_mean() -> None:
    shift = torch.zeros(1, 3, *GRID.shape)
    shift[:, 1] = 6.0
    moved = DisplacementField(shift, GRID)
    still = fields.identity(GRID)
    assert float(disagreement([still, still]).max()) == 0.0
    spread = disagreement([still, moved])
    assert tuple(spread.shape) == (1, 1, *GRID.shape)
    assert spread.unique().tolist() == pytest.approx([3.0])
