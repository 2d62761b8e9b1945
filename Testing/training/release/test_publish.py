"""Publishing: what the extension loads is, bit by bit, the average that the run ended with."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.engine.models import Figure, load_model, registration
from DeepLargeDeformRegLib.engine.models.card import Channel
from safetensors.torch import load_file

from training.config import ROOT, PhaseConfig, load_config
from training.loop.trainer import Trainer
from training.pairs.samples import training_grid
from training.release.publish import publish, read_figures

FIGURE = {"measure": "Dice", "value": 0.9, "before": 0.5, "data": "two made-up scans", "source": "a test"}


@pytest.fixture
def trainer(make_trainer: Callable[..., Trainer]) -> Trainer:
    trainer = make_trainer("run")
    trainer.progress.commands.append("python -m training.train tiny")
    trainer.run()
    return trainer


def test_the_published_model_is_the_average_of_the_run(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registration, "computes_in_bfloat16", lambda _: False)  # whatever this processor has
    figures = tmp_path / "figures.json"
    figures.write_text(json.dumps([FIGURE]), encoding="utf-8")
    models = tmp_path / "models"
    card = publish(trainer.folder, [figures], models)
    assert card.figures == (Figure(**FIGURE),)
    assert re.match(r"python -m training\.train tiny \(8 steps in \d+ minutes", card.training_command)
    assert card.arguments["start_channel"] == 2
    assert card.arguments["field_range"] == 0.4
    assert [label.name for label in card.labels] == ["anterior hippocampus", "posterior hippocampus"]
    model = load_model("tiny", folders=[models])
    grid = training_grid(trainer.config.grid)
    # The scans are within 0..1 already; the card's channel is exchanged for one that leaves them as they are.
    model.card = replace(model.card, channels=(Channel("window", 0.0, 1.0),))
    generator = torch.Generator().manual_seed(0)
    fixed, moving = (torch.rand((1, 1, *grid.shape), generator=generator) for _ in range(2))
    predicted = model.predict(fixed, moving, grid).displacement
    with torch.inference_mode():
        voxels = trainer.average.network(fixed, moving)
    expected = voxels * torch.tensor(grid.spacing).reshape(1, 3, 1, 1, 1)
    assert float(expected.abs().max()) > 0
    # The weights are the same to the bit; a convolution may add up in another order for another layout in memory.
    published = model.network.state_dict()
    assert all(torch.equal(value, published[name]) for name, value in trainer.average.network.state_dict().items())
    torch.testing.assert_close(predicted, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


def test_a_fine_tuned_model_names_the_weights_it_started_from(
    trainer: Trainer, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    first = publish(trainer.folder, [], tmp_path / "models")
    second = make_trainer("second", start=str(tmp_path / "models" / first.weights_file))
    second.run()
    card = publish(second.folder, [], tmp_path / "tuned")
    assert card.training_command.endswith(f", from the weights {first.weights_file})")
    assert "from the weights" not in first.training_command


def test_publishing_again_leaves_no_old_weights(trainer: Trainer, tmp_path: Path) -> None:
    models = tmp_path / "models"
    publish(trainer.folder, [], models)
    with torch.no_grad():
        next(trainer.average.network.parameters()).add_(1.0)
    trainer.save()
    card = publish(trainer.folder, [], models)
    assert sorted(path.name for path in models.iterdir()) == sorted([card.weights_file, "tiny.json"])
    assert load_model("tiny", folders=[models]).card == card


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "has no list of figures"),
        ('{"mean": 3}', "has no list of figures"),
        ("nonsense", "cannot be read"),
        ('[{"measure": "Dice", "valeu": 1, "data": "x"}]', r"figures\.json\[0\]\.valeu is not a known setting"),
    ],
)
def test_figures_that_are_none_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "figures.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(BadInputError, match=message):
        read_figures(path)


def test_weights_that_are_too_large_to_ship_are_refused(make_trainer: Callable[..., Trainer], tmp_path: Path) -> None:
    network = load_config(ROOT / "training" / "configs" / "hippocampus-mr-lapirn.yaml").network
    wide = replace(network, arguments={"start_channel": 20})
    trainer = make_trainer("wide", network=wide, should_stop=lambda: True)
    trainer.save()
    with pytest.raises(BadInputError, match="must not take more than 20"):
        publish(trainer.folder, [], tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_a_newer_configuration_gives_texts_and_passes_but_no_other_network(trainer: Trainer, tmp_path: Path) -> None:
    network = trainer.config.network
    thrice = replace(network, arguments={**network.arguments, "passes": 3})
    newer = replace(trainer.config, card=replace(trainer.config.card, title="Better words"), network=thrice)
    card = publish(trainer.folder, [], tmp_path / "models", newer=newer)
    assert card.title == "Better words"
    assert load_model(card.name, "cpu", [tmp_path / "models"]).network.passes == 3
    assert newer.continues(trainer.config)
    other = replace(newer, channels=(Channel("minmax"),))
    with pytest.raises(BadInputError, match="another network"):
        publish(trainer.folder, [], tmp_path / "models", newer=other)


def test_the_mean_of_the_last_phases_is_published(make_trainer: Callable[..., Trainer], tmp_path: Path) -> None:
    # A phase on the middle of the grid does not count.
    phases = tuple(PhaseConfig(steps=2, learning_rate=1e-3, size=size) for size in (None, None, (16, 16, 8), None))
    trainer = make_trainer("mean", phases=phases)
    trainer.config = replace(trainer.config, mean_of_phases=2)
    assert trainer.run()
    card = publish(trainer.folder, [], tmp_path / "models")
    published = load_file(tmp_path / "models" / card.weights_file)
    ends = [load_file(trainer.folder / "ends" / f"phase-{phase:02d}.safetensors") for phase in range(4)]
    for name, value in published.items():
        torch.testing.assert_close(value, (ends[1][name] + ends[3][name]) / 2)
    assert any(not torch.equal(ends[1][name], ends[3][name]) for name in published)
    further = make_trainer("further", phases=phases[:1], start=str(tmp_path / "models" / card.weights_file))
    further.config = replace(further.config, mean_of_phases=2, stored_bits=8)
    assert further.run()
    taken_in = publish(further.folder, [], tmp_path / "models")
    end = load_file(further.folder / "ends" / "phase-00.safetensors")
    for name, value in load_model(taken_in.name, "cpu", [tmp_path / "models"]).network.state_dict().items():
        expected = (end[name] + published[name]) / 2
        assert (value - expected).abs().max() <= expected.abs().max() / 127  # of 8 bits
    last = make_trainer("last", phases=phases[:1], start=str(tmp_path / "models" / taken_in.weights_file))
    assert last.run()  # also from weights in 8 bits
    (trainer.folder / "ends" / "phase-01.safetensors").unlink()
    with pytest.raises(BadInputError, match="not all there"):
        publish(trainer.folder, [], tmp_path / "models")
