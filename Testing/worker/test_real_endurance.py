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

JOBS, SPAN = 120, 40
SIZE = 24
# What the allocator holds after a job goes up and down by 45 MB, so the lowest within a span of jobs, which varies by
# 7 MB, is held against that of the span before. A job that kept its scans, field and maps, ten arrays of 55 kB, would
# add 22 MB in a span.
GROWTH_BYTES = 15 * 2**20


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
    memory, handles = [], []
    for _ in range(JOBS):
        one.do("register", 60, **payload)
        held = memory_and_handles(hello.process)
        memory.append(held[0])
        handles.append(held[1])
    assert min(memory[-SPAN:]) < min(memory[-2 * SPAN : -SPAN]) + GROWTH_BYTES
    assert handles[-1] == handles[SPAN]
    assert len(one.transports) == 1
