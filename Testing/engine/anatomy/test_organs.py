"""Organs from a network: the grid it sees, what is trusted of its answer, its card and weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from DeepLargeDeformRegLib.core.errors import ModelInvalidError, ModelMissingError
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import Label, Volume
from DeepLargeDeformRegLib.engine.anatomy.model import (
    FOLDER,
    SegmentationCard,
    SegmentationModel,
    load_segmentation,
    save_segmentation,
)
from DeepLargeDeformRegLib.engine.anatomy.organs import find_organs, looks_like_ct
from DeepLargeDeformRegLib.engine.models import Channel
from DeepLargeDeformRegLib.engine.networks.segmentation import SegmentationNetwork
from torch import Tensor

CARD = SegmentationCard(
    name="organs-of-a-test",
    title="Liver and spleen",
    filters=(4, 8),
    channels=(Channel("window", -160, 240),),
    spacing_mm=4.0,
    labels=(Label(value=1, name="liver"), Label(value=2, name="spleen")),
    weights_file="",
    weights_sha256="",
    purpose="tests",
    license="Apache-2.0",
    citation="",
)
GRID = ImageGrid.axis_aligned((64, 48, 40), (4.0, 4.0, 4.0), (10.0, -20.0, 5.0))


class _ByBrightness(torch.nn.Module):
    """Stands for a trained network: bright voxels are liver, with a logit that says how sure it is."""

    size_multiple = 8

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = torch.nn.Parameter(torch.tensor(logit))

    def forward(self, image: Tensor) -> Tensor:
        coarse = torch.nn.functional.avg_pool3d(image[:, :1], 2)
        liver = torch.where(coarse > 0.6, self.logit, -self.logit)
        return torch.cat((torch.zeros_like(liver), liver, torch.full_like(liver, -9.0)), dim=1)


def scan_with_liver(low: int = 10, high: int = 30) -> Volume:
    """Fat with a bright box of about 20 cm and a bright speck elsewhere, in air."""
    array = np.full(GRID.shape, -1000.0, np.float32)
    array[2:-2, 4:-4, 4:-4] = -100.0
    array[low:high, 10:40, 10:40] = 120.0
    array[20:22, 20:22, 52:54] = 120.0
    return Volume(array, GRID)


def model(logit: float = 4.0) -> SegmentationModel:
    """The stand-in with the card of the tests."""
    return SegmentationModel(CARD, _ByBrightness(logit))  # type: ignore[arg-type]


def test_the_largest_part_is_found_where_it_lies() -> None:
    found = find_organs(scan_with_liver(), model())
    assert found is not None
    assert found.trusted == (0,)
    assert found.confidence[0] == pytest.approx(1 / (1 + 2 * np.exp(-4.0)), abs=0.05)
    array = found.label_map(GRID).array
    truth = scan_with_liver().array > 100
    truth[:, :, 45:] = False  # the speck is no part of it
    # Cells of 8 mm against a box of 15 x 15 x 10 of them: half a cell of rim is about 0.1 of Dice.
    assert 2 * ((array == 1) & truth).sum() / ((array == 1).sum() + truth.sum()) > 0.9
    assert not array[:, :, 48:].any()


def test_an_organ_that_the_scan_cuts_may_be_smaller() -> None:
    assert find_organs(scan_with_liver(18, 22), model()) is None, "230 ml are no whole liver"
    cut = find_organs(scan_with_liver(0, 4), model())
    assert cut is not None
    assert cut.trusted == (0,)


def test_a_grid_that_no_organ_reaches_has_no_labels() -> None:
    found = find_organs(scan_with_liver(), model())
    assert found is not None
    elsewhere = ImageGrid.axis_aligned((8, 8, 8), (4.0, 4.0, 4.0), (2000.0, 0.0, 0.0))
    assert found.label_map(elsewhere).labels == ()


def test_what_is_unsure_or_too_small_is_not_trusted() -> None:
    assert find_organs(scan_with_liver(), model(0.6)) is None
    assert find_organs(scan_with_liver(18, 20), model()) is None


def test_a_scan_that_is_no_ct_has_no_organs() -> None:
    ct = scan_with_liver()
    magnetic = Volume(np.abs(ct.array) + 300.0, GRID)
    assert looks_like_ct(ct.array)
    assert not looks_like_ct(magnetic.array)
    assert find_organs(magnetic, model()) is None


def test_the_network_halves_the_resolution_and_any_multiple_fits() -> None:
    network = SegmentationNetwork(channels=2, classes=5, filters=(4, 8, 8))
    assert network.size_multiple == 8
    assert network(torch.zeros(1, 2, 16, 24, 32)).shape == (1, 5, 8, 12, 16)


def test_the_grid_surrounds_the_scan() -> None:
    tilted = ImageGrid((50, 40, 30), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0), (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1))
    grid = SegmentationModel(CARD, SegmentationNetwork(1, 3, CARD.filters)).grid_for(tilted)
    assert grid.contains(tilted.corners).all()
    assert all(n % 4 == 0 for n in grid.size)


def test_weights_and_card_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPLARGEDEFORMREG_MODELS", str(tmp_path))
    network = SegmentationNetwork(1, 3, CARD.filters)
    written = save_segmentation(network, CARD, tmp_path / FOLDER)
    loaded = load_segmentation(CARD.name)
    assert loaded.card == written
    image = scan_with_liver()
    inputs = torch.from_numpy(image.array)[None, None]
    expected = SegmentationModel(CARD, network).probabilities(inputs)
    # Half precision keeps eleven bits of each weight.
    torch.testing.assert_close(loaded.probabilities(inputs), expected, atol=0.02, rtol=0)


def test_damaged_or_missing_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPLARGEDEFORMREG_MODELS", str(tmp_path))
    written = save_segmentation(SegmentationNetwork(1, 3, CARD.filters), CARD, tmp_path / FOLDER)
    weights = tmp_path / FOLDER / written.weights_file
    weights.write_bytes(weights.read_bytes()[:-3] + b"abc")
    with pytest.raises(ModelInvalidError, match="damaged"):
        load_segmentation(CARD.name)
    weights.unlink()
    with pytest.raises(ModelMissingError):
        load_segmentation(CARD.name)
    with pytest.raises(ModelInvalidError):
        SegmentationCard.from_json(replace(CARD, kind="registration").to_json())
