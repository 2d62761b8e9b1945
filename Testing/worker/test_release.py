"""What stays warm between jobs is given back."""

from __future__ import annotations

import gc
import weakref

import torch
from DeepLargeDeformRegLib.engine.models import list_models
from DeepLargeDeformRegLib.engine.models.warm import warm_model
from DeepLargeDeformRegLib.worker import jobs


def test_a_model_stays_until_it_is_released() -> None:
    name = list_models()[0].name
    first = warm_model(name, torch.device("cpu"))
    assert warm_model(name, torch.device("cpu")) is first
    network = weakref.ref(first.network)
    del first
    gc.collect()
    assert network() is not None
    jobs.release()
    assert network() is None
    assert warm_model(name, torch.device("cpu")) is not None
    jobs.release()
