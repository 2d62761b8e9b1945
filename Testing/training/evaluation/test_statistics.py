"""Averages, tests and curves of a cohort against values computed by hand."""

from __future__ import annotations

import pytest
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.tables import comma_separated, markdown

from training.evaluation.statistics import (
    compare,
    comparison_table,
    cumulative_curve,
    summarize_with_lowest,
    summary_table,
)


def test_summary_of_known_values() -> None:
    table = summarize_with_lowest([{"dice": value / 10, "tre_mm": value} for value in range(10)] + [{"dice": 1.0}])
    assert table["dice"]["n"] == 11
    assert table["tre_mm"]["n"] == 10
    assert table["dice"]["mean"] == pytest.approx(0.5)
    assert table["tre_mm"]["std"] == pytest.approx(8.25**0.5)
    assert table["tre_mm"]["p75"] == pytest.approx(6.75)
    assert table["dice"]["dice30"] == pytest.approx((0.0 + 0.1 + 0.2 + 0.3) / 4)
    assert "dice30" not in table["tre_mm"]


def test_wilcoxon_is_one_sided_and_corrected_over_the_settings() -> None:
    # All six differences have one sign: of the 2^6 signs one is as extreme in the direction that is better.
    ours = {str(n): {"dice": 0.8 + 0.01 * n, "tre_mm": 1.0, "hd95_mm": 3.0 + n, "jacobian_min": n} for n in range(6)}
    other = {str(n): {"dice": 0.7, "tre_mm": 1.0, "hd95_mm": 2.0, "jacobian_min": -1.0} for n in range(6)}
    tests = compare(ours, other | {"more": {"dice": 0.1}}, settings=3)
    expected = {"n": 6, "difference": 0.125, "p": 1 / 64, "p_bonferroni": 3 / 64}
    assert {key: tests["dice"][key] for key in expected} == pytest.approx(expected)
    assert tests["dice"]["alternative"] == "greater"
    assert (tests["hd95_mm"]["alternative"], tests["hd95_mm"]["p"]) == ("less", 1.0)  # ours is worse in every case
    assert (tests["jacobian_min"]["alternative"], tests["jacobian_min"]["p"]) == ("two-sided", 2 / 64)
    assert (tests["tre_mm"]["p"], tests["tre_mm"]["p_bonferroni"]) == (1.0, 1.0)
    assert "| other | dice | 6 | 0.125 | greater | 0.01562 | 0.04688 |" in markdown(
        comparison_table({"other": tests}), 2
    )


def test_runs_without_a_common_pair_are_refused() -> None:
    with pytest.raises(BadInputError, match="no pair of scans in common"):
        compare({"a": {"dice": 1.0}}, {"b": {"dice": 1.0}})


def test_curve_counts_landmarks_up_to_each_limit() -> None:
    assert cumulative_curve([3.0, 1.0, 1.0, 8.0], [0.5, 1.0, 3.0, 10.0]) == [0.0, 0.5, 0.75, 1.0]
    assert cumulative_curve([], [1.0]) == []


def test_tables_have_a_cell_for_each_column() -> None:
    rows = summary_table(summarize_with_lowest([{"dice: left|right": 0.5, "tre_mm": 1.0}]))
    assert {len(row) for row in rows} == {len(rows[0])}
    assert "left\\|right" in markdown(rows)
    assert comma_separated([["a", "b"], [None, "1,5"]]) == 'a,b\n,"1,5"\n'
