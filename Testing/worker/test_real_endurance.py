"""The real engine in one worker, hello and 120 jobs: nothing grows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from DeepLargeDeformRegLib import __version__
from DeepLargeDeformRegLib.engine.models import list_models

from .conftest import Desk
from .pairs import write_pair
from .test_server import memory_and_handles

JOBS, WARM_JOBS = 120, 60
SIZE = 24
# A job that kept its scans, field and maps, ten arrays of 55 kB, would add 32 MB after the warm jobs. Half of it, as
# an allocator that keeps blocks for itself grew by 4.3 MB on one machine.
GROWTH_BYTES = 16 * 2**20


def test_hello_and_120_jobs_without_growth(desk: Callable[..., Desk], tmp_path: Path) -> None:
    one = desk(jobs="DeepLargeDeformRegLib.worker.jobs")
    entries = write_pair(tmp_path, size=SIZE)
    settings = {"prealign": "none", "refine": False, "device": "cpu"}
    payload = {**entries, "settings": settings, "output_volume": str(tmp_path / "warped.nrrd")}
    one.do("register", 120, **payload)
    hello, engine = one.client.hello, one.client.engine
    assert hello is not None
    assert engine is not None
    assert hello.library == __version__
    assert set(hello.kinds) == {"register"}
    assert engine.torch == torch.__version__
    assert engine.models == [card.name for card in list_models()]
    assert engine.devices[-1]["name"] == "cpu"
    assert 2**26 < engine.devices[-1]["free_bytes"] < 2**50
    before = (0, 0)
    for number in range(JOBS):
        one.do("register", 60, **payload)
        if number == WARM_JOBS:
            before = memory_and_handles(hello.process)
    memory, handles = memory_and_handles(hello.process)
    assert memory < before[0] + GROWTH_BYTES
    assert handles == before[1]
    assert len(one.transports) == 1
