"""The Python interface: the examples of its page, run as a user would, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.core.errors import BadInputError


@pytest.fixture(scope="module")
def examples(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All names after the examples of docs/python.md ran in order, in a folder of their own."""
    text = (repository / "docs" / "python.md").read_text(encoding="utf-8")
    code = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert len(code) >= 5
    folder, before = tmp_path_factory.mktemp("examples"), Path.cwd()
    os.chdir(folder)
    try:
        names: dict[str, Any] = {}
        for part in code:
            exec(compile(part, "docs/python.md", "exec"), names)
    finally:
        os.chdir(before)
    return names | {"folder": folder}


def test_examples_register(examples: dict[str, Any]) -> None:
    result = examples["result"]
    overlap = result.metrics.structures["label 1"].dice
    assert overlap.before < 0.7 < 0.85 < overlap.after
    assert result.metrics.verdict is not None
    # SimpleITK makes the same image of the transform (but for a voxel at the border, which it leaves out).
    moving = sitk.GetImageFromArray(examples["moving"].astype(np.float32))
    theirs = sitk.GetArrayFromImage(sitk.Resample(moving, examples["reference"], result.transform, sitk.sitkLinear))
    inside = (slice(4, -4),) * 3
    assert np.abs(sitk.GetArrayFromImage(result.warped) - theirs)[inside].max() < 0.1  # of 100
    assert np.array_equal(np.unique(sitk.GetArrayFromImage(result.labels)), [0, 1])


def test_examples_write_and_apply(examples: dict[str, Any]) -> None:
    folder, result = examples["folder"], examples["result"]
    for name in ("transform.nii.gz", "warped.nii.gz", "metrics.json", "report.html"):
        assert (folder / name).stat().st_size > 100
    assert json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["dice"]["label 1"]["after"] > 0.85
    # The file's transform and the object's move the labels alike, and as SimpleITK does.
    propagated = sitk.GetArrayFromImage(examples["propagated"])
    assert np.array_equal(propagated, sitk.GetArrayFromImage(result.labels))
    theirs = sitk.Resample(examples["labels"], examples["reference"], result.transform, sitk.sitkNearestNeighbor)
    assert (propagated != sitk.GetArrayFromImage(theirs)).mean() < 0.001


def test_examples_evaluate(examples: dict[str, Any]) -> None:
    landmarks = examples["unregistered"].metrics.landmarks
    assert landmarks.before.mean == landmarks.after.mean == pytest.approx(3.0)
    assert "liver-ct" in {card.name for card in examples["models"]()}


def test_importing_the_library_imports_nothing_heavy() -> None:
    code = (
        "import sys, DeepLargeDeformRegLib as library; assert 'register' in library.__all__; "
        "print(sorted({'torch', 'numpy', 'SimpleITK'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_what_cannot_be_used_is_refused_in_words() -> None:
    from DeepLargeDeformRegLib import register

    scan = np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32)
    spacing: dict[str, Any] = {"fixed_spacing": (1, 1, 1), "moving_spacing": (1, 1, 1)}
    with pytest.raises(BadInputError, match="fixed scan is an array; give its spacing"):
        register(scan, scan)
    with pytest.raises(BadInputError, match="fixed scan has 2 dimensions"):
        register(scan[0], scan, **spacing)
    with pytest.raises(BadInputError, match="Unknown setting: organ"):
        register(scan, scan, organ="liver", **spacing)
    with pytest.raises(BadInputError, match="moving labels have the shape"):
        register(scan, scan, moving_labels=np.ones((4, 4, 4), np.uint8), **spacing)
    with pytest.raises(BadInputError, match="must be whole numbers"):
        register(scan, scan, fixed_labels=scan, **spacing)
    with pytest.raises(BadInputError, match="give both"):
        register(scan, scan, match=["1=2"], **spacing)
