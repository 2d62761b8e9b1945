"""The priority at which the worker computes: Slicer hands its own down, the lowest one on Linux."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from .conftest import REPOSITORY

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="priorities of Linux")

TAKE = """
import os
from DeepLargeDeformRegLib.worker.process import take_normal_priority
os.nice({nice} - os.getpriority(os.PRIO_PROCESS, 0))
if {unprivileged} and os.geteuid() == 0:
    os.setuid(65534)
print(take_normal_priority(), os.getpriority(os.PRIO_PROCESS, 0))
"""


def taken(nice: int, unprivileged: bool = False) -> str:
    """What a process of that priority answers, and its priority afterwards."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "DeepLargeDeformReg")}
    code = TAKE.format(nice=nice, unprivileged=unprivileged)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_priority_that_somebody_chose_stays() -> None:
    assert taken(18) == "True 18"


@pytest.mark.skipif(not IS_ROOT, reason="only root can be sure to be allowed to")
def test_lowest_priority_is_left() -> None:
    assert taken(19) == "True 0"


@pytest.mark.skipif(not IS_ROOT, reason="only root can make itself sure not to be allowed to")
def test_priority_stays_where_the_system_does_not_allow_more() -> None:
    assert taken(19, unprivileged=True) == "False 19"
