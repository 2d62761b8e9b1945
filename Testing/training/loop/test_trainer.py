"""The loop: it learns, it resumes exactly, it stops in time, and several processes do what one does."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from DeepLargeDeformRegLib.core.errors import BadInputError, RegistrationError
from DeepLargeDeformRegLib.engine import networks
from DeepLargeDeformRegLib.engine.networks.blocks import Convolution

from training.config import ROOT, LossConfig, NetworkConfig, PhaseConfig
from training.loop.average import MovingAverage
from training.loop.checkpoint import load_checkpoint
from training.loop.schedule import learning_rate
from training.loop.trainer import Trainer
from training.loop.validate import validate
from training.pairs.samples import ListedPairs, Sample, training_grid

MakeTrainer = Callable[..., Trainer]


def read_log(trainer: Trainer) -> list[dict[str, float]]:
    return [json.loads(line) for line in trainer.log_file.read_text(encoding="utf-8").splitlines()]


def test_training_learns_to_register(make_trainer: MakeTrainer) -> None:
    phases = (
        PhaseConfig(steps=30, learning_rate=1e-2, levels=1),
        PhaseConfig(steps=40, learning_rate=5e-3, levels=2, decay="cosine"),
    )
    network = NetworkConfig("pyramid-unet", {"channels": 1, "levels": 2, "filters": [8, 16]})
    losses = (
        LossConfig(name="dice", at="full"),
        LossConfig(name="local_ncc", weight=0.5),
        LossConfig(name="diffusion", weight=0.05),
    )
    losses += (LossConfig(name="keypoint", weight=0.05),)
    trainer = make_trainer("learning", network=network, losses=losses, phases=phases, log_every=10, ema=0.9)
    pairs = [trainer.source.draw(torch.Generator().manual_seed(number)) for number in range(2)]
    trainer.source = ListedPairs(pairs)
    assert trainer.run()
    values = validate(trainer.average.network, pairs, training_grid(trainer.config.grid))
    assert values["dice"] > values["dice_before"] + 0.05
    assert values["tre_mm"] < values["tre_before_mm"]
    log = read_log(trainer)
    assert log[-1]["total"] < log[0]["total"] - 0.05


@pytest.mark.parametrize(("precision", "expected"), [("bf16", torch.bfloat16), ("32", torch.float32)])
def test_the_network_computes_in_the_precision_of_the_configuration(
    make_trainer: MakeTrainer, precision: str, expected: torch.dtype
) -> None:
    trainer = make_trainer("precise", precision=precision)
    dtypes: list[torch.dtype] = []
    for module in trainer.network.modules():
        if isinstance(module, torch.nn.Conv3d):
            module.register_forward_hook(lambda module, inputs, output: dtypes.append(output.dtype))
    assert trainer.run()
    assert set(dtypes) == {expected}
    assert all(value.dtype == torch.float32 for value in trainer.network.parameters())


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("slices", [1, 2, 3, 4, 5])
def test_gradients_in_bfloat16_are_right(slices: int, stride: int) -> None:
    # Of torch's own convolutions they are wrong for 2 slices, and for 1 with a stride of 2 (torch 2.13.0).
    convolution = Convolution(28, 28, 3, padding=1, stride=stride, bias=False)
    images = torch.randn((2, 28, slices, 6, 6), generator=torch.Generator().manual_seed(1))
    gradients = []
    for bfloat16 in (False, True):
        convolution.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            output = convolution(images)
        assert output.dtype == (torch.bfloat16 if bfloat16 else torch.float32)
        output.float().square().mean().backward()
        assert convolution.weight.grad is not None
        gradients.append(convolution.weight.grad.clone())
    assert (gradients[1] - gradients[0]).norm() < 0.02 * gradients[0].norm()


def test_statistics_of_batch_norm_are_averaged_as_weights_are() -> None:
    network = networks.build("virnet-2019", filters=2)
    average = MovingAverage(network, 0.5)
    before = {name: value.clone() for name, value in network.named_buffers() if value.is_floating_point()}
    with torch.no_grad():
        for value in network.buffers():
            value += 3
    average.update(network, 100)
    for name, value in average.network.named_buffers():
        expected = before[name] + 1.5 if name in before else torch.tensor(3)
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("stop_after", [3, 4, 6])
def test_an_interrupted_run_has_the_loss_curve_of_an_uninterrupted_one(
    make_trainer: MakeTrainer, stop_after: int
) -> None:
    whole = make_trainer("whole")
    assert whole.run()
    first = make_trainer("parts", should_stop=lambda: first.progress.step == stop_after)
    assert not first.run()
    second = make_trainer("parts")
    second.restore(load_checkpoint(second.folder))
    assert second.progress.step == stop_after
    assert second.run()
    assert read_log(second) == read_log(whole)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, second.network.state_dict()[name]), name
    for name, value in whole.average.network.state_dict().items():
        assert torch.equal(value, second.average.network.state_dict()[name]), name


def test_what_was_logged_after_the_last_checkpoint_is_logged_once(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("crash", should_stop=lambda: trainer.progress.step == 3)
    trainer.run()
    with trainer.log_file.open("a", encoding="utf-8") as file:
        file.write('{"step": 4, "total": 99.0}\n')
    again = make_trainer("crash")
    again.restore(load_checkpoint(again.folder))
    again.run()
    assert [entry["step"] for entry in read_log(again)] == list(range(1, 9))


def test_the_time_limit_leaves_a_checkpoint_that_can_be_used(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("late", phases=(PhaseConfig(steps=100_000, learning_rate=1e-3),))
    trainer.deadline = time.monotonic() + 1.0
    start = time.monotonic()
    assert not trainer.run()
    assert time.monotonic() - start < 60  # and not the hours of all its steps
    checkpoint = load_checkpoint(trainer.folder)
    assert 0 < checkpoint.progress.step < 100_000
    network = trainer.config.make_network()
    network.load_state_dict(checkpoint.average)


PLAN = (
    PhaseConfig(steps=300, learning_rate=1e-3, levels=1),
    PhaseConfig(steps=100, learning_rate=1e-3),
)


def test_the_plan_fills_the_time(make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer("plan", phases=PLAN)
    # Speeds of a machine that does nothing else; measured ones change with whatever runs beside the test.
    monkeypatch.setattr(trainer, "_seconds_per_step", lambda phase: 0.1 if phase.levels == 1 else 0.3)

    def planned(seconds: float) -> float:
        trainer.plan(seconds)
        first, second = trainer.progress.steps
        return 0.1 * first + 0.3 * second

    for seconds in (30.0, 15.0):
        assert 0.85 * seconds < planned(seconds) < seconds
        first, second = trainer.progress.steps
        assert first / second == pytest.approx(3, rel=0.05)
    trainer.progress.phase_step = 1
    assert 0.85 * 60 < planned(60.0) < 60
    assert trainer.progress.steps[0] == first, "a phase that has begun keeps its learning rates"
    assert trainer.progress.steps[1] > second


def test_measuring_the_speed_trains_nothing(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("speed", phases=PLAN)
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trainer.plan(10.0)
    assert all(steps > 0 for steps in trainer.progress.steps)
    assert all(torch.equal(value, trainer.network.state_dict()[name]) for name, value in before.items())
    assert trainer.progress.step == 0


def test_a_phase_can_weight_losses_of_its_own(make_trainer: MakeTrainer) -> None:
    phases = (
        PhaseConfig(steps=1, learning_rate=1e-3),
        PhaseConfig(steps=1, learning_rate=1e-3, weights={"dice": 0.0, "diffusion": 9.0}),
    )
    trainer = make_trainer("weights", phases=phases)
    trainer.run()
    first, second = read_log(trainer)
    assert "dice" in first
    assert "dice" not in second
    volume_change = next(loss for loss in trainer.config.losses if loss.name == "volume_change").weight_at(2)
    terms = 0.5 * second["similarity_pyramid"] + 9 * second["diffusion"] + volume_change * second["volume_change"]
    assert second["total"] == pytest.approx(terms, rel=1e-5)


def test_learning_rates() -> None:
    phase = PhaseConfig(steps=100, learning_rate=1.0, decay="cosine", warmup=9)
    rates = [learning_rate(phase, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[4] == pytest.approx(0.5, rel=0.01)
    assert max(rates) < 1.0
    assert rates[50] == pytest.approx(0.5)
    assert rates[99] < 0.001
    constant = PhaseConfig(steps=100, learning_rate=1.0)
    assert {learning_rate(constant, step, 100) for step in range(100)} == {1.0}


def test_a_damaged_or_missing_checkpoint_is_refused(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="There is no checkpoint"):
        load_checkpoint(tmp_path)
    trainer = make_trainer("damaged", should_stop=lambda: True)
    trainer.run()
    first = load_checkpoint(trainer.folder).folder
    trainer.run()
    second = load_checkpoint(trainer.folder).folder
    assert second != first
    (second / "average.safetensors").write_bytes(b"not weights")
    assert load_checkpoint(trainer.folder).folder == first
    (first / "state.json").write_text("{", encoding="utf-8")
    with pytest.raises(BadInputError, match="is damaged"):
        load_checkpoint(trainer.folder)


def test_a_pair_without_a_usable_gradient_changes_nothing_and_many_end_the_run(make_trainer: MakeTrainer) -> None:
    phases = (PhaseConfig(steps=60, learning_rate=1e-2),)
    trainer = make_trainer("unusable", phases=phases, log_every=10, validate_every=0)
    source, drawn = trainer.source, []

    class Broken:
        def draw(self, generator: torch.Generator) -> Sample:
            sample = source.draw(generator)
            drawn.append(sample)
            broken = len(drawn) == 3 or len(drawn) > 20
            return (
                replace(sample, fixed=replace(sample.fixed, image=sample.fixed.image * math.nan))
                if broken
                else sample
            )

    trainer.source = Broken()
    with pytest.raises(RegistrationError, match="no longer a number since"):
        trainer.run()
    assert len(drawn) > 40
    assert all(bool(torch.isfinite(parameter).all()) for parameter in trainer.network.parameters())


def test_a_pair_that_is_no_number_leaves_batch_norm_as_it_was(make_trainer: MakeTrainer) -> None:
    losses = (LossConfig(name="dice", at="full"), LossConfig(name="diffusion", weight=0.05))
    phases = (PhaseConfig(steps=4, learning_rate=1e-3),)
    network = NetworkConfig("mlvirnet-2019", {"filters": 2})
    trainer = make_trainer("statistics", network=network, losses=losses, phases=phases)
    source, numbers = trainer.source, iter(range(100))

    class Broken:
        def draw(self, generator: torch.Generator) -> Sample:
            sample = source.draw(generator)
            factor = math.nan if next(numbers) == 3 else 1.0
            return replace(sample, moving=replace(sample.moving, image=factor * sample.moving.image))

    trainer.source = Broken()
    assert trainer.run()
    buffers = dict(trainer.network.named_buffers())
    assert any(name.endswith("running_mean") and bool(value.any()) for name, value in buffers.items())
    for values in (*buffers.values(), *trainer.average.network.state_dict().values()):
        assert bool(torch.isfinite(values).all())


def test_a_stop_saves_before_it_validates(make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer("hurried", should_stop=lambda: True)
    monkeypatch.setattr(trainer, "_validate", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):  # killed while it validates
        trainer.run()
    assert load_checkpoint(trainer.folder).progress.step == 1


def test_what_a_power_cut_left_is_removed(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("cut", should_stop=lambda: True)
    left = trainer.folder / "checkpoints" / ".saving-left"
    left.mkdir(parents=True)
    (left / "network.safetensors").write_bytes(b"half")
    trainer.run()
    trainer.save()  # of the same step
    assert [path.name for path in (trainer.folder / "checkpoints").iterdir()] == ["step-00000001"]


def test_two_processes_have_the_losses_of_one(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    assert make_trainer("1").run()
    folder = tmp_path / "2"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "Testing.training.loop.distributed_run", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    search = [str(ROOT), str(ROOT / "DeepLargeDeformReg"), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, search))
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "world 2" in done.stdout
    texts = [(tmp_path / name / "log.jsonl").read_text(encoding="utf-8") for name in ("1", "2")]
    logs = [[json.loads(line) for line in text.splitlines()] for text in texts]
    assert len(logs[0]) == len(logs[1]) == 8
    # Sums are added up in another order, so last digits differ. Adam divides a small gradient by its
    # own size and so carries this on: to 4e-4 of a term in 8 steps on one processor.
    for number, (one, two) in enumerate(zip(*logs, strict=True)):
        assert two == pytest.approx(one, rel=1e-4 if number == 0 else 0.01, abs=1e-5)
