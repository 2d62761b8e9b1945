"""Networks by OpenVINO: the same fields; torch where it fails or is switched off."""

from __future__ import annotations

import logging

import pytest
import torch
from DeepLargeDeformRegLib.core.progress import Monitor
from DeepLargeDeformRegLib.engine.models import openvino_nets
from DeepLargeDeformRegLib.engine.models.openvino_nets import OpenVinoNets
from DeepLargeDeformRegLib.engine.networks import RegistrationNetwork, build


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
        with nets.within(Monitor()):
            found = [network(*pair) for _ in range(2)]
        again = network(*pair)
    assert expected.abs().max() > 1e-3
    assert not caplog.records, caplog.text  # that torch did it
    for field in found:
        assert (field - expected).abs().max() < 1e-3 * expected.abs().max()
    assert torch.equal(again, expected)  # and torch is back


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
