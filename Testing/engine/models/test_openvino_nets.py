"""Networks by OpenVINO: the same fields; torch where it fails or is switched off."""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from DeepLargeDeformRegLib.core.progress import Monitor
from DeepLargeDeformRegLib.engine.models import openvino_nets
from DeepLargeDeformRegLib.engine.models.openvino_nets import OpenVinoNets
from DeepLargeDeformRegLib.engine.networks import RegistrationNetwork, build
from DeepLargeDeformRegLib.engine.networks.blocks import UNet


@pytest.fixture
def network() -> RegistrationNetwork:
    torch.manual_seed(0)
    return build("virnet", levels=2, filters=8, initial_scale=0.05).eval()


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    fixed, moving = torch.rand(2, 1, 1, 32, 24, 40, generator=torch.Generator().manual_seed(0)).unbind()
    return fixed, moving


def test_fields_are_those_of_torch(network, pair, monkeypatch, caplog) -> None:
    pytest.importorskip("openvino", reason="the optional extra [openvino] is not installed")
    monkeypatch.setattr(openvino_nets, "computes_in_bfloat16", lambda _: False)  # whatever this processor has
    nets = OpenVinoNets(network)
    with torch.inference_mode():
        expected = network(*pair)
        with torch.autocast("cpu", torch.bfloat16), nets.within(Monitor()):  # as a model calls it
            found = [network(*pair) for _ in range(2)]
        again = network(*pair)
    assert expected.abs().max() > 1e-3
    assert not caplog.records, caplog.text  # that torch did it
    for field in found:
        assert (field - expected).abs().max() < 1e-3 * expected.abs().max()
    assert torch.equal(again, expected)  # and torch is back


class _StandIn:
    """A compiled model and its request, as OpenVINO's, that compute by the graph that OpenVINO is given."""

    def __init__(self, net: UNet, shape: tuple[int, ...]) -> None:
        self.graph, _ = openvino_nets._traced(net, shape[1])
        self.shape, self.released = shape, 0

    def output(self, number: int) -> SimpleNamespace:
        return SimpleNamespace(shape=(1, 3, *self.shape[2:]))

    def create_infer_request(self) -> _StandIn:
        return self

    def set_input_tensor(self, values: np.ndarray) -> None:
        self.input = values

    def set_output_tensor(self, values: np.ndarray) -> None:
        self.result = values

    def infer(self) -> None:
        self.result[...] = self.graph(torch.from_numpy(self.input)).numpy()

    def release_memory(self) -> None:
        self.released += 1


def test_the_graph_that_openvino_is_given_computes_the_same_fields(network, pair, monkeypatch, caplog) -> None:
    compiled: list[_StandIn] = []

    def compile_stand_in(net: UNet, shape: tuple[int, ...]) -> _StandIn:
        compiled.append(_StandIn(net, shape))
        return compiled[-1]

    module = SimpleNamespace(Tensor=lambda values, shared_memory: values)
    monkeypatch.setitem(sys.modules, "openvino", module)
    monkeypatch.setattr(openvino_nets, "_compile", compile_stand_in)
    nets = OpenVinoNets(network)
    smaller = tuple(image[..., :16, :16, :16] for image in pair)
    with torch.inference_mode():
        for scans, compilations in ((pair, 2), (pair, 2), (smaller, 4)):
            expected = network(*scans)
            with nets.within(Monitor()):
                found = network(*scans)
            assert (found - expected).abs().max() < 1e-3 * expected.abs().max()
            assert len(compiled) == compilations  # once for each level and size
    assert not caplog.records, caplog.text  # that torch did it
    assert [one.released for one in compiled] == [2, 2, 1, 1]


def test_torch_computes_where_openvino_fails_and_one_line_says_so(network, pair, monkeypatch, caplog) -> None:
    def fail(*_):
        raise RuntimeError("no such operation")

    monkeypatch.setattr(openvino_nets, "_compile", fail)
    nets = OpenVinoNets(network)
    with torch.inference_mode(), caplog.at_level(logging.WARNING):
        expected = network(*pair)
        for _ in range(2):
            with nets.within(Monitor()):
                found = network(*pair)
            assert torch.equal(found, expected)
    assert len(caplog.records) == 1
    assert "OpenVINO cannot run this network" in caplog.text


def test_a_switch_leaves_networks_to_torch(monkeypatch) -> None:
    monkeypatch.setenv(openvino_nets.SWITCH, "0")
    assert not openvino_nets.is_available()
