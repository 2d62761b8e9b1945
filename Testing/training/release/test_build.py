"""One command from a configuration to a measured model; what is done is not done again."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.core.errors import BadInputError
from typer.testing import CliRunner

from training.config import ROOT, Config, find_config, load_config, with_batch
from training.loop.checkpoint import Progress, load_checkpoint, save_checkpoint
from training.release import build as building
from training.release.__main__ import app
from training.release.publish import publish

CONFIG = """
extends: {shipped}/hippocampus-mr-ldgnet.yaml
name: built
data: {{folder: {folder}, train: "", validation: ""}}
measure: {{pairs: {folder}/pairs.csv, description: two made-up subjects}}
"""


def data_set(folder: Path) -> None:
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name, shift in (("a", 0), ("b", 2)):
        labels = np.zeros((40, 48, 40), np.uint8)
        labels[10:24, 12 + shift : 30 + shift, 12:26] = 1
        labels[24:30, 12 + shift : 30 + shift, 12:26] = 2
        image = 100.0 * labels + generator.standard_normal(labels.shape)
        sitk.WriteImage(sitk.GetImageFromArray(image.astype(np.float32)), folder / "images" / f"{name}.nii.gz")
        sitk.WriteImage(sitk.GetImageFromArray(labels), folder / "labels" / f"{name}.nii.gz")
    (folder / "pairs.csv").write_text("fixed,moving\na,b\n", encoding="utf-8")


def test_the_command_builds_a_measured_model_and_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data_set(tmp_path / "data")
    config = tmp_path / "built.yaml"
    config.write_text(
        CONFIG.format(shipped=ROOT / "training" / "configs", folder=tmp_path / "data"), encoding="utf-8"
    )
    command = ["build", str(config), "--smoke", "--threads", "1"]
    command += ["--output", str(tmp_path / "runs"), "--models", str(tmp_path / "models")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT), str(ROOT / "DeepLargeDeformReg"))))
    caplog.set_level(logging.INFO, logger="training")
    messages = []
    for _ in range(2):
        done = CliRunner().invoke(app, command)  # its parts are processes
        assert done.exit_code == 0, done.output
        messages.append(caplog.text)
        caplog.clear()
    assert all(part in messages[0] for part in ("training.train", "release publish", "release figures"))
    assert "training.train" not in messages[1]
    assert "release figures" not in messages[1]
    card = json.loads((tmp_path / "models" / "built-smoke.json").read_text(encoding="utf-8"))
    figures = {figure["measure"]: figure for figure in card["figures"]}
    assert figures["Dice, mean of structures"]["data"] == "a small made-up pair"
    assert 0 < figures["Dice, mean of structures"]["before"] < 1
    assert len(load_checkpoint(tmp_path / "runs" / "built-smoke").progress.commands) == 1


def test_figures_are_of_these_weights_and_pairs_and_come_before_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(find_config(Path("hippocampus-mr-ldgnet")))
    config = replace(config, training=replace(config.training, phases=config.training.phases[:1]))
    assert config.measure is not None
    run = building.Run(config=Path("x.yaml"), settings=config, output=tmp_path, models=tmp_path / "models")
    finished_run(run.folder, config)
    parts: list[list[str]] = []

    def play(arguments: list[str]) -> bool:
        parts.append(arguments)
        if arguments[1] == "publish":
            publish(Path(arguments[2]), [], Path(arguments[4]))
        else:
            run.figures.write_text("[]", encoding="utf-8")
        return False

    monkeypatch.setattr(building, "_run", play)
    other = replace(config, measure=replace(config.measure, description="others"))
    for settings, measured in ((config, True), (config, False), (other, True)):
        parts.clear()
        building.build(replace(run, settings=settings), None, 1, None)
        expected = ["publish", *["figures"] * measured, "publish"]
        assert [part[1] for part in parts] == expected
        assert [part[4] for part in parts if part[1] == "publish"] == [
            str(run.own_models),
            str(tmp_path / "models"),
        ]


@pytest.mark.parametrize(("batch", "devices", "used"), [(None, 8, 4), (16, 8, 8), (None, 1, 1)])
def test_gpus_share_a_batch(batch: int | None, devices: int, used: int) -> None:
    config = load_config(find_config(Path("hippocampus-mr-lapirn-gpu")))  # batches of 4
    config = config if batch is None else with_batch(config, batch)
    run = building.Run(config=Path("x.yaml"), settings=config, output=Path("runs"), batch=batch)
    command = building._training_command(run, None, devices, None)
    assert ("--nproc-per-node" in command) == (used > 1)
    assert used == 1 or command[command.index("--nproc-per-node") + 1] == str(used)
    assert command[-2:] == ["--batch", "16"] if batch else "--batch" not in command


def test_a_smoke_run_stays_out_of_the_extension() -> None:
    config = load_config(find_config(Path("hippocampus-mr-ldgnet")))
    run = building.Run(config=Path("x.yaml"), settings=config, output=Path("runs"))
    assert run.target == building.MODELS
    assert replace(run, smoke=True).target == Path("runs") / config.name / "models"


def finished_run(folder: Path, config: Config) -> None:
    progress = Progress(steps=[1], phase=1, step=1)
    network = config.make_network()
    save_checkpoint(folder / "checkpoints", config.to_plain(), progress, network, network, {})


@pytest.mark.parametrize("restart", [False, True])
def test_only_a_run_of_this_configuration_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restart: bool
) -> None:
    config = load_config(find_config(Path("hippocampus-mr-ldgnet")))
    config = replace(config, measure=None, training=replace(config.training, phases=config.training.phases[:1]))
    run = building.Run(config=Path("x.yaml"), settings=config, output=tmp_path, models=tmp_path / "models")
    parts: list[list[str]] = []
    monkeypatch.setattr(building, "_run", lambda arguments: bool(parts.append(arguments)))
    for seed, trains in ((config.training.seed, restart), (config.training.seed + 1, True)):
        parts.clear()
        finished_run(run.folder, replace(config, training=replace(config.training, seed=seed)))
        building.build(run, None, 1, None, restart)
        assert [part[0] for part in parts] == ["training.train"] * trains + ["training.release"]
        assert all(("--restart" in part) == restart for part in parts if part[0] == "training.train")


def test_pairs_to_measure_on_that_are_missing_are_found_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_set(tmp_path / "data")
    file = tmp_path / "built.yaml"
    file.write_text(CONFIG.format(shipped=ROOT / "training" / "configs", folder=tmp_path / "data"), encoding="utf-8")
    parts: list[list[str]] = []
    monkeypatch.setattr(building, "_run", lambda arguments: parts.append(arguments) is None)
    run = building.Run(config=file, settings=load_config(file), output=tmp_path / "runs", models=tmp_path / "models")
    assert not building.build(run, None, 1, None)
    assert len(parts) == 1
    (tmp_path / "data" / "pairs.csv").write_text("fixed,moving\na,c\n", encoding="utf-8")
    with pytest.raises(BadInputError, match="has no subject c "):
        building.build(run, None, 1, None)
    assert len(parts) == 1


def test_a_run_that_was_asked_to_stop_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(load_config(find_config(Path("hippocampus-mr-ldgnet"))), measure=None)
    parts: list[list[str]] = []
    monkeypatch.setattr(building, "_run", lambda arguments: parts.append(arguments) is None)
    assert not building.build(
        building.Run(config=Path("x.yaml"), settings=config, output=tmp_path, models=tmp_path), 1.0, 1, None
    )
    assert [part[0] for part in parts] == ["training.train"]
