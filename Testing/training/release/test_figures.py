"""Measuring: figures of a model whose field is known, against figures counted by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import LabelMap, LandmarkPairs, Volume
from DeepLargeDeformRegLib.engine.models import RegistrationModel

from training.config import ROOT, load_config
from training.data import Pair, Subject
from training.loop.trainer import Trainer
from training.release.figures import figures_of, main, means_of, measure_pair
from training.release.publish import make_card, publish, read_figures

from ..loop.test_validate import Shift


def subject(name: str, x: int, origin: float) -> Subject:
    grid = ImageGrid((20, 12, 12), (1, 1, 1), (origin, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    labels = np.zeros(grid.shape, np.int16)
    labels[4:8, 4:8, x : x + 4] = 1
    labels[4:8, 4:8, x + 4 : x + 6] = 2
    volume, label_map = Volume((labels > 0).astype(np.float32), grid), LabelMap(labels, grid)
    return Subject(name=name, read_image=lambda: volume, read_labels=lambda: label_map)


@pytest.mark.parametrize(("voxels", "dice", "tre"), [(2.0, 1.0, 0.0), (0.0, 0.25, 2.0), (1.0, 0.625, 1.0)])
def test_a_known_shift_has_known_figures(voxels: float, dice: float, tre: float) -> None:
    config = load_config(ROOT / "training" / "configs" / "hippocampus-mr-lapirn-gpu.yaml")
    model = RegistrationModel(_card(), Shift(voxels).eval())
    points = np.array([[8.0, 6.0, 6.0], [7.0, 5.0, 5.0]])
    landmarks = LandmarkPairs(points, points + np.array([102.0, 0.0, 0.0]))
    # The middles of the scans are 100 mm apart, the structures 102.
    pair = Pair(subject("a", 5, 0.0), subject("b", 7, 100.0), lambda: landmarks)
    case = measure_pair(model, pair, config)
    assert case["dice"] == pytest.approx(dice)
    assert case["dice_before"] == pytest.approx(0.25)
    assert case["tre_mm"] == pytest.approx(tre, abs=1e-4)
    assert case["tre_before_mm"] == pytest.approx(2.0, abs=1e-4)
    assert case["hd95_mm"] == pytest.approx(2.0 - voxels, abs=1e-4)
    assert case["fold_percent"] == 0
    assert case["sdlogj"] == pytest.approx(0, abs=1e-5)


def _card():  # type: ignore[no-untyped-def]
    from training.loop.checkpoint import Checkpoint, Progress

    config = load_config(ROOT / "training" / "configs" / "hippocampus-mr-lapirn-gpu.yaml")
    return make_card(
        config,
        Checkpoint(config={}, progress=Progress(steps=[1]), network={}, average={}, optimizer={}, folder=Path()),
        (),
        None,
    )


def test_means_and_figures() -> None:
    cases = [{"dice": 0.1 * i, "dice_before": 0.0, "fold_percent": 0.01 * i, "seconds": 0.5} for i in range(1, 11)]
    cases[0]["hd95_mm"] = 3.0
    means = means_of(cases)
    assert means["dice"] == pytest.approx(0.55)
    assert means["dice30"] == pytest.approx(0.2)
    assert means["dice_std"] == pytest.approx(float(np.std([case["dice"] for case in cases])))
    assert means["hd95_mm"] == 3.0
    figures = figures_of([{**case, "hd95_before_mm": 4.0} for case in cases], "ten pairs", "a command", "a processor")
    assert [figure.measure.split(",")[0] for figure in figures] == [
        "Dice",
        "HD95",
        "folds (det J <= 0)",
        "time of the network",
    ]
    assert (figures[-1].value, figures[-1].unit, figures[-1].data) == (0.5, "s", "a pair, a processor")
    assert (figures[0].before, figures[0].value) == (0.0, 0.55)


def test_measured_figures_go_into_the_card(make_trainer, shared_data: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    trainer: Trainer = make_trainer("run", should_stop=lambda: True)
    trainer.run()
    models, figures, pairs = tmp_path / "models", tmp_path / "figures.json", tmp_path / "pairs.csv"
    publish(trainer.folder, [], models)
    lines = (shared_data / "hippocampus" / "test_pairs.csv").read_text(encoding="utf-8").splitlines()[:2]
    pairs.write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = tmp_path / "config.yaml"
    base = ROOT / "training" / "configs" / "hippocampus-mr-lapirn-gpu.yaml"
    coarse = "grid: {size: [24, 32, 24], spacing_mm: [2.0, 2.0, 2.0]}"
    config.write_text(f"extends: {base}\ndata: {{folder: {shared_data / 'hippocampus'}}}\n{coarse}\n")
    # The tiny run has other voxels; a card of these lets it run here.
    card_file = models / "tiny.json"
    card = json.loads(card_file.read_text(encoding="utf-8")) | {"spacing_mm": [2.0, 2.0, 2.0]}
    card_file.write_text(json.dumps(card), encoding="utf-8")
    threads = torch.get_num_threads()
    main("tiny", config, figures, str(pairs), "one pair", models, threads)
    measured = {figure.measure: figure for figure in read_figures(figures)}
    dice = measured["Dice, mean of structures"]
    assert dice.before is not None
    # An untrained network moves next to nothing.
    assert dice.value == pytest.approx(dice.before, abs=0.05)
    assert measured["folds (det J <= 0)"].value == 0
    assert publish(trainer.folder, [figures], models).figures[0] == dice


@pytest.mark.parametrize(("passes", "expected"), [(None, 1), (2, 2)])
def test_a_network_is_measured_with_its_own_passes_or_those_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passes: int | None, expected: int
) -> None:
    model, seen = RegistrationModel(_card(), Shift(1.0).eval()), []
    monkeypatch.setattr("training.release.figures.load_model", lambda *_: model)
    monkeypatch.setattr("training.release.figures.phantom_pair", lambda _: "a pair")

    def measured(model: RegistrationModel, *_: object) -> dict[str, float]:
        seen.append(model.network.passes)
        return {"dice": 0.5, "dice_before": 0.1, "seconds": 0.1}

    monkeypatch.setattr("training.release.figures.measure_pair", measured)
    main("any", Path("hippocampus-mr-lapirn"), tmp_path / "figures.json", models=tmp_path, passes=passes, smoke=True)
    assert seen == [expected]
