"""Architecture facts of LapIRN, displacement and stationary-velocity variants."""

from __future__ import annotations

import pytest
import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine.fields import DisplacementField, exponentiate, jacobian_determinant, warp_voxels
from DeepLargeDeformRegLib.engine.networks import build
from DeepLargeDeformRegLib.engine.networks.blocks import pool_average
from DeepLargeDeformRegLib.engine.networks.lapirn import LevelNetwork, ResidualBlock
from torch import nn

from .conftest import make, trace

CUBE = (1, 1, 32, 32, 32)


def test_three_levels_each_with_five_residual_blocks_at_half():
    size = (160, 96, 128)
    network = build("lapirn")
    assert network.strides == (4, 2, 1)
    assert all(sum(isinstance(part, ResidualBlock) for part in net.modules()) == 5 for net in network.nets)
    traced = trace(network, size)
    for level, stride in enumerate((4, 2, 1)):
        assert traced.outputs[f"nets.{level}.encoder"] == tuple(n // stride for n in size)
        assert traced.outputs[f"nets.{level}.residual"] == tuple(n // stride // 2 for n in size)
        assert traced.outputs[f"nets.{level}.head"] == tuple(n // stride for n in size)
        assert traced.channels[f"nets.{level}.residual"] == 28


def test_bottleneck_of_the_text():
    traced = trace(build("lapirn", bottleneck_stride=4), (64, 64, 64))
    assert traced.outputs["nets.2.residual"] == (16, 16, 16)


def test_as_many_parameters_as_the_published_code():
    assert sum(parameter.numel() for parameter in build("lapirn").parameters()) == 923_748


def _reference_level(weights, images, embedding):
    """One level in plain functions, after the papers and the published code's structure: field share, embedding."""

    def activate(values):
        return nn.functional.leaky_relu(values, 0.2)

    def convolve(values):
        return nn.functional.conv3d(values, next(weights), padding=1)

    skip = convolve(activate(convolve(images)))
    features = nn.functional.conv3d(skip, next(weights), stride=2, padding=1)
    features = features if embedding is None else features + embedding
    for _ in range(5):
        features = activate(features + convolve(activate(convolve(activate(features)))))
    upward = nn.functional.conv_transpose3d(features, next(weights), stride=2)
    head = convolve(activate(convolve(torch.cat((upward, skip), dim=1))))
    return head / (1 + head.abs()), upward


def _reference(network, fixed, moving):
    """Displacements of all levels as shares of half the extent, -1 to 1 from border to border."""
    shares, embedding = [], None
    for number, net in enumerate(network.nets):
        shape = [n // 2 ** (2 - number) for n in fixed.shape[2:]]
        images = [nn.functional.interpolate(image, shape, mode="area") for image in (fixed, moving)]
        if shares:
            coarser = nn.functional.interpolate(shares[-1], shape, mode="trilinear", align_corners=False)
            lattice = nn.functional.affine_grid(torch.eye(3, 4)[None], [1, 1, *shape], align_corners=False)
            places = lattice + coarser.permute(0, 2, 3, 4, 1)
            images[1] = nn.functional.grid_sample(images[1], places, padding_mode="border", align_corners=False)
            images.append(coarser)
        update, embedding = _reference_level(iter(net.parameters()), torch.cat(images, dim=1), embedding)
        shares.append(0.4 * update + (coarser if number else 0))
    return shares


def test_each_level_equals_an_independent_implementation():
    network = make("lapirn", initial_scale=0.05)
    generator = torch.Generator().manual_seed(0)
    fixed, moving = torch.rand((2, 1, 1, 16, 24, 32), generator=generator)
    with torch.inference_mode():
        levels = network.forward_levels(fixed, moving).levels
        for level, share in zip(levels, _reference(network, fixed, moving), strict=True):
            half = torch.tensor([n / 2 for n in share.shape[:1:-1]]).reshape(1, 3, 1, 1, 1)
            torch.testing.assert_close(level.displacement, share * half, rtol=1e-4, atol=1e-4)
            assert share.abs().max() > 0.01


def test_skip_connection_from_encoder_to_decoder():
    network = build("lapirn", start_channel=3)
    assert [net.decoder[0].in_channels for net in network.nets] == [24, 24, 24]


def test_residual_block_is_preactivated_and_adds_its_input():
    block = ResidualBlock(4)
    features = torch.randn(1, 4, 8, 8, 8)
    with torch.no_grad():
        inner = block.second(nn.functional.leaky_relu(block.first(nn.functional.leaky_relu(features, 0.2)), 0.2))
        torch.testing.assert_close(block(features), features + inner)


def _force(network, value: float):
    """Make each level put out a constant (before softsign), different per component."""
    with torch.no_grad():
        for net in network.nets:
            net.head = nn.Conv3d(net.head.in_channels, 3, 1)
            net.head.weight.zero_()
            net.head.bias.copy_(torch.tensor([value, 0.0, 0.0]))


def _calls(network, fixed, moving):
    traced = []
    for net in network.nets:
        net.register_forward_hook(lambda module, inputs, output: traced.append((inputs, output)) and None)
    with torch.inference_mode():
        output = network.forward_levels(fixed, moving)
    return traced, output


def test_inputs_of_each_level_and_addition_of_fields():
    network = make("lapirn")
    _force(network, 0.1)
    fixed, moving = torch.rand(CUBE), torch.rand(CUBE)
    traced, output = _calls(network, fixed, moving)
    share = 0.4 * 0.1 / 1.1  # of half the extent, by every level
    (first, _), _ = traced[0]
    torch.testing.assert_close(first, torch.cat((pool_average(fixed, 4), pool_average(moving, 4)), dim=1))
    (second, _), _ = traced[1]
    assert second.shape[1] == 2 + 3
    shift = torch.zeros(1, 3, 16, 16, 16)
    shift[:, 0] = share * 8
    torch.testing.assert_close(second[:, :1], pool_average(fixed, 2))
    torch.testing.assert_close(second[:, 1:2], warp_voxels(pool_average(moving, 2), shift))
    torch.testing.assert_close(second[:, 2:], shift / 8)
    expected = torch.zeros(1, 3, 32, 32, 32)
    expected[:, 0] = 3 * share * 16
    torch.testing.assert_close(output.displacement, expected)


def test_embedding_of_the_coarser_level_is_added_before_the_residual_blocks():
    network = make("lapirn")
    entering = []
    for net in network.nets:
        net.down.register_forward_hook(lambda module, inputs, output: entering.append(output) and None)
        net.residual.register_forward_hook(lambda module, inputs, output: entering.append(inputs[0]) and None)
    traced, _ = _calls(network, torch.rand(CUBE), torch.rand(CUBE))
    embeddings = [output[1] for _, output in traced]
    assert traced[0][0][1] is None
    torch.testing.assert_close(entering[1], entering[0])
    for level in (1, 2):
        assert traced[level][0][1] is embeddings[level - 1]
        torch.testing.assert_close(entering[2 * level + 1], entering[2 * level] + embeddings[level - 1])


def test_a_level_adds_less_than_the_field_range():
    network = make("lapirn", levels=1)
    _force(network, 1e6)
    field = network(torch.rand(CUBE), torch.rand(CUBE))
    assert field.max().item() == pytest.approx(0.4 * 16, rel=1e-4)


def test_velocities_are_added_and_exponentiated_with_seven_squarings():
    network = make("lapirn-diff", initial_scale=0.05)
    with torch.inference_mode():
        output = network.forward_levels(torch.rand(CUBE), torch.rand(CUBE))
    assert network.integration_steps == 7
    grid = ImageGrid.axis_aligned((32, 32, 32), (1, 1, 1))
    expected = exponentiate(DisplacementField(output.velocities[-1].displacement, grid), steps=7)
    torch.testing.assert_close(output.displacement, expected.displacement, atol=1e-4, rtol=1e-4)
    assert output.displacement.abs().max() > 0.01
    assert len(output.velocities) == 3
    assert not make("lapirn").forward_levels(torch.rand(CUBE), torch.rand(CUBE)).velocities


def test_velocity_variant_does_not_fold_where_the_other_does():
    """One and the same smooth but steep field of 0.3 of half the extent."""
    wave = torch.linspace(0, 12.57, 32).sin().expand(1, 1, 32, 32, 32)
    grid = ImageGrid.axis_aligned((32, 32, 32), (1, 1, 1))
    determinants = {}
    for name in ("lapirn", "lapirn-diff"):
        network = make(name, levels=1)

        class Wave(nn.Module):
            def forward(self, images, embedding):
                return torch.cat((0.5 * wave, 0 * wave, 0 * wave), dim=1), images

        network.nets[0] = Wave()
        field = network(torch.rand(CUBE), torch.rand(CUBE))
        determinants[name] = float(jacobian_determinant(DisplacementField(field, grid))[..., 2:-2].min())
    assert determinants["lapirn"] < 0 < determinants["lapirn-diff"]


def test_growing():
    network = make("lapirn")
    network.active_levels = 2
    assert [level.stride for level in network.forward_levels(torch.rand(CUBE), torch.rand(CUBE)).levels] == [4, 2]
    network.inherit_level(2)
    torch.testing.assert_close(network.nets[2].encoder[0].weight, network.nets[1].encoder[0].weight)
    first = network.nets[1].encoder[0].weight.clone()
    network.inherit_level(1)  # the first layer has other inputs and keeps its own weights
    torch.testing.assert_close(network.nets[1].encoder[0].weight, first)
    torch.testing.assert_close(network.nets[1].encoder[2].weight, network.nets[0].encoder[2].weight)


def test_level_network_has_no_biases():
    assert all(part.bias is None for part in LevelNetwork(2, 8, 5, 4, 1e-5).modules() if hasattr(part, "bias"))
