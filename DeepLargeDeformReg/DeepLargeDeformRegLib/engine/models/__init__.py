"""Trained models: a JSON card beside safetensors weights rebuilds a network bit by bit."""

from .card import FORMAT_VERSION, Channel, Figure, ModelCard
from .catalog import MODELS_VARIABLE, find_model, list_models, load_model, model_folders, save_model
from .registration import RegistrationModel
from .warm import forget_models, warm_model

__all__ = [
    "FORMAT_VERSION",
    "MODELS_VARIABLE",
    "Channel",
    "Figure",
    "ModelCard",
    "RegistrationModel",
    "find_model",
    "forget_models",
    "list_models",
    "load_model",
    "model_folders",
    "save_model",
    "warm_model",
]
