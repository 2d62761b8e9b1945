"""One command from a configuration to a measured model; what is done is not done again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from training.checkpoint import load_checkpoint
from training.config import ROOT

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


def test_the_command_builds_a_measured_model_and_repeats_nothing(tmp_path: Path) -> None:
    data_set(tmp_path / "data")
    config = tmp_path / "built.yaml"
    config.write_text(
        CONFIG.format(shipped=ROOT / "training" / "configs", folder=tmp_path / "data"), encoding="utf-8"
    )
    command = [sys.executable, "-m", "training.build", str(config), "--smoke", "--threads", "1"]
    command += ["--output", str(tmp_path / "runs"), "--models", str(tmp_path / "models")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "DeepLargeDeformReg")))}
    messages = []
    for _ in range(2):
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        messages.append(done.stderr)
    assert all(f"training.{part}" in messages[0] for part in ("train", "publish", "measure"))
    assert "training.train" not in messages[1]
    assert "training.measure" not in messages[1]
    card = json.loads((tmp_path / "models" / "built.json").read_text(encoding="utf-8"))
    figures = {figure["measure"]: figure for figure in card["figures"]}
    assert figures["Dice, mean of structures"]["data"] == "two made-up subjects"
    assert 0 < figures["Dice, mean of structures"]["before"] < 1
    assert len(load_checkpoint(tmp_path / "runs" / "built").progress.commands) == 1
