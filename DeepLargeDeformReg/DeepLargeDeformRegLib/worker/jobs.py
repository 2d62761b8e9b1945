"""The kinds of jobs that the worker does, as functions of the engine.

A job takes its payload (the JSON of a job of ``engine/job.py``) and a monitor, and returns its metrics and the files
that it wrote by the name of the payload's entry. torch is imported by :func:`load`, not with this file, so that the
worker can say hello first and can say what is wrong with torch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..core.progress import Monitor
from ..core.sentences import as_json

Outcome = tuple[dict[str, Any], dict[str, str]]


def load() -> dict[str, Any]:
    """Import the engine; torch's version, the devices with their free memory, the names of the models."""
    from .. import engine  # noqa: F401 - first, as it says how torch's threads wait

    return _loaded()


def _loaded() -> dict[str, Any]:
    import torch

    from ..engine import device, job, models  # noqa: F401

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = [f"cuda:{number}" for number in range(gpus)] + ["cpu"]
    return {
        "torch": torch.__version__,
        "devices": [
            {
                "name": name,
                "description": as_json(device.describe_device(torch.device(name))),
                "free_bytes": device.free_bytes(torch.device(name)),
            }
            for name in names
        ],
        "models": [card.name for card in models.list_models()],
    }


def release() -> None:
    """Give back what stays warm between jobs: models, and the memory that torch keeps on the GPU."""
    from ..engine import device, models

    models.forget_models()
    device.give_memory_back()


def register(payload: dict[str, Any], monitor: Monitor) -> Outcome:
    """Register two scans."""
    from ..engine.job import RegistrationJob, run_job
    from ..report import write_report

    job = RegistrationJob.from_json(payload)
    return run_job(job, monitor, write_report=write_report).to_json(), written_files(payload)


def written_files(payload: dict[str, Any]) -> dict[str, str]:
    """Entries of a payload that name an output, and are there."""
    return {
        key: value
        for key, value in payload.items()
        if isinstance(value, str) and key.startswith("output") and value and Path(value).is_file()
    }


JOBS: dict[str, Callable[[dict[str, Any], Monitor], Outcome]] = {
    "register": register,
}
