"""Phases of a training: which levels, losses, grid and augmentation each has, and its share of the time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from DeepLargeDeformRegLib.core.errors import BadInputError

from training.config import AugmentationConfig, LossConfig, NetworkConfig, PhaseConfig
from training.loop.trainer import Trainer
from training.pairs.augmentation import Augmented

MakeTrainer = Callable[..., Trainer]


def test_a_phase_trains_on_the_middle_of_the_grid(make_trainer: MakeTrainer) -> None:
    phases = (PhaseConfig(steps=1, learning_rate=1e-3, size=(16, 16, 8)), PhaseConfig(steps=1, learning_rate=1e-3))
    trainer = make_trainer("middle", phases=phases)
    shapes: list[tuple[int, ...]] = []
    for network in (trainer.network, trainer.average.network):
        network._check = lambda fixed, moving: shapes.append(tuple(fixed.shape[2:]))  # type: ignore[method-assign]
    assert trainer.run()
    assert shapes == [(8, 16, 16), (16, 16, 16)]


def test_a_phase_takes_a_share_of_the_augmentation(make_trainer: MakeTrainer) -> None:
    phases = tuple(PhaseConfig(steps=1, learning_rate=1e-3, augmentation=share) for share in (1.0, 0.25, 0.0))
    trainer = make_trainer("gentler", phases=phases)
    settings = AugmentationConfig(probability=1.0, translation=0.2, rotation_deg=0.0, scale=0.0)
    trainer.source = Augmented(trainer.source, settings, trainer.grid)
    points = []
    for phase in phases:
        trainer._open_phase(phase)
        drawn = trainer._pairs.draw(torch.Generator().manual_seed(4))
        assert drawn.fixed_points is not None
        points.append(drawn.fixed_points)
    whole, quarter, none = points
    assert (whole - none).abs().min() > 1e-3
    torch.testing.assert_close(quarter - none, (whole - none) / 4, atol=1e-3, rtol=1e-3)


def test_a_phase_cannot_be_larger_than_the_grid(make_trainer: MakeTrainer) -> None:
    with pytest.raises(BadInputError, match="a size that its grid does not hold"):
        make_trainer("large", phases=(PhaseConfig(steps=1, learning_rate=1e-3, size=(16, 16, 24)),))


def test_a_phase_has_passes_of_its_own_and_validation_those_of_use(make_trainer: MakeTrainer) -> None:
    phases = (PhaseConfig(steps=1, learning_rate=1e-3), PhaseConfig(steps=1, learning_rate=1e-3, passes=2))
    twice = NetworkConfig("lapirn", {"start_channel": 1, "passes": 2})
    trainer = make_trainer("passes", phases=phases, network=twice)
    assert trainer.run()
    runs: list[int] = []
    for phase in phases:
        trainer._open_phase(phase)
        runs.append(trainer.network.passes)
        assert trainer.average.network.passes == 2
    assert runs == [1, 2]
    with pytest.raises(BadInputError, match="at least one pass"):
        PhaseConfig(steps=1, learning_rate=1e-3, passes=0)


def test_phases_train_their_levels_only(make_trainer: MakeTrainer) -> None:
    phases = (
        PhaseConfig(steps=2, learning_rate=1e-2, levels=1),
        PhaseConfig(steps=2, learning_rate=1e-2, levels=2, train="finest"),
    )
    trainer = make_trainer("levels", phases=phases, ema=0.0)
    start = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trainer.should_stop = lambda: trainer.progress.step == 2
    trainer.run()
    middle = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trainer.should_stop = lambda: False
    trainer.run()
    end = trainer.network.state_dict()

    def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
        return {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}

    assert changed(start, middle) == {"0"}
    assert changed(middle, end) == {"1"}


def test_a_finer_level_inherits_from_the_coarser_one(make_trainer: MakeTrainer) -> None:
    phases = (
        PhaseConfig(steps=2, learning_rate=1e-2, levels=2),
        PhaseConfig(steps=1, learning_rate=0.0, levels=3, inherit=True),
    )
    trainer = make_trainer("inherit", phases=phases)
    trainer.run()
    state = trainer.average.network.state_dict()
    key = "residual.0.first.weight"
    assert torch.equal(state[f"nets.2.{key}"], state[f"nets.1.{key}"])
    assert not torch.equal(state[f"nets.1.{key}"], state[f"nets.0.{key}"])


def test_frozen_levels_keep_their_statistics(make_trainer: MakeTrainer) -> None:
    losses = (LossConfig(name="dice", at="full"), LossConfig(name="diffusion", weight=0.05))
    phases = (
        PhaseConfig(steps=2, learning_rate=1e-3, levels=1),
        PhaseConfig(steps=2, learning_rate=1e-3, levels=2, train="finest"),
    )
    network = NetworkConfig("mlvirnet-2019", {"filters": 2})
    trainer = make_trainer("frozen", network=network, losses=losses, phases=phases, ema=0.0)
    trainer.should_stop = lambda: trainer.progress.step == 2
    trainer.run()
    middle = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trainer.should_stop = lambda: False
    assert trainer.run()
    changed = {name for name, value in trainer.network.state_dict().items() if not torch.equal(value, middle[name])}
    assert any(name.startswith("nets.1") and name.endswith("running_mean") for name in changed)
    assert not any(name.startswith("nets.0") for name in changed)


def test_coarser_levels_are_frozen_for_the_first_steps_of_a_phase(make_trainer: MakeTrainer) -> None:
    phases = (PhaseConfig(steps=4, learning_rate=1e-2, levels=2, freeze_coarser=2),)
    trainer = make_trainer("freeze", phases=phases)
    seen: list[dict[str, torch.Tensor]] = []

    def note() -> bool:
        seen.append({name: value.clone() for name, value in trainer.network.state_dict().items()})
        return False

    trainer.should_stop = note
    assert trainer.run()

    def moved(level: int, step: int) -> bool:
        names = [name for name in seen[0] if name.startswith(f"nets.{level}.")]
        return any(not torch.equal(seen[step][name], seen[step - 1][name]) for name in names)

    assert [moved(0, step) for step in (1, 2, 3)] == [False, True, True]
    assert all(moved(1, step) for step in (1, 2, 3))


def test_an_argument_that_a_later_phase_cannot_take_is_refused_at_once(make_trainer: MakeTrainer) -> None:
    losses = (
        LossConfig(name="dice", at="full"),
        LossConfig(name="local_ncc", weight=[0.0, 1.0, 1.0], arguments={"widow": 7}),
    )
    with pytest.raises(BadInputError, match="The loss local_ncc cannot be built"):
        make_trainer("misspelled", losses=losses)


def test_the_time_left_is_shared_anew_before_each_phase(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases = (PhaseConfig(steps=10, learning_rate=1e-3), PhaseConfig(steps=20, learning_rate=1e-3))
    trainer = make_trainer("fitted", phases=phases)
    speeds = iter([1.0, 1.0, 0.5])  # of the plan, and of the second phase once it begins
    monkeypatch.setattr(Trainer, "_seconds_per_step", lambda self, phase: next(speeds))
    trainer.plan(30 / 0.93)
    assert trainer.progress.steps == [10, 20]
    trainer.progress.phase, trainer.progress.step, trainer.progress.seconds = 1, 10, 15.0
    trainer._fit()
    assert trainer.progress.steps == [10, 30]  # 15 of 30 seconds are left, at half a second a step
