"""A loaded model: raw intensities in, a displacement field in millimeters out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from ...core.geometry import ImageGrid
from ...core.progress import Monitor
from .. import cuda_graphs
from ..device import computes_in_bfloat16, constant, to_device
from ..fields import DisplacementField
from ..networks import RegistrationNetwork
from .card import ModelCard
from .openvino_nets import OpenVinoNets, is_available

_SPACING_TOLERANCE = 0.02  # as a share; grids are made to measure, so anything more is a mistake


class RegistrationModel:
    """A network with its card, ready to run.

    Convolutions compute in bfloat16 where the device does so in hardware, in float32 elsewhere; warps are float32 in
    any case. On a processor the channels of a voxel lie together, as its convolutions want them; where OpenVINO is
    installed, it runs the U-Nets.
    """

    def __init__(self, card: ModelCard, network: RegistrationNetwork) -> None:
        self.card = card
        self.network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self._openvino = OpenVinoNets(network) if self.device.type == "cpu" and is_available() else None
        self._graphed = cuda_graphs.Graphed(self._pass) if cuda_graphs.is_wanted(self.device) else None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    def preprocess(self, image: Tensor) -> Tensor:
        """Raw intensities ``(N, 1, D, H, W)`` -> the network's input ``(N, C, D, H, W)``, float32."""
        return torch.cat([channel.apply(image) for channel in self.card.channels], dim=1)

    def predict(
        self, fixed: Tensor, moving: Tensor, grid: ImageGrid, monitor: Monitor | None = None
    ) -> DisplacementField:
        """Register two scans that lie on one grid.

        Args:
            fixed: raw intensities ``(N, 1, D, H, W)`` on ``grid``.
            moving: raw intensities, resampled onto the same grid.
            grid: axis-aligned LPS grid with the card's spacing.
            monitor: progress and cancellation; asked before each layer of the network.

        Returns:
            Displacements in mm from fixed to moving points, on ``grid``, on the model's device. They are ordinary
            tensors, ready for gradients.

        Raises:
            ValueError: if the grid is not axis-aligned, has another spacing, or does not fit the tensors.
        """
        self._check(fixed, moving, grid)
        monitor = monitor or Monitor()
        monitor.report("network", 0.0, self.card.title)
        with torch.inference_mode():
            inputs = [self.preprocess(to_device(image, self.device)) for image in (fixed, moving)]
            voxels = self._voxels(inputs[0], inputs[1], monitor)
        # A copy made outside of inference mode may take part in autograd, as refinement needs.
        spacing = constant(grid.spacing, voxels).reshape(1, 3, 1, 1, 1)
        displacement = voxels.clone() * spacing
        monitor.report("network", 1.0, self.card.title)
        return DisplacementField(displacement, grid)

    def _voxels(self, fixed: Tensor, moving: Tensor, monitor: Monitor) -> Tensor:
        if self._graphed is not None:
            # What the processor asks at each layer is not part of a graph.
            monitor.check()
            return self._graphed(fixed, moving)
        openvino = nullcontext() if self._openvino is None else self._openvino.within(monitor)
        with _asking(self.network, monitor), openvino:
            return self._pass(fixed, moving)

    def _pass(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """The network's displacement in voxels, float32."""
        with self._autocast():
            return self.network(fixed, moving).float()

    def _autocast(self) -> AbstractContextManager:
        device = self.device.type
        if not computes_in_bfloat16(device):
            return nullcontext()
        # A graph must not rest on copies of weights that are gone after it.
        return torch.autocast(device, dtype=torch.bfloat16, cache_enabled=self._graphed is None)

    def _check(self, fixed: Tensor, moving: Tensor, grid: ImageGrid) -> None:
        if not grid.is_axis_aligned:
            raise ValueError("the grid's axes are not the LPS axes; resample the scans first")
        for have, want in zip(grid.spacing, self.card.spacing_mm, strict=True):
            if abs(have - want) > _SPACING_TOLERANCE * want:
                raise ValueError(f"the grid has spacing {grid.spacing} mm, the model needs {self.card.spacing_mm}")
        for image in (fixed, moving):
            if image.dim() != 5 or image.shape[1] != 1 or tuple(image.shape[2:]) != grid.shape:
                raise ValueError(f"image of shape {tuple(image.shape)} is not (N, 1, {grid.shape})")


@contextmanager
def _asking(network: nn.Module, monitor: Monitor) -> Iterator[None]:
    """Within the block the network can be cancelled at each of its layers: one pass takes seconds on a CPU."""
    hooks = [
        module.register_forward_pre_hook(lambda *_: monitor.check())
        for module in network.modules()
        if not any(True for _ in module.children())
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
