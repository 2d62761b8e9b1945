"""The button Compare models: a result for each model, and a table beside the figures of their cards."""

from __future__ import annotations

from typing import Any

from . import cases
from .conftest import Small


def cells_of(node: Any) -> list[dict[str, str]]:
    names = [node.GetColumnName(column) for column in range(node.GetNumberOfColumns())]
    return [
        {name: node.GetCellText(row, column) for column, name in enumerate(names)}
        for row in range(node.GetNumberOfRows())
    ]


def test_each_model_leaves_a_result_and_a_row(small: Small) -> None:
    from DeepLargeDeformRegLib.scene import results
    from DeepLargeDeformRegLib.widgets.model_cards import cards_of

    ui = small.widget.ui
    assert not ui.compareView.visible
    cases.choose_preset(small.widget, "MR_HIPPOCAMPUS")
    cards = cards_of("mr-hippocampus")
    ui.compareButton.click()
    assert not ui.compareButton.enabled
    small.application.wait_until(lambda: len(results.list_results()) == len(cards) + 1, 300, "all results")
    small.application.wait_until(lambda: ui.compareButton.enabled, 10, "the end")
    runs = results.list_results()
    assert [run.settings["model"] for run in runs] == [*(card.name for card in cards), "none"]
    rows = cells_of(ui.compareView.mrmlTableNode())
    assert [row["Model"] for row in rows] == [*(card.title for card in cards), "No network"]
    for row, run in zip(rows, runs, strict=True):
        assert row["SDlogJ"].split("\n")[0] == f"{run.metrics.deformation.jacobian.sdlogj:.3f}"
        assert float(row["Time (s)"].split("\n")[0]) > 0
    assert rows[0]["Dice"] == f"({cards[0].measured['dice']:.3f})"  # without structures only the card has one
    assert rows[-1]["Dice"] == ""
    assert not small.application.errors


def test_cancel_ends_the_comparison(small: Small) -> None:
    from DeepLargeDeformRegLib.scene import results

    ui = small.widget.ui
    cases.choose_preset(small.widget, "MR_HIPPOCAMPUS")
    ui.compareButton.click()
    assert ui.registerButton.text == "Cancel"
    ui.registerButton.click()
    small.application.wait_until(lambda: small.widget.run is None, 30, "the end of the run")
    assert ui.compareButton.enabled
    assert results.list_results() == []
    assert not ui.compareView.visible
