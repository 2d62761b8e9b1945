"""How torch's threads wait for each other is settled before torch is imported; it reads that only once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SHOW = """
import os, sys
def show(event, details):
    if event == "import" and details[0] == "torch" and "torch" not in sys.modules:
        print(os.environ.get("GOMP_SPINCOUNT"))
sys.addaudithook(show)
"""


@pytest.mark.parametrize(
    ("entry", "chosen", "expected"),
    [
        ("from DeepLargeDeformRegLib.worker import jobs; jobs.load()", {}, "1000"),
        ("from DeepLargeDeformRegLib.engine import device", {"GOMP_SPINCOUNT": "7"}, "7"),
        ("from DeepLargeDeformRegLib.engine import device", {"OMP_WAIT_POLICY": "ACTIVE"}, "None"),
    ],
)
def test_threads_wait_briefly_unless_the_user_says_how(entry: str, chosen: dict[str, str], expected: str) -> None:
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    }
    done = subprocess.run(
        [sys.executable, "-c", SHOW + entry], env=inherited | chosen, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[0] == expected
