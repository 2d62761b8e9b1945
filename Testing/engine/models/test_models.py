"""Model cards, their weights, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from DeepLargeDeformRegLib.core.errors import CancelledError, ModelInvalidError, ModelMissingError, OutputError
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import Label
from DeepLargeDeformRegLib.core.progress import Monitor
from DeepLargeDeformRegLib.engine.fields import warp
from DeepLargeDeformRegLib.engine.models import (
    MODELS_VARIABLE,
    Channel,
    Figure,
    ModelCard,
    find_model,
    list_models,
    load_model,
    registration,
    save_model,
)
from DeepLargeDeformRegLib.engine.models.packing import packed, unpacked
from DeepLargeDeformRegLib.engine.networks import build
from safetensors.torch import load_file, save_file

CARD = ModelCard(
    name="lobes",
    title="Lung lobes",
    network="virnet",
    arguments={"channels": 2, "levels": 2, "filters": 2, "initial_scale": 0.05},
    channels=(Channel("window", -1000, 600), Channel("zscore")),
    spacing_mm=(2.0, 1.0, 3.0),
    weights_file="lobes.safetensors",
    weights_sha256="0" * 64,
    modality="CT",
    anatomy="lung",
    purpose="Test",
    license="Apache-2.0",
    citation="none",
    outside=-1000.0,
    labels=(Label(value=1, name="left upper lobe", color=(1.0, 0.5, 0.0), terminology="SCT^123^lobe"),),
    training_data=("nothing",),
    figures=(Figure(measure="Dice", value=0.9, data="nothing", before=0.5, source="invented for this test"),),
)
GRID = ImageGrid.axis_aligned((20, 24, 18), CARD.spacing_mm)


@pytest.fixture
def saved(tmp_path):
    """A folder with the model of CARD, its card as written, and the network it came from."""
    torch.manual_seed(0)
    network = build(CARD.network, **CARD.arguments).eval()
    return tmp_path, save_model(network, CARD, tmp_path), network


def scans(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(400 * torch.randn((1, 1, *GRID.shape), generator=generator) for _ in range(2))


def edit(folder, **changes) -> None:
    """Change entries of the saved card; None removes one."""
    path = folder / "lobes.json"
    data = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in data.items() if value is not None}))


def test_card_survives_json():
    assert ModelCard.from_json(CARD.to_json()) == replace(CARD, arguments=dict(CARD.arguments))


@pytest.mark.parametrize(
    "name", ["semantic", "ha2020", "virnet", "mlvirnet-2019", "lapirn-diff", "ldgnet", "voxelmorph"]
)
def test_card_and_weights_rebuild_the_network(tmp_path, name, monkeypatch):
    """Weights to the bit; fields to rounding, as a convolution may add up in another order for another layout."""
    monkeypatch.setattr(registration, "computes_in_bfloat16", lambda _: False)  # whatever this processor has
    torch.manual_seed(0)
    network = build(name, initial_scale=0.05)
    fixed, moving = scans()
    network.train()
    network(fixed, moving)  # moves the running statistics of batch norm, which must be saved as well
    card = replace(CARD, network=name, arguments={"initial_scale": 0.05}, channels=(Channel("window", -1000, 600),))
    save_model(network, card, tmp_path)
    model = load_model("lobes", folders=[tmp_path])
    channel = card.channels[0]
    with torch.inference_mode():
        voxels = network.eval()(channel.apply(fixed), channel.apply(moving))
    spacing = torch.tensor(card.spacing_mm).reshape(1, 3, 1, 1, 1)
    state, rebuilt = network.state_dict(), model.network.state_dict()
    assert state.keys() == rebuilt.keys()
    assert all(torch.equal(value, rebuilt[key]) for key, value in state.items())
    difference = model.predict(fixed, moving, GRID).displacement - voxels * spacing
    assert voxels.abs().max() > 1e-3
    assert difference.abs().max() < 1e-4 * voxels.abs().max()
    monkeypatch.setattr(registration, "computes_in_bfloat16", lambda _: True)
    difference = model.predict(fixed, moving, GRID).displacement - voxels * spacing
    # Eight bits of each number: half a percent a layer, which adds up over the layers as errors do.
    assert 0 < difference.abs().mean() < 0.1 * voxels.abs().mean()


@pytest.mark.parametrize(("bits", "share", "error"), [(16, 0.5, 2**-11), (8, 0.25, 0.5 / 127)])
def test_weights_stored_in_fewer_bits_are_rounded_by_no_more_than_that(tmp_path, bits, share, error):
    torch.manual_seed(0)
    network = build("semantic", initial_scale=0.05)
    card = replace(CARD, network="semantic", arguments={"initial_scale": 0.05}, channels=CARD.channels[:1])
    whole = (tmp_path / save_model(network, card, tmp_path).weights_file).stat().st_size
    written = save_model(network, card, tmp_path, bits)
    assert (tmp_path / written.weights_file).stat().st_size < (share + 0.02) * whole
    rebuilt = load_model("lobes", folders=[tmp_path]).network.state_dict()
    assert rebuilt.keys() == network.state_dict().keys()
    for key, value in network.state_dict().items():
        assert rebuilt[key].dtype == value.dtype
        if value.dim() < 2:
            assert torch.equal(rebuilt[key], value)
        else:
            largest = value.flatten(1).abs().amax(dim=1).reshape(-1, *[1] * (value.dim() - 1))
            assert ((rebuilt[key] - value).abs() <= 1.001 * error * largest).all()


def test_a_filter_of_zeros_is_stored_as_one():
    state = {"kernel": torch.tensor([[0.0, 0.0], [-2.0, 1.0]]), "bias": torch.tensor([0.3])}
    restored = unpacked(packed(state, 8))
    torch.testing.assert_close(restored["kernel"], state["kernel"], atol=2 / 127, rtol=0)
    assert torch.equal(restored["kernel"][0], state["kernel"][0])
    with pytest.raises(ValueError, match="8, 16, 32 bits, not 4"):
        packed(state, 4)


def test_displacement_is_in_millimeters_and_ready_for_gradients(saved):
    folder, _, network = saved
    with torch.no_grad():
        for net, shift in zip(network.nets, ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0]), strict=True):
            net.head.weight.zero_()
            net.head.bias.copy_(torch.tensor(shift))
    save_model(network, CARD, folder)
    field = load_model("lobes", folders=[folder]).predict(*scans(), GRID)
    torch.testing.assert_close(field.displacement[0, :, 5, 5, 5], torch.tensor(CARD.spacing_mm))
    scale = torch.ones((), requires_grad=True)
    (field.displacement * scale).square().sum().backward()
    assert scale.grad > 0


def test_saving_again_replaces_the_card_and_leaves_the_old_weights_until_then(saved):
    folder, card, network = saved
    with torch.no_grad():
        network.nets[0].head.bias.add_(1)
    newer = save_model(network, CARD, folder)
    assert newer.weights_file != card.weights_file
    assert find_model("lobes", [folder]) == newer
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_saving_another_network_than_the_cards_is_refused(tmp_path):
    with pytest.raises(ModelInvalidError, match="not the one that the card 'lobes' describes"):
        save_model(build("voxelmorph", channels=2), CARD, tmp_path)
    assert not list(tmp_path.iterdir())


def test_saving_into_a_file_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not be saved"):
        save_model(build(CARD.network, **CARD.arguments), CARD, tmp_path / "file")


def test_wrong_checksum(saved):
    folder, card, _ = saved
    path = folder / card.weights_file
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelInvalidError, match="SHA-256"):
        load_model("lobes", folders=[folder])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("nets.0.head.bias"), "lack 1 of its tensors, among them nets.0.head.bias"),
        (lambda state: state.update(extra=torch.zeros(1)), "have too many 1 of its tensors, among them extra"),
        (lambda state: state.update({"nets.1.head.bias": torch.zeros(4)}), "other shapes of 1 .* nets.1.head.bias"),
    ],
    ids=["missing", "unexpected", "misshapen"],
)
def test_weights_of_another_network(saved, change, message):
    folder, card, _ = saved
    state = load_file(folder / card.weights_file)
    change(state)
    save_file(state, folder / card.weights_file)
    from DeepLargeDeformRegLib.engine.models.catalog import _sha256

    edit(folder, weights_sha256=_sha256(folder / card.weights_file))
    with pytest.raises(ModelInvalidError, match=message):
        load_model("lobes", folders=[folder])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "format 2.*Update the extension"),
        ({"format_version": "1"}, "no valid format_version"),
        ({"network": "transformer"}, "network 'transformer'.*Update"),
        ({"colour": "red"}, "unknown entries: colour"),
        ({"spacing_mm": None}, "lacks the entries: spacing_mm"),
        ({"spacing_mm": [2, 0, 2]}, "three positive numbers"),
        ({"spacing_mm": 2}, "wrong type"),
        ({"channels": []}, "no input channels"),
        ({"channels": [{"kind": "window", "low": 5, "high": 5}]}, "not a range"),
        ({"channels": [{"kind": "wavelet"}]}, "'wavelet' is unknown"),
        ({"channels": [{"kind": "zscore", "size": 3}]}, "channel has unknown entries: size"),
        ({"channels": [{"kind": "zscore"}]}, "describes 1 input channels"),
        ({"arguments": {"layers": 3}}, "no argument layers"),
        ({"arguments": {"channels": 2, "levels": 0}}, "cannot be built"),
        ({"weights_sha256": "abc"}, "64 hexadecimal digits"),
        ({"weights_file": "../lobes.safetensors"}, "beside the card"),
        ({"weights_file": "lobes.pth"}, "safetensors file"),
        ({"minimum_size": [300, 32, 32]}, "larger than its largest"),
        ({"minimum_size": [0, 32, 32]}, "positive whole numbers"),
        ({"name": "other"}, "file and name must agree"),
        ({"name": "../evil"}, "usable as a file name"),
    ],
)
def test_cards_that_are_refused(saved, changes, message):
    folder, _, _ = saved
    edit(folder, **changes)
    with pytest.raises(ModelInvalidError, match=message):
        load_model("lobes", folders=[folder])


@pytest.mark.parametrize(("text", "message"), [("{", "not valid JSON"), ("[1]", "not a JSON object")])
def test_damaged_cards(text, message):
    with pytest.raises(ModelInvalidError, match=message):
        ModelCard.from_json(text)


def test_weights_that_are_missing(saved):
    folder, card, _ = saved
    (folder / card.weights_file).unlink()
    with pytest.raises(ModelMissingError, match="install the model again"):
        load_model("lobes", folders=[folder])


def test_a_model_that_is_not_there_lists_those_that_are(saved):
    with pytest.raises(ModelMissingError, match=r"no model 'brain'.*lobes"):
        find_model("brain", [saved[0]])


def test_a_bad_card_does_not_hide_the_good_ones(saved, caplog):
    folder, card, _ = saved
    (folder / "broken.json").write_text("{")
    assert list_models([folder]) == [card]
    assert "broken is left out" in caplog.text


def test_folders_of_the_environment_come_first(saved, monkeypatch):
    folder, card, _ = saved
    monkeypatch.setenv(MODELS_VARIABLE, str(folder))
    assert card in list_models()
    assert "liver-ct" in [model.name for model in list_models()]


def test_channels():
    scan = torch.tensor([-2000.0, -1000.0, -200.0, 600.0, 3000.0]).reshape(1, 1, 1, 1, 5)
    window = Channel("window", -1000, 600).apply(scan).flatten()
    torch.testing.assert_close(window, torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0]))
    minmax = Channel("minmax").apply(scan).flatten()
    torch.testing.assert_close(minmax, (scan.flatten() + 2000) / 5000)
    score = Channel("zscore").apply(scan)
    assert abs(float(score.mean())) < 1e-6
    assert float(score.std()) == pytest.approx(1)
    ranks = torch.arange(101.0).reshape(1, 1, 1, 1, 101)
    torch.testing.assert_close(
        Channel("percentile", 10, 90).apply(ranks).flatten()[[5, 50, 95]], torch.tensor([0.0, 0.5, 1])
    )
    constant = torch.full((1, 1, 2, 2, 2), 7.0)
    for channel in (Channel("minmax"), Channel("zscore"), Channel("percentile", 1, 99)):
        assert torch.equal(channel.apply(constant), torch.zeros_like(constant))


def test_each_scan_of_a_batch_is_normalized_by_itself():
    scan = torch.rand(1, 1, 4, 4, 4)
    both = torch.cat((scan, 10 * scan + 3))
    for channel in (Channel("minmax"), Channel("zscore"), Channel("percentile", 5, 95)):
        first, second = channel.apply(both)
        torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-4)


def test_inputs_are_checked_and_not_modified(saved):
    model = load_model("lobes", folders=[saved[0]])
    fixed, moving = scans()
    copies = fixed.clone(), moving.clone()
    model.predict(fixed, moving, GRID)
    assert torch.equal(fixed, copies[0])
    assert torch.equal(moving, copies[1])
    with pytest.raises(ValueError, match="spacing"):
        model.predict(fixed, moving, ImageGrid.axis_aligned(GRID.size, (1, 1, 1)))
    with pytest.raises(ValueError, match="not \\(N, 1"):
        model.predict(fixed[..., 1:], moving, GRID)
    oblique = ImageGrid(GRID.size, GRID.spacing, direction=(0, -1, 0, 1, 0, 0, 0, 0, 1))
    with pytest.raises(ValueError, match="LPS axes"):
        model.predict(fixed, moving, oblique)


def test_cancelled_before_the_network_runs(saved):
    model = load_model("lobes", folders=[saved[0]])
    with pytest.raises(CancelledError):
        model.predict(*scans(), GRID, Monitor(should_cancel=lambda: True))


def test_cancelled_at_a_layer_of_the_network(saved):
    """A pass takes seconds on a CPU: it ends at the next layer, and leaves no hook behind."""
    model = load_model("lobes", folders=[saved[0]])
    looks = []

    def cancel():
        looks.append(1)
        return len(looks) == 4

    with pytest.raises(CancelledError):
        model.predict(*scans(), GRID, Monitor(should_cancel=cancel))
    assert len(looks) == 4
    assert not any(module._forward_pre_hooks for module in model.network.modules())


def _liver(folder, label: int):
    """The liver of a CT in the model's lattice: grid, raw intensities, mask; centered at the liver's middle."""
    image, labels = sitk.ReadImage(str(folder / "image.nii.gz")), sitk.ReadImage(str(folder / "labels.nii.gz"))
    mask = labels == label
    middle = np.argwhere(sitk.GetArrayViewFromImage(mask)).mean(axis=0)[::-1]
    center = np.array(mask.TransformContinuousIndexToPhysicalPoint(middle.tolist()))
    size = np.array((128, 96, 96))
    grid = ImageGrid.axis_aligned(size.tolist(), (3, 3, 3), (center - 1.5 * (size - 1)).tolist())
    reference = grid.to_image(np.zeros(grid.shape, np.float32))
    out = [
        sitk.Resample(source, reference, sitk.Transform(), method, fill, sitk.sitkFloat32)
        for source, method, fill in ((image, sitk.sitkLinear, -1000.0), (mask, sitk.sitkNearestNeighbor, 0.0))
    ]
    return (grid, *(torch.from_numpy(sitk.GetArrayFromImage(x))[None, None] for x in out))


def test_shipped_liver_model_aligns_two_real_livers(shared_data):
    """CHAOS case 1 and the TotalSegmentator example, livers centered: Dice 0.68 before, above 0.8 after."""
    model = load_model("liver-ct")
    grid, fixed, fixed_mask = _liver(shared_data / "abdomen-ct" / "chaos-01", 1)
    _, moving, moving_mask = _liver(shared_data / "abdomen-ct" / "totalsegmentator-example", 5)
    field = model.predict(fixed, moving, grid)
    warped = (warp(moving_mask, grid, field) > 0.5).float()

    def dice(mask: torch.Tensor) -> float:
        return float(2 * (mask * fixed_mask).sum() / (mask.sum() + fixed_mask.sum()))

    assert dice(moving_mask) < 0.7
    assert dice(warped) > 0.82


def test_shipped_cards_tell_where_the_weights_come_from():
    for card in list_models():
        assert card.license
        assert card.training_data
        assert all(figure.source for figure in card.figures)
