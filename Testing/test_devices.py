"""Training and registration on a GPU that is none: no tensor is on the wrong device, and the GPU is kept at work."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch.utils.backend_registration
from DeepLargeDeformRegLib.engine.models import list_models

from training.config import ROOT

pytestmark = pytest.mark.skipif(
    not hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="needs torch 2.9, whose devices may be written in Python",
)


def waits_of(*arguments: str) -> dict[str, dict[str, int]]:
    paths = os.pathsep.join((str(ROOT), str(ROOT / "DeepLargeDeformReg")))
    command = [sys.executable, "-m", "Testing.pretended_run", *arguments]
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    waits = json.loads(done.stdout)
    return {what: {key: n for key, n in counts.items() if key != "operations"} for what, counts in waits.items()}


def test_a_step_of_training_never_waits_for_the_gpu() -> None:
    names = ["hippocampus-mr-lapirn-gpu", "lung-ct-virnet"]
    for what, waits in waits_of("train", *names, "liver-ct-synthetic").items():
        if what in names:
            assert not waits, what
        elif "next pair" in what:
            assert sum(waits.values()) <= 2, what


def test_a_registration_stays_on_the_gpu() -> None:
    waits = waits_of("register", "mr-hippocampus")["mr-hippocampus"]
    # The fields of both directions, the map of uncertainty, and which voxels count in each term of both refinements.
    assert waits["copy from device"] <= 10
    # The inverse's residual every few steps, which candidate matches best, the objective, the round trip.
    assert waits["_local_scalar_dense"] + waits["tolist"] <= 12
    assert not {"nonzero", "index by mask", "masked_select"} & set(waits)


def test_steps_of_a_refinement_wait_for_the_gpu_only_to_read_the_objective() -> None:
    for steps, waits in waits_of("refine", "16", "24").items():
        assert waits == {"tolist": int(steps) // 8}


def test_searches_never_wait_for_the_gpu() -> None:
    assert waits_of("search", "masked") == {"masked": {}}


def test_a_pass_of_a_network_never_waits_for_the_gpu() -> None:
    names = [card.name for card in list_models()]
    assert waits_of("predict", *names) == {name: {} for name in names}


def test_keypoints_are_matched_on_the_gpu() -> None:
    assert "scan" in waits_of("keypoints", "scan")
