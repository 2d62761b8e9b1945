"""Models that stay in memory between the registrations of one process."""

from __future__ import annotations

import threading

import torch

from .catalog import find_model, load_model
from .registration import RegistrationModel

_loaded: dict[tuple[str, str, str], RegistrationModel] = {}
_lock = threading.Lock()


def warm_model(name: str, device: torch.device | str = "cpu") -> RegistrationModel:
    """Like :func:`.catalog.load_model`, but a model that this process has loaded before is returned at once.

    Models are kept by name, checksum of the weights and device, so a model that was installed anew is loaded anew.
    """
    card = find_model(name)
    key = (card.name, card.weights_sha256, str(torch.device(device)))
    with _lock:
        if key not in _loaded:
            _loaded[key] = load_model(card, device)
        return _loaded[key]


def forget_models() -> None:
    """Let go of all warm models; torch's caches are the caller's."""
    with _lock:
        _loaded.clear()
