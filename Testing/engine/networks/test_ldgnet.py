"""Architecture facts of LDGNet and of VoxelMorph, its model A."""

from __future__ import annotations

import pytest
import torch
from DeepLargeDeformRegLib.engine.networks import build
from DeepLargeDeformRegLib.engine.networks.ldgnet import Enhancement, Guidance, taps_inside
from DeepLargeDeformRegLib.engine.networks.voxelmorph import PlainSkip
from torch import nn

from .conftest import make, trace


@pytest.mark.parametrize("name", ["voxelmorph", "ldgnet"])
def test_four_convolutions_of_stride_two_to_a_sixteenth(name):
    network = build(name)
    assert [block.c.out_channels for block in network.encoder] == [16, 32, 32, 32]
    for block in network.encoder:
        assert (block.c.kernel_size, block.c.stride, block.c.padding) == ((3, 3, 3), (2, 2, 2), (1, 1, 1))
        assert isinstance(block.a, nn.LeakyReLU)
        assert block.a.negative_slope == 0.2
    traced = trace(network, (160, 192, 224))
    assert [traced.outputs[f"encoder.{i}"] for i in range(4)] == [
        (80, 96, 112),
        (40, 48, 56),
        (20, 24, 28),
        (10, 12, 14),
    ]
    assert traced.outputs["bottleneck"] == (10, 12, 14)
    assert traced.field == (160, 192, 224)


@pytest.mark.parametrize(
    ("ablation", "guided", "enhanced"), [("A", 0, False), ("B", 4, False), ("C", 0, True), ("D", 4, True)]
)
def test_ablations(ablation, guided, enhanced):
    network = build("ldgnet", ablation=ablation)
    assert sum(isinstance(skip, Guidance) for skip in network.skips) == guided
    assert sum(isinstance(skip, PlainSkip) for skip in network.skips) == 4 - guided
    assert isinstance(network.bottleneck, Enhancement) == enhanced


def test_model_a_is_voxelmorph():
    baseline, model = make("voxelmorph"), make("ldgnet", ablation="A")
    model.load_state_dict(baseline.state_dict(), strict=True)
    pair = torch.rand(1, 1, 32, 32, 32), torch.rand(1, 1, 32, 32, 32)
    torch.testing.assert_close(model(*pair), baseline(*pair), rtol=0, atol=0)


def test_guidance_of_the_images_can_be_left_out():
    assert isinstance(build("ldgnet", guide_images=False).skips[3], PlainSkip)


@pytest.mark.parametrize(
    ("rate", "shape", "taps"),
    [(6, (10, 12, 14), 27), (12, (10, 12, 14), 3), (18, (10, 12, 14), 1), (6, (3, 4, 3), 1), (3, (10, 12, 14), 27)],
)
def test_taps_that_ever_read_a_voxel(rate, shape, taps):
    """Counted, and by the gradient: a tap that reads padding alone has none."""
    convolution = nn.Conv3d(1, 1, 3, padding=rate, dilation=rate)
    convolution(torch.rand((1, 1, *shape)) + 1).sum().backward()
    assert convolution.weight.grad is not None
    assert int((convolution.weight.grad != 0).sum()) == taps == taps_inside(rate, shape)


def test_the_near_variant_reads_all_of_its_bottleneck():
    assert [conv.dilation[0] for conv in build("ldgnet-near").bottleneck.dilated] == [1, 2, 3]


def test_enhancement():
    enhancement = build("ldgnet").bottleneck
    rates = [(c.kernel_size, c.dilation, c.in_channels, c.out_channels) for c in enhancement.dilated]
    assert rates == [((3, 3, 3), (r, r, r), 32, 32) for r in (6, 12, 18)]
    fuse = enhancement.fuse
    assert (fuse.in_channels, fuse.out_channels, fuse.kernel_size) == (96, 32, (1, 1, 1))
    features = torch.rand(1, 32, 10, 12, 14)
    assert enhancement(features).shape == features.shape


def test_dilated_convolutions_reach_as_far_as_their_rates():
    enhancement = Enhancement(1, (6, 12, 18), 0.2).double()
    with torch.no_grad():
        for parameter in enhancement.parameters():
            parameter.fill_(1.0)
    features = torch.zeros(1, 1, 41, 41, 41, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(enhancement(features + 1)[0, 0, 20, 20, 20], features)
    assert gradient[0, 0, 20, 20].nonzero().flatten().tolist() == [2, 8, 14, 20, 26, 32, 38]


def test_attention_shapes_and_definitions():
    guidance = Guidance(encoded=6, decoded=4)
    encoded, decoded = torch.randn(2, 6, 5, 7, 9), torch.randn(2, 4, 5, 7, 9)
    assert (guidance.fuse.in_channels, guidance.fuse.out_channels, guidance.fuse.kernel_size) == (10, 6, (1, 1, 1))
    assert (guidance.squeeze.in_channels, guidance.squeeze.out_channels) == (2, 1)
    with torch.no_grad():
        channel = guidance.channel_attention(encoded, decoded)
        fused = guidance.fuse(torch.cat((encoded, decoded), dim=1)).flatten(2)
        torch.testing.assert_close(channel.flatten(1), torch.sigmoid(fused.mean(2) + fused.amax(2)))
        assert channel.shape == (2, 6, 1, 1, 1)
        enhanced = encoded * channel
        spatial = guidance.spatial_attention(enhanced)
        assert spatial.shape == (2, 1, 5, 7, 9)
        weight, bias = guidance.squeeze.weight.flatten(), guidance.squeeze.bias
        expected = torch.sigmoid(weight[0] * enhanced.mean(1) + weight[1] * enhanced.amax(1) + bias)
        torch.testing.assert_close(spatial[:, 0], expected)
        torch.testing.assert_close(guidance(encoded, decoded), enhanced * spatial)


def test_guidance_sees_the_encoder_and_the_upsampled_decoder_map():
    network = make("ldgnet")
    shapes = []
    for skip in network.skips:
        skip.register_forward_hook(
            lambda module, inputs, output: shapes.append([tuple(x.shape[1:3]) for x in inputs]) and None
        )
    network(torch.rand(1, 1, 32, 32, 32), torch.rand(1, 1, 32, 32, 32))
    assert shapes == [[(32, 4), (32, 4)], [(32, 8), (32, 8)], [(16, 16), (32, 16)], [(2, 32), (32, 32)]]
