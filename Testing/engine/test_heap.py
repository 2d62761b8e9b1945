"""Freed memory is reused within a registration, and the system has it back afterwards."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

from training.config import ROOT

SCRIPT = """
import json, resource, sys
import numpy as np
from DeepLargeDeformRegLib.engine import heap

SIZE = 64 << 20

def pages_that_the_system_clears():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(SIZE, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def held():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

with heap.reused_memory():
    with heap.reused_memory():
        first = pages_that_the_system_clears()
    second = pages_that_the_system_clears()
    kept = pages_that_the_system_clears()
    within = held()
after = held()
json.dump({"first": first, "kept": kept, "given back": within - after, "size": SIZE}, sys.stdout)
"""


@pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="the C library is not glibc on Linux"
)
def test_memory_is_reused_within_the_block_and_given_back_behind_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT / "DeepLargeDeformReg",
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["kept"] < 0.1 * found["first"] + 100, found
    assert found["given back"] > 0.8 * found["size"], found
