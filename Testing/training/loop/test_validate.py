"""Validation counts what it says, on pairs whose figures are known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from DeepLargeDeformRegLib.engine.networks import NetworkOutput, RegistrationNetwork

from training.config import GridConfig
from training.loop.validate import overlap, validate
from training.pairs.samples import Sample, Scan, training_grid

GRID = training_grid(GridConfig((16, 16, 16), (2.0, 2.0, 2.0)))


class Shift(RegistrationNetwork):
    """Moves everything by some voxels along x; not a network at all."""

    def __init__(self, voxels: float) -> None:
        super().__init__(channels=1, size_multiple=1)
        self.voxels = torch.nn.Parameter(torch.tensor(voxels))

    def _run(self, fixed: torch.Tensor, moving: torch.Tensor) -> NetworkOutput:
        displacement = torch.zeros((1, 3, *fixed.shape[2:]))
        displacement[:, 0] = self.voxels
        return NetworkOutput(displacement)

    def receptive_field(self) -> int:
        return 1


def cube(x: int) -> Scan:
    labels = torch.zeros((1, 16, 16, 16))
    labels[0, 4:8, 4:8, x : x + 4] = 1
    return Scan(labels.clone(), labels)


def test_a_shift_by_the_right_distance_is_perfect() -> None:
    points = torch.tensor([[8.0, 10.0, 12.0]])
    sample = Sample(
        fixed=cube(4), moving=cube(6), fixed_points=points, moving_points=points + torch.tensor([4.0, 0.0, 0.0])
    )
    values = validate(Shift(2.0), [sample], GRID)
    assert values["dice_before"] == pytest.approx(0.5)
    assert values["dice"] == pytest.approx(1.0)
    assert values["tre_before_mm"] == pytest.approx(4.0)
    assert values["tre_mm"] == pytest.approx(0.0, abs=1e-5)
    assert values["fold_percent"] == 0
    assert values["sdlogj"] == pytest.approx(0.0, abs=1e-6)
    half = validate(Shift(1.0), [sample, replace(sample, fixed_points=None)], GRID)
    assert half["dice"] == pytest.approx(0.75)
    assert half["tre_mm"] == pytest.approx(2.0)


def test_an_absent_structure_does_not_count() -> None:
    first = torch.zeros((2, 1, 1, 4))
    first[0, 0, 0, :2] = 1
    second = torch.zeros((2, 1, 1, 4))
    second[0, 0, 0, 1:3] = 0.6
    values = overlap(first, second)
    assert values[0] == pytest.approx(0.5)
    assert bool(values[1].isnan())
