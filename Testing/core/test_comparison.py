"""The table of several models on one pair: what is beside what, and which figures of a card it takes."""

from __future__ import annotations

import json

from DeepLargeDeformRegLib.core.comparison import ModelResult, comparison_rows, figures_of, narrow_rows, seconds_of
from DeepLargeDeformRegLib.resources import MODELS

FIGURES = [
    {"measure": "Dice, mean of structures", "value": 0.9},
    {"measure": "SDlogJ of Learn2Reg", "value": 0.1},
    {"measure": "SDlogJ (log det J over det J > 0)", "value": 0.4},
    {"measure": "time of the network", "value": 0.5},
    {"measure": "Dice, of another day", "value": 0.1},
]
RESULTS = [
    ModelResult(model="a", title="A", values={"dice": 0.81234, "seconds": 2.04}, figures=figures_of(FIGURES)),
    ModelResult(model="none", title="No network", values={"dice": 0.7, "tre_mm": 1.5}),
    ModelResult(model="c", title="C", error="The model is too large."),
]


def test_a_column_for_what_any_model_reached_and_for_what_its_card_says() -> None:
    rows = comparison_rows(RESULTS)
    assert rows[0] == [
        *("Model", "Dice", "Landmark error, mm", "Time (s)"),
        *("Card: Dice", "Card: SDlogJ", "Card: time of the network (s)", "Error"),
    ]
    assert rows[1] == ["A", "0.812", "", "2.0", "0.900", "0.400", "0.5", ""]
    assert rows[2] == ["No network", "0.700", "1.50", "", "", "", "", ""]
    assert rows[3] == ["C", "", "", "", "", "", "", "The model is too large."]
    assert comparison_rows(RESULTS, exact=True)[1][1] == 0.81234


def test_the_terminal_has_the_card_beneath() -> None:
    heading, first, _, third = narrow_rows(RESULTS)
    assert first[heading.index("Dice")] == "0.812\n(0.900)"
    assert first[heading.index("SDlogJ")] == "(0.400)"
    assert third[0] == "C\nThe model is too large."


def test_cards_that_ship_have_figures_to_hold_a_result_against() -> None:
    for path in MODELS.glob("*.json"):
        found = figures_of(json.loads(path.read_text(encoding="utf-8"))["figures"])
        assert {"dice", "hd95_mm", "jacobian.fold_percent", "jacobian.sdlogj", "seconds"} <= set(found), path.name


def test_time_is_that_of_the_registration() -> None:
    assert seconds_of({"read": 9.0, "prealign": 1.0, "network": 0.5, "measure": 9.0}) == 1.5
