"""Pairs of a cohort side by side: the same numbers by one process and by two, and a lost one costs its pair alone."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from DeepLargeDeformRegLib.core.settings import RegistrationSettings

from training.data import Pair, Subject, open_data_set
from training.evaluation.runs import evaluate_pairs

QUICK = RegistrationSettings(preset="any", model="none", refine=False, prealign="translation")


def test_rows_do_not_depend_on_the_workers(cohort: Path) -> None:
    first, _, broken = open_data_set("csv", cohort).listed("test")
    pairs = [first, broken]
    # Its scan ends the process that reads it, as the system does when the memory is full.
    deadly = Pair(Subject(name="deadly", read_image=partial(os._exit, 9)), pairs[0].moving)
    alone = dict(evaluate_pairs(pairs, QUICK, threads=1))
    together = dict(evaluate_pairs([deadly, *pairs], QUICK, workers=2, threads=1))
    assert "ended unexpectedly" in together.pop(0)["error"]
    for rows in (alone, together):
        for row in rows.values():
            row.get("values", {}).pop("seconds", None)
    assert [alone[number] for number in range(2)] == [together[number] for number in range(1, 3)]
    assert "values" in alone[0]
    assert "broken.nii.gz" in alone[1]["error"]


def test_a_defect_is_a_row_too(cohort: Path) -> None:
    pair = open_data_set("csv", cohort).listed("test")[0]
    defective = Pair(Subject(name="defective", read_image=partial(int, "no number")), pair.moving)
    ((number, row),) = evaluate_pairs([defective], QUICK, threads=1)
    assert number == 0
    assert row["fixed"] == "defective"
    assert row["error"].startswith("ValueError")
