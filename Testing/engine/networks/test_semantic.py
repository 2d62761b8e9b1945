"""Architecture facts of the semantically guided registration (methods of 2021 and its ablations)."""

from __future__ import annotations

import pytest
import torch
from DeepLargeDeformRegLib.engine.networks import build
from torch import nn

from .conftest import convolutions, make, trace

SIZES = {(304, 240, 144): "a", (192, 160, 256): "b"}
BOTTLENECK = {"a": (19, 15, 9), "b": (12, 10, 16)}
HALF = {"a": (152, 120, 72), "b": (96, 80, 128)}
COARSE = {"a": (9, 7, 4), "b": (6, 5, 8)}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["semantic", "semantic-no-skip"])
def test_resolutions_of_the_paper(name, size):
    traced = trace(build(name), size)
    for net in ("nets.0", "nets.1"):
        assert traced.outputs[f"{net}.down.2"] == BOTTLENECK[SIZES[size]]
        assert traced.outputs[f"{net}.head"] == HALF[SIZES[size]]
    assert traced.outputs["features.classify"] == HALF[SIZES[size]]
    assert traced.field == size


@pytest.mark.parametrize("size", SIZES)
def test_resolutions_of_ha2020(size):
    traced = trace(build("ha2020"), size)
    assert traced.outputs["nets.0.head"] == COARSE[SIZES[size]]
    assert traced.outputs["nets.1.head"] == COARSE[SIZES[size]]
    assert traced.field == size


def test_odd_slices_can_be_kept():
    assert trace(build("ha2020", drop_odd=False), (304, 240, 144)).outputs["nets.0.head"] == (10, 8, 5)


def _is_down(block: nn.Module, norm: type[nn.Module]) -> bool:
    c = block.c
    same = c.kernel_size == (3, 3, 3) and c.stride == (2, 2, 2) and c.padding == (1, 1, 1)
    return same and isinstance(block.n, norm) and isinstance(block.a, nn.LeakyReLU) and block.a.negative_slope == 0.1


def test_feature_network():
    features = build("semantic", classes=5).features
    assert len(features.down) == 3
    assert len(features.up) == 2
    assert all(_is_down(block, nn.InstanceNorm3d) for block in features.down)
    half, quarter, eighth = (block.c.out_channels for block in features.down)
    assert features.up[0].c.in_channels == eighth + quarter  # skip connections from encoder to decoder
    assert features.up[1].c.in_channels == quarter + half
    assert features.classify.out_channels == 5


@pytest.mark.parametrize(("name", "down", "up"), [("semantic", 3, 3), ("semantic-no-skip", 3, 3), ("ha2020", 4, 0)])
def test_registration_networks(name, down, up):
    network = build(name)
    assert len(network.nets) == 2
    for net in network.nets:
        assert len(net.down) == down
        assert len(net.up) == up
        assert all(_is_down(block, nn.BatchNorm3d) for block in net.down)
        assert net.head.out_channels == 3


def test_one_feature_network_serves_both_images():
    network = make("semantic")
    traced = []
    network.features.register_forward_hook(lambda module, inputs, output: traced.append(inputs[0]))
    fixed, moving = torch.rand(1, 1, 32, 32, 32), torch.rand(1, 1, 32, 32, 32)
    network(fixed, moving)
    assert [x.data_ptr() for x in traced] == [fixed.data_ptr(), moving.data_ptr()]


def _inputs(network: nn.Module, fixed: torch.Tensor, moving: torch.Tensor) -> list[list[torch.Tensor]]:
    """What the three encoder levels of the two registration networks get, for given images."""
    traced: list[list[torch.Tensor]] = [[], []]
    for index, net in enumerate(network.nets):
        for block in net.down:
            block.register_forward_hook(lambda module, inputs, output, i=index: traced[i].append(inputs[0]) and None)
    with torch.inference_mode():
        network(fixed, moving)
    return traced


def test_transferred_features_reach_every_encoder_level_of_both_networks():
    network, plain = build("semantic"), build("semantic-no-skip")
    for net, without in zip(network.nets, plain.nets, strict=True):
        extra = [a.c.in_channels - b.c.in_channels for a, b in zip(net.down, without.down, strict=True)]
        assert extra == [2 * 16, 2 * 32, 2 * 64]
        assert [b.c.in_channels for b in without.down] == [2 * 2, 32, 64]


def test_second_network_sees_moving_classes_and_features_warped_with_the_first_field():
    """The first field is made a shift by one half-resolution voxel along x; fixed parts must stay as they are."""
    network = make("semantic")
    with torch.no_grad():
        network.nets[0].head.weight.zero_()
        network.nets[0].head.bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    torch.manual_seed(0)
    first, second = _inputs(network, torch.rand(1, 1, 32, 32, 32), torch.rand(1, 1, 32, 32, 32))
    probabilities, warped = first[0], second[0]
    # Channels: classes of F (2) and M (2), then feature maps at 1/2 of F (16) and M (16).
    for fixed_part in (slice(0, 2), slice(4, 20)):
        torch.testing.assert_close(warped[:, fixed_part], probabilities[:, fixed_part])
    for moving_part in (slice(2, 4), slice(20, 36)):
        expected = probabilities[:, moving_part][..., 1:]
        torch.testing.assert_close(warped[:, moving_part][..., :-1], expected, atol=1e-4, rtol=1e-4)
    # At 1/4 the same shift is half a voxel: the mean of two neighbors. Own maps of the encoder come first (32).
    before, after = first[1][:, 32 + 32 :], second[1][:, 32 + 32 :]
    torch.testing.assert_close(after[..., :-1], (before[..., 1:] + before[..., :-1]) / 2, atol=1e-4, rtol=1e-4)


def test_input_of_the_first_network_are_class_probabilities():
    first, _ = _inputs(make("semantic-no-skip"), torch.rand(1, 1, 32, 32, 32), torch.rand(1, 1, 32, 32, 32))
    torch.testing.assert_close(first[0][:, :2].sum(1), torch.ones(1, 16, 16, 16))
    torch.testing.assert_close(first[0][:, 2:].sum(1), torch.ones(1, 16, 16, 16))


def test_fields_are_added():
    """Two constant fields: (1, 0, 0) and (0, 2, 0) half-resolution voxels make (2, 4, 0) voxels."""
    network = make("semantic")
    with torch.no_grad():
        for net, shift in zip(network.nets, ([1.0, 0.0, 0.0], [0.0, 2.0, 0.0]), strict=True):
            net.head.weight.zero_()
            net.head.bias.copy_(torch.tensor(shift))
        output = network.forward_levels(torch.rand(1, 1, 32, 32, 32), torch.rand(1, 1, 32, 32, 32))
    expected = torch.tensor([2.0, 4.0, 0.0]).reshape(1, 3, 1, 1, 1).expand(1, 3, 32, 32, 32)
    torch.testing.assert_close(output.displacement, expected)
    assert output.fixed_logits.shape == output.moving_logits.shape == (1, 2, 16, 16, 16)


def test_end_to_end_gradients_reach_the_feature_network():
    network = make("semantic", initial_scale=0.01)
    network(torch.rand(1, 1, 32, 32, 32), torch.rand(1, 1, 32, 32, 32)).square().mean().backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0
        for c in convolutions(network.features.down[0])
        for p in [c.weight]
    )
