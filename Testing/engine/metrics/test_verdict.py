"""Deliberately bad registrations of real scans get the right verdict and reason; good ones are not refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.measures import (
    Change,
    DeformationMetrics,
    ErrorSummary,
    JacobianStatistics,
    LandmarkError,
    LandmarkMetrics,
    SimilarityMetrics,
    Spread,
    StructureMetrics,
)
from DeepLargeDeformRegLib.core.metrics import Metrics, Verdict
from DeepLargeDeformRegLib.engine import fields, metrics
from DeepLargeDeformRegLib.engine.fields import DisplacementField
from DeepLargeDeformRegLib.engine.metrics import SITE_TABLE, judge, load_limits
from DeepLargeDeformRegLib.engine.registration.pipeline import RegistrationResult, register

from training.evaluation.calibration import wrong

from .conftest import Pair, input_of


def good(field: DisplacementField, moving: ImageGrid) -> DisplacementField:
    return field


SHIFTED = wrong.shifted(10.0, 1)
# what is done to the good registration, verdict with landmarks and lung masks, without, and words of the reasons
CASES = [
    (good, "accept", "look", "The landmarks are", "No independent evidence"),
    (wrong.slightly_folded, "look", "look", "in 1 region", "in 1 region"),
    (wrong.distorted, "look", "look", "neighborhoods agree best", "neighborhoods agree best"),
    (SHIFTED, "reject", "reject", "neighborhoods agree best", "neighborhoods agree best"),
    (wrong.identity, "reject", "reject", "The landmarks are 34.8 mm apart", "the scans are alike to 0.1"),
    (wrong.swapped, "reject", "reject", "farther apart than as loaded", "less alike than as loaded"),
    (wrong.mirrored, "reject", "reject", "The map folds at 100.000 %", "The map folds at 100.000 %"),
    (wrong.upside_down, "reject", "reject", "The map folds at 100.000 %", "The map folds at 100.000 %"),
    (wrong.crumpled, "reject", "reject", "The map folds at", "The map folds at"),
]


@pytest.mark.parametrize("known", [True, False], ids=["with truth", "scans alone"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0].__name__)
def test_lung_pair(lungs: Pair, lung_field: DisplacementField, case: Any, known: bool) -> None:
    make, with_truth, alone, reason, reason_alone = case
    pair = lungs.scans() if known else lungs.bare()
    inputs = input_of(make(lung_field, lungs.moving.grid), pair, guided_by_labels=known)
    verdict = metrics.measure(inputs).metrics.verdict
    assert verdict.level == (with_truth if known else alone), verdict
    reasons = [entry for entry in verdict.reasons if (reason if known else reason_alone) in entry.text]
    assert reasons, verdict.reasons
    if verdict.level == "reject":
        assert verdict.reasons[0].severity == "reject"
        assert reasons[0].severity == "reject", "the reason must be the one that refuses"


# A pair, its preset, and what the verdict must be on its registration and on wrong maps made of it; the outlines and
# landmarks did not guide. The MR of the liver tells a wrong map by its landmarks, the hippocampus by its outlines.
OTHER_PAIRS = [
    ("hippocampi", "mr-hippocampus", wrong.identity, "look", "Dice"),
    ("hippocampi", "mr-hippocampus", SHIFTED, "reject", "Dice"),
    ("hippocampi", "mr-hippocampus", wrong.crumpled, "reject", "folds"),
    ("breathing_liver", "any", good, "accept", "The landmarks are"),
    ("breathing_liver", "any", wrong.identity, "reject", "The landmarks are"),
    ("breathing_liver", "any", SHIFTED, "reject", "neighborhoods agree best"),
    ("breathing_liver", "any", wrong.mirrored, "reject", "folds"),
]


@pytest.mark.parametrize("case", OTHER_PAIRS, ids=lambda case: f"{case[0]} {case[2].__name__}")
def test_other_pairs(case: Any, request: pytest.FixtureRequest, registered: Registered) -> None:
    name, preset, make, level, reason = case
    pair = request.getfixturevalue(name)
    field = make(registered(name, pair, preset), pair.moving.grid)
    inputs = input_of(field, pair.scans())
    verdict = metrics.measure(inputs).metrics.verdict
    assert verdict.level == level, verdict
    _has_reason(verdict, reason)


def test_good_hippocampi_are_to_be_looked_at_for_their_squeezing_alone(
    hippocampi: Pair, registered: Registered
) -> None:
    """The network's map, not refined, squeezes and stretches 1 % of the structures up to twice as far as allowed."""
    field = registered("hippocampi", hippocampi, "mr-hippocampus")
    verdict = metrics.measure(input_of(field, hippocampi.scans())).metrics.verdict
    reasons = verdict.reasons
    squeezed = [reason for reason in reasons if "of the voxels in the structures" in reason.text]
    assert all(reason.severity == "accept" for reason in reasons if reason not in squeezed), reasons
    assert all(0.4 < reason.value / reason.limit < 2.0 for reason in squeezed), [(r.value, r.limit) for r in squeezed]
    assert verdict.level == "look"
    assert squeezed
    assert any("Dice" in reason.text for reason in reasons)
    _has_reason(verdict, "Dice")


Registered = Callable[[str, Pair, str], DisplacementField]


@pytest.fixture(scope="module")
def registered() -> Registered:
    """Registers a pair with its preset, once, without guides."""
    known: dict[str, DisplacementField] = {}

    def get(name: str, pair: Pair, preset: str) -> DisplacementField:
        if name not in known:
            known[name] = register(pair.request(with_labels=False, preset=preset, model=None)).field
        return known[name]

    return get


def test_another_contrast_is_no_reason_to_refuse(lungs: Pair, lung_field: DisplacementField) -> None:
    """The moving scan as another modality might show it: air and bone dark, fat bright, with noise."""
    shown = np.interp(lungs.moving.array, [-1000, -850, -700, -100, 50, 200, 600], [0, 60, 30, 300, 180, 60, 0])
    noise = np.random.default_rng(0).normal(0, 8, shown.shape)
    moving = replace(lungs.moving, array=(shown + noise).astype(np.float32))
    for make, level in ((good, "look"), (SHIFTED, "reject")):
        inputs = input_of(make(lung_field, moving.grid), replace(lungs, moving=moving).bare())
        verdict = metrics.measure(inputs).metrics.verdict
        assert verdict.level == level, verdict


def test_the_pipeline_accepts_the_lung_pair(registered_lungs: RegistrationResult) -> None:
    verdict = registered_lungs.metrics.verdict
    assert verdict.level == "accept", verdict
    assert any("guided" in entry.text for entry in verdict.reasons), "the masks guided, which must be said"
    json.dumps(registered_lungs.metrics.to_json(), allow_nan=False)


def test_a_wrong_patient_is_not_accepted(lungs: Pair, abdomens: Pair) -> None:
    """A lung onto a trunk: however alike the optimizer makes them, nothing independent speaks for it."""
    strangers = replace(lungs, moving=abdomens.moving, moving_labels=abdomens.moving_labels, landmarks=None)
    result = register(strangers.request(with_labels=False, preset="any"))
    assert result.metrics.verdict.level != "accept"
    _has_reason(result.metrics.verdict, "No independent evidence")
    # Once somebody outlines what should correspond (here the lung, and what lies in its place), it is refused.
    outlined = replace(
        strangers,
        fixed_labels=replace(lungs.fixed_labels, labels=(replace(lungs.fixed_labels.labels[0], name="organ"),)),
        moving_labels=replace(
            abdomens.moving_labels, labels=(replace(abdomens.moving_labels.labels[0], name="organ"),)
        ),
    )
    judged = metrics.measure(input_of(result.field, outlined.scans()))
    assert judged.metrics.verdict.level == "reject"
    _has_reason(judged.metrics.verdict, "organ: Dice")


def test_two_patients_abdomens(abdomens: Pair) -> None:
    """The outlines of the liver did not guide; the dome of one is cut off, which is to be looked at."""
    result = register(abdomens.request(with_labels=False, preset="liver-ct", model=None))
    inputs = input_of(result.field, abdomens.scans())
    found = metrics.measure(inputs).metrics
    assert found.structures["liver"].dice.gain > 0.4
    assert found.verdict.level in ("accept", "look"), found.verdict
    upside_down = np.diag([1.0, 1.0, -1.0, 1.0])
    upside_down[2, 3] = 2 * abdomens.fixed.grid.center[2]
    wrong = input_of(fields.from_affine(upside_down, abdomens.fixed.grid), abdomens.scans())
    assert metrics.measure(wrong).metrics.verdict.level == "reject"


def test_the_gravest_reason_comes_first_and_every_number_is_there() -> None:
    verdict = judge(_numbers(fold_percent=2.0, before=0.7, after=0.75))
    assert [entry.severity for entry in verdict.reasons] == ["reject", "look", "accept"]
    assert verdict.reasons[0].value == 2.0
    assert verdict.reasons[0].limit == 1.0
    assert verdict.level == "reject"
    assert verdict.limits == load_limits().name


def test_a_thin_structure_is_judged_by_its_surface_too() -> None:
    """Dice of a vessel is low where its walls are a millimeter apart; that of a liver is not."""
    numbers = _numbers(before=0.1, after=0.4)
    assert judge(numbers).level == "look"
    numbers = _numbers(before=0.1, after=0.4, apart=6.0)
    assert judge(numbers).level == "reject"


@pytest.mark.parametrize(("far", "level"), [(18.0, "look"), (5.0, "accept")])
def test_few_landmarks_far_off_are_to_be_looked_at(far: float, level: str) -> None:
    each = LandmarkError(name="", before=20.0, after=1.0, point_lps=(0.0, 0.0, 0.0))
    after = ErrorSummary(mean=2.5, p95=far)
    landmarks = LandmarkMetrics(before=ErrorSummary(mean=20.0), after=after, landmarks=(each,) * 30)
    verdict = judge(replace(_numbers(), landmarks=landmarks))
    assert verdict.level == level
    if level == "look":
        _has_reason(verdict, "One landmark in twenty is off by 18.0 mm")


@pytest.mark.parametrize(
    ("before", "moved", "level"), [(0.99, 0.1, "look"), (0.99, 4.0, "reject"), (0.6, 0.1, "reject")]
)
def test_the_same_scan_twice_is_no_refusal(before: float, moved: float, level: str) -> None:
    """Mutual information falls by interpolation alone; where the scans differ or the map moves, it tells of more."""
    similarity = SimilarityMetrics(
        local_ncc=Change(before=before, after=before),
        mutual_information=Change(before=3.09, after=2.96),
        in_place_percent=100.0,
    )
    numbers = replace(_numbers(), structures={}, similarity=similarity)
    moves = replace(numbers.deformation, displacement_mm=Spread(mean=moved / 5, p95=moved / 2, max=moved))
    verdict = judge(replace(numbers, deformation=moves))
    assert verdict.level == level, verdict
    _has_reason(verdict, "nearly the same as loaded" if level == "look" else "less alike than as loaded")


def test_a_scan_registered_to_itself_is_not_refused(hippocampi: Pair) -> None:
    """The first thing that many try: both scans are one, and the pipeline finds the identity within its blur."""
    twice = replace(hippocampi, moving=hippocampi.fixed, landmarks=None)
    result = register(twice.request(with_labels=False, preset="mr-hippocampus"))
    assert result.metrics.deformation.displacement_mm.max < 0.5
    assert result.metrics.verdict.level == "look", result.metrics.verdict
    _has_reason(result.metrics.verdict, "nearly the same as loaded")


def test_outlines_that_guided_are_no_independent_evidence() -> None:
    numbers = _numbers(before=0.3, after=0.95)
    assert judge(numbers).level == "accept"
    guided = judge(numbers, guided_by_labels=True)
    assert guided.level == "look"
    _has_reason(guided, "the outlines guided the registration")


def test_every_limit_names_its_source() -> None:
    for key, limit in load_limits().table.items():
        assert len(limit.source) > 20, key
        assert limit.severity(limit.accept) == "accept"
        if limit.reject is not None:
            worse = limit.reject + (1.0 if limit.lower_is_better else -1.0)
            assert limit.severity(worse) == "reject"
            assert limit.severity(limit.reject) == ("accept" if limit.accept == limit.reject else "look")
        assert limit.severity(float("nan")) != "accept"


def test_a_site_overrides_what_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "site.json"
    table.write_text(json.dumps({"name": "Our hospital", "limits": {"dice": {"accept": 0.9, "source": "our audit"}}}))
    monkeypatch.setenv(SITE_TABLE, str(table))
    verdict = judge(_numbers(before=0.3, after=0.85))
    assert verdict.level == "look"
    assert verdict.limits.startswith("Our hospital")
    assert load_limits()["dice"].reject == 0.5


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"limits": {}}',
        '{"name": "x", "limits": {"dise": {"accept": 0.9}}}',
        '{"name": "x", "limits": {"dice": {"accept": "high"}}}',
        '{"name": "x", "limits": {"dice": {"accept": 0.4}}}',
        '{"name": "x", "limits": {"dice": {"better": "more"}}}',
        '{"name": "x", "limits": {"dice": {"typo": 1}}}',
        '{"name": "x", "limits": {"dice": 0.9}}',
        '{"name": "x", "limits": {"dice": {"accept": 1' + "0" * 400 + "}}}",
        '{"name": "x", "limits": {"dice": {"reject": -1' + "0" * 400 + "}}}",
        '{"name": "x", "limits": {"dice": {"accept": ' + "9" * 100000 + "}}}",
        '{"name": "x", "limits": {"dice": {"accept": 1e400}}}',
        '{"name": "x", "limits": {"dice": {"accept": NaN}}}',
        '{"name": "x", "limits": ' + "[" * 100000 + "]" * 100000 + "}",
    ],
    ids=lambda content: content[:60],
)
def test_a_site_table_with_a_mistake_is_refused(tmp_path: Path, content: str) -> None:
    table = tmp_path / "site.json"
    table.write_text(content)
    with pytest.raises(BadInputError):
        load_limits(table)


def _numbers(fold_percent: float = 0.0, before: float = 0.5, after: float = 0.9, apart: float = 2.0) -> Metrics:
    jacobian = JacobianStatistics(min=0.5, max=2.0, p1=0.6, p99=1.8, fold_percent=fold_percent)
    liver = StructureMetrics(dice=Change(before=before, after=after), asd_mm=Change(before=20.0, after=apart))
    deformation = DeformationMetrics(jacobian=jacobian, fold_count=1 if fold_percent else 0)
    return Metrics(deformation=deformation, structures={"liver": liver})


def _has_reason(verdict: Verdict, words: str) -> None:
    assert any(words in entry.text for entry in verdict.reasons), verdict.reasons
