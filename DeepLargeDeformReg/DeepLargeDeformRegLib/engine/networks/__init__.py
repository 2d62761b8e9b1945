"""The registration networks, by name.

>>> network = build("virnet", levels=2)
>>> displacement = network(fixed, moving)  # voxels of the input, (N, 3, D, H, W), fixed to moving

A name stands for a class and the arguments that make it one variant of a paper; further arguments override them.
``docs/networks.md`` lists all of them with their numbers of parameters.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from .base import LevelField, NetworkOutput, RegistrationNetwork
from .lapirn import LapIRN
from .ldgnet import LDGNet
from .pyramid_unet import PyramidUNet
from .semantic import SemanticNetwork
from .virnet import VirNet
from .voxelmorph import VoxelMorph

_SEMANTIC = (
    "Schumacher, Frey, Ha, Bade, Genz, Heinrich: Semantically guided 3D abdominal image registration with deep "
    "pyramid feature learning, Bildverarbeitung für die Medizin 2021"
)
_HA = "Ha, Wilms, Heinrich: Semantically guided large deformation estimation with deep networks, Sensors 20(5), 2020"
_MOK = (
    "Mok, Chung: Large deformation image registration with anatomy-aware Laplacian pyramid networks, Learn2Reg 2020, "
    "doi:10.1007/978-3-030-71827-5_7"
)
_SUN = "Sun, Du: Large deformation features guided network for medical image registration, 2023"
_VOXELMORPH = (
    "Balakrishnan, Zhao, Sabuncu, Guttag, Dalca: VoxelMorph, IEEE Transactions on Medical Imaging 38(8), 2019, "
    "doi:10.1109/TMI.2019.2897538"
)
_HERING_2019 = "Hering, van Ginneken, Heldmann: mlVIRNET, MICCAI 2019, doi:10.1007/978-3-030-32226-7_29"
_HERING_2021 = (
    "Hering, Häger, Moltz, Lessmann, Heldmann, van Ginneken: CNN-based lung CT registration with multiple anatomical "
    "constraints, Medical Image Analysis 72, 2021, doi:10.1016/j.media.2021.102139"
)
_VIRNET_2019 = {"norm": "batch", "pyramid": "average", "finest_stride": 2, "warp_resolution": "level"}


@dataclass(frozen=True)
class _Entry:
    make: Callable[..., RegistrationNetwork]
    title: str
    paper: str
    arguments: dict[str, Any] = field(default_factory=dict)


_HA2020 = {"skip": False, "decoder": False, "filters": (32, 64, 128, 128)}

_REGISTRY: dict[str, _Entry] = {
    "semantic": _Entry(SemanticNetwork, "Semantically guided, with transferred features (Ours+Skip)", _SEMANTIC),
    "semantic-no-skip": _Entry(SemanticNetwork, "Semantically guided (Ours)", _SEMANTIC, {"skip": False}),
    "ha2020": _Entry(SemanticNetwork, "Semantically guided, coarse field (Ha et al. in 3D)", _HA, _HA2020),
    "virnet": _Entry(VirNet, "VIRNET of 2021, three levels, instance norm", _HERING_2021),
    "virnet-single": _Entry(VirNet, "VIRNET of 2021, one level", _HERING_2021, {"levels": 1}),
    "mlvirnet-2019": _Entry(VirNet, "mlVIRNET of 2019, three levels, batch norm", _HERING_2019, _VIRNET_2019),
    "virnet-2019": _Entry(VirNet, "VIRNET of 2019, one level", _HERING_2019, _VIRNET_2019 | {"levels": 1}),
    "lapirn": _Entry(LapIRN, "LapIRN, displacements", _MOK),
    "lapirn-diff": _Entry(LapIRN, "LapIRN, stationary velocities", _MOK, {"diffeomorphic": True}),
    "ldgnet": _Entry(LDGNet, "LDGNet (model D): guidance and enhancement", _SUN),
    "ldgnet-b": _Entry(LDGNet, "LDGNet, model B: guidance alone", _SUN, {"ablation": "B"}),
    "ldgnet-c": _Entry(LDGNet, "LDGNet, model C: enhancement alone", _SUN, {"ablation": "C"}),
    "ldgnet-near": _Entry(LDGNet, "LDGNet with dilation rates that fit the bottleneck", _SUN, {"rates": (1, 2, 3)}),
    "voxelmorph": _Entry(VoxelMorph, "VoxelMorph, model A of LDGNet's ablations", _VOXELMORPH),
    "pyramid-unet": _Entry(PyramidUNet, "Pyramid of wide U-Nets, after VIRNET of 2021", _HERING_2021),
}


def network_names() -> tuple[str, ...]:
    """Names that :func:`build` knows."""
    return tuple(_REGISTRY)


def build(name: str, *, passes: int = 1, **arguments: Any) -> RegistrationNetwork:
    """Make a network with untrained weights.

    Args:
        name: one of :func:`network_names`.
        passes: how often it registers a pair; see :class:`RegistrationNetwork`.
        arguments: of the network's class; they override those that the name stands for. Lists may stand for tuples,
            so that arguments read from JSON fit.

    Raises:
        ValueError: for an unknown name, an unknown argument or a value that the network refuses.
    """
    entry = _entry(name)
    known = inspect.signature(entry.make).parameters
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        raise ValueError(f"network {name!r} has no argument {', '.join(unknown)}; it has {', '.join(known)}, passes")
    network = entry.make(**(entry.arguments | arguments))
    network.passes = passes
    return network


def describe(name: str, **arguments: Any) -> dict[str, Any]:
    """What ``build(name, **arguments)`` makes, as JSON-ready values, without allocating its weights.

    ``receptive_field`` is the edge length in input voxels counted analytically along the convolutions, see
    :meth:`RegistrationNetwork.receptive_field`.
    """
    entry = _entry(name)
    with torch.device("meta"):
        network = build(name, **arguments)
    defaults = {key: value.default for key, value in inspect.signature(entry.make).parameters.items()}
    complete = defaults | {"passes": 1} | entry.arguments | arguments
    return {
        "name": name,
        "title": entry.title,
        "paper": entry.paper,
        "arguments": {key: list(value) if isinstance(value, tuple) else value for key, value in complete.items()},
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "receptive_field": network.receptive_field(),
        "levels": network.levels,
        "size_multiple": network.size_multiple,
    }


def describe_all() -> list[dict[str, Any]]:
    """:func:`describe` of every name with its own arguments."""
    return [describe(name) for name in _REGISTRY]


def _entry(name: str) -> _Entry:
    if name not in _REGISTRY:
        raise ValueError(f"there is no network {name!r}; the networks are {', '.join(_REGISTRY)}")
    return _REGISTRY[name]


__all__ = [
    "LevelField",
    "NetworkOutput",
    "RegistrationNetwork",
    "build",
    "describe",
    "describe_all",
    "network_names",
]
