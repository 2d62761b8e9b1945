"""The records of the metrics: to JSON and back, files of older versions, and the words of each number."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from DeepLargeDeformRegLib.core import display, measures
from DeepLargeDeformRegLib.core.measures import Change, Spread, StructureMetrics
from DeepLargeDeformRegLib.core.metrics import Metrics, Provenance, Reason, Verdict, WorstPlace, catalog

SUMMARY = measures.ErrorSummary(mean=1.5, std=0.5, p25=1.0, p50=1.5, p75=2.0, p95=2.4, max=2.5)
FULL = Metrics(
    deformation=measures.DeformationMetrics(
        jacobian=measures.JacobianStatistics(min=-0.5, max=2.0, fold_percent=0.1),
        jacobian_in_mask=measures.JacobianStatistics(min=0.4),
        displacement_mm=Spread(mean=1.0, p95=2.0, max=3.0),
        folds=(measures.Fold(volume_mm3=8.0, worst=-0.5, point_lps=(1.0, 2.0, 3.0), structure="liver"),),
        fold_count=1,
        inverse_consistency_mm=measures.ConsistencyMetrics(mean=0.1, p95=0.2, max=0.3, source="backward run"),
        round_trip_before_mm=0.25,
    ),
    structures={
        "liver": StructureMetrics(
            dice=Change(before=0.5, after=0.9),
            asd_mm=Change(before=9.0, after=1.0),
            hd95_mm=Change(after=2.0),
            hd_mm=Change(after=3.0),
            volume_ml=measures.Volumes(fixed=1.0, moving=2.0, warped=1.5),
            volume_change_percent=-3.0,
        ),
        "spleen": StructureMetrics(dice=Change(before=None, after=0.8)),
    },
    landmarks=measures.LandmarkMetrics(
        before=SUMMARY,
        after=SUMMARY,
        landmarks=(measures.LandmarkError(name="1", before=9.0, after=1.0, point_lps=(0.0, 0.0, 1.0)),),
    ),
    similarity=measures.SimilarityMetrics(local_ncc=Change(before=0.1, after=0.8), in_place_percent=90.0),
    uncertainty_mm=Spread(mean=1.0, p95=2.0, max=3.0),
    worst_places=(WorstPlace(measure="hd_mm", value=9.0, point_lps=(1.0, 2.0, 3.0)),),
    left_out_percent={"moving": 3.5},
    verdict=Verdict(level="look", title="Look", reasons=(Reason(text="Why.", severity="look"),), limits="ours"),
    warnings=("Careful.",),
    seconds={"read": 0.1},
    device="CPU",
    linear_lps=((1.0, 0.0), (0.0, 1.0)),
    provenance=Provenance(version="1", settings={"preset": "any", "refine": None}, refinement_steps=(30, 60)),
)


def test_metrics_survive_their_file() -> None:
    """What is written is JSON, and reads back as the same record, to the last number."""
    assert Metrics.from_json(json.loads(json.dumps(FULL.to_json(), allow_nan=False))) == FULL
    assert Metrics.from_json(Metrics().to_json()) == Metrics()


def test_the_file_names_its_entries_as_ever() -> None:
    """Structures are listed measure by measure, and what was not measured has no entry."""
    entries = FULL.to_json()
    assert entries["dice"]["liver"] == {"before": 0.5, "after": 0.9}
    assert entries["tre_mm"]["after"]["mean"] == 1.5
    assert entries["similarity"]["local_ncc"]["after"] == 0.8
    assert entries["jacobian"]["min"] == -0.5
    assert not {"dice", "tre_mm", "similarity", "device", "verdict"} & set(Metrics().to_json())


def test_older_and_newer_files_are_read() -> None:
    """A file without the entries of today, or with ones of tomorrow, gives what it has."""
    found = Metrics.from_json({"dice": {"liver": {"before": 0.5, "after": 0.9}}, "jacobian": {"min": 0.3}, "new": 1})
    assert found.structures["liver"].dice.after == 0.9
    assert found.deformation.jacobian.min == 0.3
    assert found.landmarks is None
    assert found.similarity is None


def test_the_former_name_of_search_and_initial_field_is_read() -> None:
    """Earlier files call both the stage and the initial field ``start``."""
    found = Metrics.from_json({"seconds": {"read": 1.0, "start": 2.0}, "provenance": {"start": "global search"}})
    assert found.seconds == {"read": 1.0, "search": 2.0}
    assert found.provenance == Provenance(initial_field="global search")


def test_each_number_of_the_file_is_in_the_catalog() -> None:
    """All measures have words, and their keys lead to where the file has them."""
    entries = FULL.to_json()
    for key, measure in catalog().items():
        assert measure.title
        assert measure.description
        place = entries
        for part in key.split("."):
            if part in ("mean", "std", "p25", "p50", "p75", "p95", "max") and "after" in place:
                place = place["after"]
            assert part in place, key
            place = place[part]


def test_the_documentation_lists_each_measure_with_its_unit(repository: Path) -> None:
    """A line of docs/metrics.md for each entry of the file, and for each map, with the catalog's unit."""
    page = (repository / "docs" / "metrics.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("| `")]
    for key, measure in catalog().items():
        entry, _, part = key.partition(".")
        (line,) = (line for line in lines if f"`{entry}`" in line.split("|")[1])
        _, _, shape, units, _, *_ = line.split("|")
        assert part in shape or "likewise" in shape, key
        assert measure.unit in ("", *units.replace(",", " ").split()) or "likewise" in units, key
    for name in display.MAPS:
        assert f"`{name}.nrrd`" in page


def test_numbers_are_shown_with_their_digits() -> None:
    """The digits of the catalog, and nothing for what was not measured."""
    dice = catalog()["dice"]
    assert dice.text(0.87654) == "0.877"
    assert dice.text(None) == dice.text(float("nan")) == ""
    assert catalog()["tre_mm.mean"].heading == "Landmark error, mean, mm"


def test_levels_are_ordered_by_gravity_and_complete() -> None:
    """The gravest level first; each has all its words and marks."""
    assert list(display.LEVELS) == ["reject", "look", "accept"]
    for level in display.LEVELS.values():
        assert all(dataclasses.astuple(level))
    assert len({level.plain_mark for level in display.LEVELS.values()}) == 3
