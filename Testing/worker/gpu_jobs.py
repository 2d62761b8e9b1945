"""The worker's real jobs where a GPU is said to be there, whose memory runs out.

``DLDR_TEST_GPU_FAILURES`` is how many runs on it fail; later ones succeed (on the CPU, as there is no GPU).
``DLDR_TEST_GPU_MODEL`` makes loading a network onto it fail, always. What is raised is what torch raises.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from DeepLargeDeformRegLib.worker import jobs

JOBS = jobs.JOBS
release = jobs.release
NAME = "Test GPU"


def load() -> dict[str, Any]:
    facts = jobs.load()
    from DeepLargeDeformRegLib.engine.registration import pipeline

    deform, warm_model, describe = pipeline.deform, pipeline.warm_model, pipeline.describe_device
    left = [int(os.environ.get("DLDR_TEST_GPU_FAILURES", "0"))]

    def deform_on(data: Any, plan: Any, spacing_mm: float, model: Any, device: torch.device, monitor: Any) -> Any:
        if device.type == "cuda" and left[0] > 0:
            left[0] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return deform(data, plan, spacing_mm, model, torch.device("cpu"), monitor)

    def load_onto(name: str, device: Any = "cpu") -> Any:
        if torch.device(device).type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return warm_model(name, device)

    pipeline.deform = deform_on
    pipeline.choose_device = lambda _: torch.device("cuda:0")
    pipeline.free_bytes = lambda _: 8 * 2**30
    pipeline.describe_device = lambda device: NAME if device.type == "cuda" else describe(device)
    if os.environ.get("DLDR_TEST_GPU_MODEL"):
        pipeline.warm_model = load_onto
    return facts
