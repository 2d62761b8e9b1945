"""What every network promises: any size, batch and number of channels; the identity at the start; deployable."""

from __future__ import annotations

import json
import runpy

import pytest
import torch
from DeepLargeDeformRegLib.engine.fields import compose_voxels, warp_voxels
from DeepLargeDeformRegLib.engine.networks import (
    LevelField,
    NetworkOutput,
    build,
    describe,
    describe_all,
    network_names,
)
from DeepLargeDeformRegLib.engine.networks.table import page

from .conftest import make

PAIR = (33, 40, 36)  # not a multiple of anything that the networks use


def images(channels: int, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = (batch, channels, *PAIR)
    return torch.rand(shape, generator=generator), torch.rand(shape, generator=generator)


@pytest.mark.parametrize("name", network_names())
def test_any_size_batch_and_channels_and_identity_at_the_start(name):
    network = make(name, channels=3)
    fixed, moving = images(3, batch=2)
    with torch.inference_mode():
        field = network(fixed, moving)
        single = network(fixed[1:], moving[1:])
    assert field.shape == (2, 3, *PAIR)
    assert field.abs().max() < 0.1
    torch.testing.assert_close(field[1:], single, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "arguments", "dtype"),
    [
        *((name, {}, torch.bfloat16) for name in network_names()),
        # Half precision is slow on CPUs, hence small.
        ("virnet", {"filters": 2}, torch.float16),
        ("lapirn-diff", {"start_channel": 1, "residual_blocks": 1}, torch.float16),
    ],
)
def test_autocast_keeps_the_field_in_float32(name, arguments, dtype):
    network = make(name, channels=1, initial_scale=0.01, **arguments)
    fixed, moving = images(1)
    with torch.inference_mode():
        exact = network(fixed, moving)
        with torch.autocast("cpu", dtype=dtype):
            half = network(fixed, moving)
    assert half.dtype == torch.float32
    assert (half - exact).abs().max() < 0.1 * exact.abs().max() + 0.01


@pytest.mark.parametrize("name", network_names())
def test_export(name):
    network = make(name, channels=1, initial_scale=0.01)
    fixed, moving = images(1)
    exported = torch.export.export(network, (fixed, moving)).module()
    with torch.inference_mode():
        expected = network(fixed, moving)
        difference = exported(fixed, moving) - expected
    assert expected.abs().max() > 1e-4
    assert difference.abs().max() < 1e-3 * expected.abs().max()  # norms are taken apart: another order of sums


@pytest.mark.parametrize("name", ["semantic", "virnet", "lapirn", "ldgnet"])
def test_level_fields_lie_on_lattices_of_their_stride(name):
    network = make(name)
    fixed, moving = images(1)
    with torch.inference_mode():
        output = network.forward_levels(fixed, moving)
    for level in output.levels:
        assert level.displacement.shape[2:] == tuple(n // level.stride for n in PAIR)
    assert [level.stride for level in output.levels] == sorted((x.stride for x in output.levels), reverse=True)


@pytest.mark.parametrize("name", ["lapirn", "lapirn-diff", "semantic", "mlvirnet-2019"])
def test_passes_compose_what_each_of_them_finds(name):
    network = make(name, channels=1, initial_scale=0.3, passes=2)
    size = 3 * (2 * network.size_multiple,)  # fits as it is: the second pass sees nothing that is cut off
    generator = torch.Generator().manual_seed(2)
    fixed, moving = (torch.rand((1, 1, *size), generator=generator) for _ in range(2))
    with torch.inference_mode():
        both = network.forward_levels(fixed, moving)
        network.passes = 1
        first = network.forward_levels(fixed, moving)
        warped = warp_voxels(moving, first.displacement, padding="border")
        second = network.forward_levels(fixed, warped)
    assert (second.displacement - first.displacement).abs().max() > 1e-3
    expected = compose_voxels(first.displacement, second.displacement)
    torch.testing.assert_close(both.displacement, expected, atol=1e-4, rtol=1e-3)
    assert [level.stride for level in both.levels] == [level.stride for level in second.levels]
    if both.levels and both.levels[-1].stride == 1:
        torch.testing.assert_close(both.levels[-1].displacement, expected, atol=1e-4, rtol=1e-3)
    assert not both.velocities  # of two passes are no one velocity
    if first.moving_logits is not None:
        torch.testing.assert_close(both.moving_logits, first.moving_logits)  # of the image, not of what was warped


def test_a_further_pass_adds_its_field_where_the_first_one_leads():
    """A network that moves everything by one and a half voxels moves it by three in two passes, on each level."""
    network = make("lapirn", channels=1, start_channel=1, residual_blocks=1, passes=2)

    def shifted(fixed, moving):
        level = LevelField(torch.full((1, 3, 4, 4, 4), 0.75), 2)
        return NetworkOutput(torch.full((1, 3, 8, 8, 8), 1.5), (level,))

    network._run = shifted
    image = torch.rand(1, 1, 8, 8, 8)
    output = network.forward_levels(image, image)
    assert torch.equal(output.displacement, torch.full((1, 3, 8, 8, 8), 3.0))
    assert torch.equal(output.levels[0].displacement, torch.full((1, 3, 4, 4, 4), 1.5))


def test_images_that_do_not_fit_are_refused():
    network = make("voxelmorph")
    fixed, moving = images(1)
    with pytest.raises(ValueError, match="one shape"):
        network(fixed, moving[:, :, 1:])
    with pytest.raises(ValueError, match=r"built for 1 channel"):
        network(fixed.expand(-1, 2, -1, -1, -1), moving.expand(-1, 2, -1, -1, -1))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("voxelmorf", {}, "no network 'voxelmorf'"),
        ("virnet", {"level": 2}, "no argument level"),
        ("virnet", {"levels": 0}, "at least 1"),
        ("virnet", {"norm": "layer"}, "norm must be"),
        ("virnet", {"pyramid": "wavelet"}, "pyramid must be"),
        ("virnet", {"finest_stride": 3}, "power of two"),
        ("lapirn", {"bottleneck_stride": 3}, "power of two"),
        ("ldgnet", {"ablation": "E"}, "ablation must be"),
        ("voxelmorph", {"passes": 0}, "passes must be at least 1"),
    ],
)
def test_refusals_name_the_problem(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        build(name, **arguments)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("virnet", {"levels": 1, "norm": "none", "filters": 1}),
        ("virnet", {"levels": 2, "norm": "none", "filters": 1}),
        ("mlvirnet-2019", {"levels": 1, "norm": "none", "filters": 1}),
        ("voxelmorph", {"encoder": (1, 1, 1, 1), "decoder": (1,) * 7}),
        ("lapirn", {"levels": 2, "residual_blocks": 1, "start_channel": 1}),
    ],
)
def test_receptive_field_is_the_support_of_the_gradient(name, arguments):
    """All weights positive means, so that no path cancels: where the gradient is not zero is its support."""
    network = make(name, **arguments)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1 / parameter[0].numel() if parameter.dim() > 1 else 0.0)
    network.active_levels = 1
    expected = describe(name, **arguments)["receptive_field"]
    multiple = network.size_multiple
    fixed = torch.ones(1, 1, 2 * multiple, 2 * multiple, 2 * expected + 3 * multiple, requires_grad=True)
    line = network(fixed, fixed.detach())[0, 0, multiple, multiple]
    middle = len(line) // 2
    reach = []
    for x in range(middle, middle + multiple):  # all places within a voxel of the lowest resolution
        (gradient,) = torch.autograd.grad(line[x], fixed, retain_graph=True)
        support = gradient[0, 0].sum(dim=(0, 1)).nonzero()
        reach.append(int(support.max() - support.min()) + 1)
    assert max(reach) == expected


def test_describe_all_is_complete_and_ready_for_json():
    described = {entry["name"]: entry for entry in json.loads(json.dumps(describe_all()))}
    assert tuple(described) == network_names()
    for name, entry in described.items():
        network = build(name, **entry["arguments"])
        assert entry["parameters"] == sum(p.numel() for p in network.parameters())
        assert entry["receptive_field"] > 1
        assert entry["paper"]


def test_describe_all_takes_no_memory_for_weights():
    """On the meta device: the largest network would take seconds to fill with random numbers."""
    built = []

    def note(module, name, parameter):
        built.append("none" if parameter is None else parameter.device.type)

    with torch.nn.modules.module.register_module_parameter_registration_hook(note):
        describe_all()
    assert set(built) - {"none"} == {"meta"}


def test_page_of_networks_is_up_to_date(repository):
    assert (repository / "docs" / "networks.md").read_text(encoding="utf-8") == page()


def test_table_is_a_command(capsys):
    with pytest.warns(RuntimeWarning, match="found in sys.modules"):  # as this file imports it
        runpy.run_module("DeepLargeDeformRegLib.engine.networks.table", run_name="__main__")
    assert capsys.readouterr().out.startswith("# Networks")
