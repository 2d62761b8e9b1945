"""What is found in both scans of a pair: lungs, their overlap after a map, and the doubt that they can raise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from DeepLargeDeformRegLib.core.images import Label, LabelMap, Pair, Scan, Volume
from DeepLargeDeformRegLib.core.metrics import Metrics
from DeepLargeDeformRegLib.core.presets import find_preset
from DeepLargeDeformRegLib.core.settings import RegistrationSettings
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.anatomy.find import LUNGS, find_anatomy, not_reviewed, overlaps
from DeepLargeDeformRegLib.engine.fields import DisplacementField
from DeepLargeDeformRegLib.engine.metrics.verdict import judge
from DeepLargeDeformRegLib.engine.registration.plan import plan_registration

from ._chest import GRID, chest


@pytest.fixture(scope="module")
def pair() -> Pair:
    """A chest, and the same 12 mm further along x."""
    values, _ = chest()
    moved = replace(GRID, origin=(12.0, 0.0, 0.0))
    return Pair(Scan(Volume(values, GRID)), Scan(Volume(values, moved)))


def test_lungs_of_both_scans_overlap_under_the_true_map_alone(pair: Pair) -> None:
    found = find_anatomy(pair, LUNGS)
    assert found is not None
    true = DisplacementField(torch.tensor([12.0, 0, 0]).reshape(1, 3, 1, 1, 1).expand(1, 3, *GRID.shape), GRID)
    assert overlaps(found, true)["lungs"] > 0.98
    # 12 mm of about 80 mm of width.
    assert overlaps(found, fields.identity(GRID))["lungs"] < 0.95


def test_automatic_outlines_say_that_nobody_reviewed_them(pair: Pair) -> None:
    found = find_anatomy(pair, LUNGS)
    assert found is not None
    written = not_reviewed(found.fixed, pair.fixed.grid)
    assert written.grid is pair.fixed.grid
    assert [label.name for label in written.labels] == ["lungs (automatic, not reviewed)"]


def test_a_pair_of_which_one_scan_shows_no_lungs_has_none(pair: Pair) -> None:
    empty = Volume(np.full(GRID.shape, 40.0, np.float32), GRID)
    assert find_anatomy(Pair(pair.fixed, Scan(empty)), LUNGS) is None


def test_a_model_that_is_not_installed_finds_nothing(pair: Pair) -> None:
    assert find_anatomy(pair, "no-such-model") is None


def test_the_plan_leaves_organs_to_the_user_who_outlined_them(pair: Pair) -> None:
    preset = find_preset("lung-ct")
    assert plan_registration(RegistrationSettings(), preset, pair).anatomy == LUNGS
    assert plan_registration(RegistrationSettings(organs="none"), preset, pair).anatomy is None
    outline = LabelMap(np.ones(GRID.shape, np.int16), GRID, (Label(value=1, name="lung"),))
    outlined = Pair(replace(pair.fixed, labels=outline), replace(pair.moving, labels=outline))
    assert plan_registration(RegistrationSettings(), preset, outlined).anatomy is None


def test_organs_apart_raise_a_doubt_and_organs_together_accept_nothing() -> None:
    without = judge(Metrics())
    together = judge(Metrics(found_organs={"liver": 0.95}))
    apart = judge(Metrics(found_organs={"liver": 0.4}))
    assert together.reasons == without.reasons
    assert any("liver" in reason.text and reason.severity == "look" for reason in apart.reasons)
    assert Metrics.from_json(Metrics(found_organs={"liver": 0.4}).to_json()).found_organs == {"liver": 0.4}
