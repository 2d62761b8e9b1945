"""The quick ways through layers on a processor: the same numbers as torch's own layers give, to rounding."""

from __future__ import annotations

import pytest
import torch
from DeepLargeDeformRegLib.engine.networks import quick
from DeepLargeDeformRegLib.engine.networks.blocks import ConvBlock
from DeepLargeDeformRegLib.engine.networks.segmentation import SegmentationNetwork

from .conftest import make

LAYOUT = torch.channels_last_3d


@pytest.mark.parametrize("name", ["virnet", "mlvirnet-2019", "semantic", "pyramid-unet", "voxelmorph"])
def test_a_network_has_the_same_field(name: str) -> None:
    torch.manual_seed(0)
    network = make(name, channels=1, initial_scale=0.05).train()
    fixed, moving = torch.rand(2, 1, 1, 33, 40, 36).unbind()
    network(fixed, moving)  # moves the running statistics of batch norm
    network = network.eval().to(memory_format=LAYOUT)
    expected = network(fixed, moving).detach()  # with gradients, and so by torch's own layers
    with torch.inference_mode():
        found = network(fixed, moving)
    assert expected.abs().max() > 1e-3
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


def test_a_segmentation_network_has_the_same_logits() -> None:
    torch.manual_seed(0)
    network = SegmentationNetwork(filters=(8, 16)).eval().to(memory_format=LAYOUT)
    image = torch.rand(1, 2, 24, 32, 28)
    expected = network(image).detach()
    with torch.inference_mode():
        found = network(image)
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize(("norm", "slope"), [("instance", 0.0), ("batch", 0.1), ("none", 0.2)])
def test_a_block_of_two_parts_is_that_of_their_concatenation(norm: str, slope: float) -> None:
    torch.manual_seed(0)
    block = ConvBlock(8, 16, norm, slope).to(memory_format=LAYOUT)
    first, second = (torch.randn(1, n, 17, 18, 19).contiguous(memory_format=LAYOUT) for n in (5, 3))
    block(first, second)
    block.eval()
    expected = block(first, second).detach()
    with torch.inference_mode():
        assert quick.applies((first, second), block.c)
        found = block(first, second)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_instance_norm_of_many_slabs_with_a_large_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Means 300 times the deviation, in slabs of other means: as in double precision, to four digits."""
    monkeypatch.setattr(quick, "_SLAB_BYTES", 2 * 16 * 20 * 20 * 4)
    block = ConvBlock(16, 16, "instance", 0.0).to(memory_format=LAYOUT)
    torch.nn.init.dirac_(block.c.weight)
    torch.nn.init.constant_(block.c.bias, 300.0)
    block.eval()
    features = torch.randn(1, 16, 21, 20, 20) + torch.linspace(0, 3, 21)[:, None, None]
    with torch.inference_mode():
        found = block(features.contiguous(memory_format=LAYOUT))
    exact = torch.nn.functional.instance_norm(features.double() + 300.0).relu()
    assert (found.double() - exact).abs().max() < 1e-3  # single precision holds 300 to 2e-5


def test_pooling_is_that_of_torch() -> None:
    features = torch.randn(1, 16, 9, 8, 11).contiguous(memory_format=LAYOUT)
    with torch.inference_mode():
        found = quick.pooled(features)
    torch.testing.assert_close(found, torch.nn.functional.avg_pool3d(features, 2))


def test_training_and_batches_take_the_usual_way() -> None:
    block = ConvBlock(2, 4).to(memory_format=LAYOUT)
    image = torch.rand(1, 2, 4, 4, 4)
    assert not quick.applies((image,), block.eval().c)  # gradients may be wanted
    with torch.inference_mode():
        assert quick.applies((image,), block.c)
        assert not quick.applies((image.expand(2, -1, -1, -1, -1),), block.c)
        assert not quick.applies((image,), block.train().c)
