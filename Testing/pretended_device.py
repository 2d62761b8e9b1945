"""A GPU that is none: tensors that say that they are on another device and hold their numbers on the processor.

An operation on tensors of two devices fails, as on a real GPU, and what makes the processor wait for the device is
counted: a GPU idles meanwhile. Needs torch 2.9; to be used in a process of its own, since torch keeps the device.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "pretended"


class _Module:
    """What torch asks a kind of device for."""

    is_available = staticmethod(lambda: True)
    is_initialized = staticmethod(lambda: True)
    device_count = staticmethod(lambda: 1)
    current_device = staticmethod(lambda: 0)
    synchronize = staticmethod(lambda *device: None)
    get_amp_supported_dtype = staticmethod(lambda: [torch.float16, torch.bfloat16])


_setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
DEVICE, CPU = torch.device(NAME, 0), torch.device("cpu")
aten = torch.ops.aten
# The indices of an indexing may be on the processor; these copy from one device to another.
_MIXING = (aten.copy_.default, aten._to_copy.default)
_INDEXING = (aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default)


class OnDevice(torch.Tensor):
    """Numbers of the processor under the name of the device."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> OnDevice:
        return torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )

    def __init__(self, held: torch.Tensor) -> None:
        self.held = held

    def __repr__(self) -> str:
        return f"OnDevice({self.held!r})"

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {}, Counter())


class Pretended(TorchDispatchMode):
    """Sees every operation.

    ``waits`` counts those for which the processor waits for the device, ``sent`` copies to the device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.operations = self.sent = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += 1
        result = run(func, args, kwargs or {}, self.waits)
        if func._schema.name in ("aten::_to_copy", "aten::to", "aten::copy_") and isinstance(result, OnDevice):
            self.sent += any(isinstance(one, torch.Tensor) and not isinstance(one, OnDevice) for one in args)
        return result


def run(func: Any, args: Any, kwargs: dict[str, Any], waits: Counter[str]) -> Any:
    """One operation, on the processor, with the checks of a device."""
    flat = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, torch.Tensor)]
    there = [value for value in flat if isinstance(value, OnDevice)]
    here = [value for value in flat if not isinstance(value, OnDevice)]
    # Inference mode hands over composite operations as they are, some of which take the device by its place.
    places = [value for value in args if isinstance(value, torch.device)]
    wanted = places[0] if places else kwargs.get("device")
    target = DEVICE if there and wanted is None else torch.device(wanted) if wanted is not None else CPU
    if there and any(value.dim() for value in here) and func not in (*_MIXING, *_INDEXING):
        shapes = [tuple(value.shape) for value in here]
        raise RuntimeError(f"Expected all tensors to be on the same device: {func} with {shapes} on the processor")
    if func in _INDEXING and not isinstance(args[0], OnDevice) and there:
        raise RuntimeError(f"{func}: indices on the device for a tensor on the processor")
    generator = kwargs.get("generator")
    if generator is not None and (generator._cdata in ON_DEVICE) != (target.type == NAME):
        raise RuntimeError(f"{func}: a generator of another device than {target}")
    _count(func, args, kwargs, there, here, target, waits)
    if kwargs.get("device") is not None:
        kwargs = {**kwargs, "device": CPU}
    args = tuple(CPU if isinstance(value, torch.device) else value for value in args)
    if kwargs.get("pin_memory"):
        kwargs = {**kwargs, "pin_memory": False}
    held_args, held_kwargs = tree_map_only(OnDevice, lambda value: value.held, (args, kwargs))
    result = func(*held_args, **held_kwargs)
    if func._schema.name.endswith("_") and args and isinstance(args[0], torch.Tensor):
        return args[0]
    if "out" in kwargs and isinstance(kwargs["out"], torch.Tensor):
        return kwargs["out"]
    if target.type != NAME:
        return result
    return tree_map(lambda value: OnDevice(value) if isinstance(value, torch.Tensor) else value, result)


def _count(
    func: Any, args: Any, kwargs: Any, there: Any, here: Any, target: torch.device, waits: Counter[str]
) -> None:
    name = func._schema.name.removeprefix("aten::")
    # Inference mode hands over ``item`` and ``to`` as they are, other modes what they are made of.
    if there and name in (
        "item",
        "_local_scalar_dense",
        "nonzero",
        "is_nonzero",
        "equal",
        "masked_select",
        "bincount",
    ):
        waits[name] += 1
    elif (
        there
        and func is aten.index.Tensor
        and any(v is not None and v.dtype in (torch.bool, torch.uint8) for v in args[1])
    ):
        waits["index by mask"] += 1
    elif name in ("_to_copy", "to") and (bool(there) != (target.type == NAME)):
        if kwargs.get("non_blocking") or (func is aten.to.device and len(args) > 3 and args[3]):
            return
        waits["copy to device" if here else "copy from device"] += 1
    elif name == "copy_" and there and here and not (len(args) > 2 and args[2]):
        waits["copy"] += 1


ON_DEVICE: set[int] = set()


class DeviceGenerator(torch.Generator):
    """A generator that may be asked for on the device; a torch operation knows it by its address alone."""

    def __new__(cls, device: Any = "cpu") -> DeviceGenerator:
        made = super().__new__(cls, "cpu")
        (ON_DEVICE.add if torch.device(device).type == NAME else ON_DEVICE.discard)(made._cdata)
        return made


@contextlib.contextmanager
def pretended_device() -> Iterator[Pretended]:
    """Within this, ``cuda`` is a device."""
    made = torch.tensor

    def tensor(values: Any, *, device: Any = None, **options: Any) -> torch.Tensor:
        return made(values, **options) if device is None else made(values, **options).to(device)

    def new_tensor(self: torch.Tensor, values: Any, **options: Any) -> torch.Tensor:
        return made(values, dtype=options.get("dtype", self.dtype)).to(options.get("device", self.device))

    def tolist(self: torch.Tensor) -> Any:
        mode.waits["tolist"] += isinstance(self, OnDevice)
        return listed(self.held if isinstance(self, OnDevice) else self)

    listed = torch.Tensor.tolist
    with (
        mock.patch("torch.Tensor.tolist", tolist),
        mock.patch("torch.Generator", DeviceGenerator),
        mock.patch("torch.tensor", tensor),
        mock.patch("torch.Tensor.new_tensor", new_tensor),
        Pretended() as mode,
    ):
        yield mode
