"""The worker's jobs without computing, for the benchmark: torch is imported, files are read and written."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import torch
from DeepLargeDeformRegLib.core.files import read_volume, write_volume
from DeepLargeDeformRegLib.core.progress import Monitor
from DeepLargeDeformRegLib.engine.fields import identity, write_transform

FIELD_ROW = "worker makes a field (not counted)"
Outcome = tuple[dict[str, Any], dict[str, str]]


def load() -> dict[str, Any]:
    return {"torch": torch.__version__, "devices": [], "models": []}


def release() -> None:
    """Nothing stays warm."""


def nothing(payload: dict[str, Any], monitor: Monitor) -> Outcome:
    """Only the messages."""
    monitor.report("read", 0.5)
    return {}, {}


def exchange(payload: dict[str, Any], monitor: Monitor) -> Outcome:
    """Read both scans and write the moving one as if it had been warped, and a field if the payload asks for it."""
    seconds = {}
    started = time.perf_counter()
    fixed, moving = (read_volume(payload[name]) for name in ("fixed", "moving"))
    seconds["worker reads the pair"] = time.perf_counter() - started
    started = time.perf_counter()
    write_volume(moving, payload["output_volume"], compress=payload["compress"])
    seconds["worker writes the warped scan"] = time.perf_counter() - started
    if "output_transform" in payload:
        started = time.perf_counter()
        field = identity(fixed.grid)
        field = replace(field, displacement=field.displacement + 1.5)  # memory that has been written to
        # Made in place of the registration: no overhead, and taken out of the sum.
        seconds[FIELD_ROW] = time.perf_counter() - started
        started = time.perf_counter()
        write_transform(field, payload["output_transform"], compress=payload["compress"])
        seconds["worker writes the displacement field"] = time.perf_counter() - started
    return {"seconds": seconds}, {}


JOBS = {"nothing": nothing, "exchange": exchange}
