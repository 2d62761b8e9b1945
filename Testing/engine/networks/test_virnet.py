"""Architecture facts of VIRNET (2019 and 2021) and of the pyramid U-Net that follows its multilevel scheme."""

from __future__ import annotations

import pytest
import torch
from DeepLargeDeformRegLib.engine.fields import warp_voxels
from DeepLargeDeformRegLib.engine.networks import build
from DeepLargeDeformRegLib.engine.networks.blocks import pool_average, pool_gaussian
from torch import nn

from .conftest import make, trace


@pytest.mark.parametrize(
    ("name", "norm"),
    [("mlvirnet-2019", nn.BatchNorm3d), ("virnet-2019", nn.BatchNorm3d), ("virnet", nn.InstanceNorm3d)],
)
def test_unet_of_each_level(name, norm):
    for net in build(name).nets:
        assert [blocks[-1].c.out_channels for blocks in net.enc] == [16, 32, 64]
        assert net.enc[0][0].c.in_channels == 2
        assert [(up.in_channels, up.out_channels, up.kernel_size) for up in net.up] == [
            (64, 32, (2, 2, 2)),
            (32, 16, (2, 2, 2)),
        ]
        for blocks in (*net.enc, *net.dec):
            for block in blocks:
                assert block.c.kernel_size == (3, 3, 3)
                assert isinstance(block.n, norm)
                assert isinstance(block.a, nn.ReLU)
        assert (net.head.in_channels, net.head.out_channels, net.head.kernel_size) == (16, 3, (1, 1, 1))


@pytest.mark.parametrize(
    ("name", "strides"),
    [("virnet", (4, 2, 1)), ("mlvirnet-2019", (8, 4, 2)), ("virnet-single", (1,)), ("virnet-2019", (2,))],
)
def test_levels_and_resolutions(name, strides):
    """Input sizes of the papers: 192x160x192 (2021) and 160^3 (2019)."""
    size = (160, 160, 160) if "2019" in name else (192, 160, 192)
    network = build(name)
    assert network.strides == strides
    assert network.levels == len(strides)
    traced = trace(network, size)
    for level, stride in enumerate(strides):
        assert traced.outputs[f"nets.{level}.head"] == tuple(n // stride for n in size)
        assert traced.outputs[f"nets.{level}.enc.2"] == tuple(n // stride // 4 for n in size)
    assert traced.field == size


def test_any_number_of_levels():
    for levels in (1, 2, 4, 5):
        network = build("virnet", levels=levels, filters=2)
        assert network.levels == levels
        assert network.strides[0] == 2 ** (levels - 1)


def _force(network, shifts):
    """Make level i predict the constant displacement ``shifts[i]`` in voxels of its level."""
    with torch.no_grad():
        for net, shift in zip(network.nets, shifts, strict=True):
            net.head.weight.zero_()
            net.head.bias.copy_(torch.tensor(shift))


def _level_inputs(network, fixed, moving):
    traced = []
    for net in network.nets:
        net.register_forward_hook(lambda module, inputs, output: traced.append(inputs[0]) and None)
    with torch.inference_mode():
        field = network(fixed, moving)
    return traced, field


def test_constant_fields_add_up_in_voxels_of_the_input():
    network = make("virnet")
    _force(network, ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]))
    field = network(torch.rand(1, 1, 32, 32, 32), torch.rand(1, 1, 32, 32, 32))
    expected = torch.tensor([4.0, 2.0, 1.0]).reshape(1, 3, 1, 1, 1).expand_as(field)
    torch.testing.assert_close(field, expected)


def test_2021_downsamples_the_warped_full_resolution_image():
    network = make("virnet", levels=2)
    _force(network, ([1.5, 0.0, 0.0], [0.0, 0.0, 0.0]))
    fixed, moving = torch.rand(1, 1, 16, 16, 24), torch.rand(1, 1, 16, 16, 24)
    (coarse, fine), _ = _level_inputs(network, fixed, moving)
    torch.testing.assert_close(coarse, torch.cat((pool_gaussian(moving, 2), pool_gaussian(fixed, 2)), dim=1))
    shift = torch.tensor([3.0, 0.0, 0.0]).reshape(1, 3, 1, 1, 1).expand(1, 3, 16, 16, 24)
    torch.testing.assert_close(fine, torch.cat((warp_voxels(moving, shift), fixed), dim=1))
    three = make("virnet", levels=3)
    _force(three, ([1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]))
    fixed, moving = torch.rand(1, 1, 32, 32, 32), torch.rand(1, 1, 32, 32, 32)
    (_, middle, _), _ = _level_inputs(three, fixed, moving)
    shift = torch.tensor([4.0, 0.0, 0.0]).reshape(1, 3, 1, 1, 1).expand(1, 3, 32, 32, 32)
    torch.testing.assert_close(middle[:, :1], pool_gaussian(warp_voxels(moving, shift), 2))


def test_2019_warps_the_downsampled_image():
    network = make("mlvirnet-2019", levels=2)
    _force(network, ([0.5, 0.0, 0.0], [0.0, 0.0, 0.0]))
    fixed, moving = torch.rand(1, 1, 32, 32, 32), torch.rand(1, 1, 32, 32, 32)
    (coarse, fine), _ = _level_inputs(network, fixed, moving)
    torch.testing.assert_close(coarse, torch.cat((pool_average(moving, 4), pool_average(fixed, 4)), dim=1))
    shift = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1, 1).expand(1, 3, 16, 16, 16)
    torch.testing.assert_close(fine[:, :1], warp_voxels(pool_average(moving, 2), shift))


def test_fields_are_composed_not_added():
    """Level 1 scales about the origin by 1.5, level 2 shifts by 2: composing scales the shift as well."""

    class Scale(nn.Module):
        def forward(self, images):
            field = torch.zeros(1, 3, *images.shape[2:])
            field[:, 0] = 0.5 * torch.arange(images.shape[4])
            return field

    class Shift(nn.Module):
        def forward(self, images):
            field = torch.zeros(1, 3, *images.shape[2:])
            field[:, 0] = 2.0
            return field

    network = make("virnet", levels=2)
    network.nets[0], network.nets[1] = Scale(), Shift()
    field = network(torch.rand(1, 1, 16, 16, 64), torch.rand(1, 1, 16, 16, 64))[0, 0, 8, 8]
    # The coarse voxel i lies at 2 i + 0.5: x -> x + 0.5 (x - 0.5). Composed: 2 + 0.5 (x + 2 - 0.5).
    x = torch.arange(4.0, 56.0)
    torch.testing.assert_close(field[4:56], 2 + 0.5 * (x + 1.5), atol=1e-4, rtol=1e-5)


def test_progressive_training():
    network = make("virnet", filters=4)
    fixed, moving = torch.rand(1, 1, 32, 32, 32), torch.rand(1, 1, 32, 32, 32)
    network.active_levels = 1
    assert len(network.forward_levels(fixed, moving).levels) == 1
    assert network(fixed, moving).shape == (1, 3, 32, 32, 32)
    network.active_levels = 2
    network.forward_levels(fixed, moving).displacement.sum().backward()
    assert all(p.grad is not None for p in network.parameters_of_level(1))
    assert all(p.grad is None for p in network.parameters_of_level(2))
    before = network.nets[1].state_dict()["enc.0.0.c.weight"].clone()
    network.inherit_level(1)
    for key, value in network.nets[0].state_dict().items():
        torch.testing.assert_close(network.nets[1].state_dict()[key], value, rtol=0, atol=0)
    assert not torch.equal(before, network.nets[1].state_dict()["enc.0.0.c.weight"])
    with pytest.raises(ValueError, match="no coarser one"):
        network.inherit_level(0)
    with pytest.raises(ValueError, match="between 1 and 3"):
        network.active_levels = 4
    with pytest.raises(IndexError, match="3 levels"):
        network.parameters_of_level(3)


def test_coarsest_level_starts_xavier_uniform():
    weight = make("virnet").nets[0].enc[1][0].c.weight
    bound = (6 / (27 * (weight.shape[0] + weight.shape[1]))) ** 0.5
    assert weight.abs().max() <= bound
    assert abs(float(weight.std()) - bound / 3**0.5) < 0.05 * bound


def test_pyramids_keep_cells_centered():
    """A linear ramp must come out as the ramp at the cells' centers, for both filters."""
    ramp = torch.arange(32.0).expand(1, 1, 32, 32, 32)
    for pool in (pool_average, pool_gaussian):
        coarse = pool(ramp, 2)[0, 0, 4, 4]
        torch.testing.assert_close(coarse[1:-1], torch.arange(16.0)[1:-1] * 2 + 0.5)


def test_pyramid_unet_has_the_keys_and_parameters_of_the_trial_weights(shared_data):
    from safetensors.torch import load_file

    weights = load_file(shared_data.parent / "weights" / "liver-ct-trial.safetensors")
    network = build("pyramid-unet")
    network.load_state_dict(weights, strict=True)
    assert sum(p.numel() for p in network.parameters()) == 3_773_433


def test_pyramid_unet_output_is_a_share_of_half_the_extent():
    network = make("pyramid-unet", levels=1, channels=1)
    _force(network, ([1.0, 1.0, 1.0],))
    field = network(torch.rand(1, 1, 16, 32, 48), torch.rand(1, 1, 16, 32, 48))
    expected = (0.1 * torch.tensor([24.0, 16.0, 8.0])).reshape(1, 3, 1, 1, 1).expand_as(field)
    torch.testing.assert_close(field, expected)
