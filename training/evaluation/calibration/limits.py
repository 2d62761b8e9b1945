"""``python -m training.evaluation limits``: what the limits of the verdict rest on, measured on real scans.

Every development pair that is at hand is registered as a user would, and measured; so are wrong maps made of each
result (see :mod:`.wrong`), and registrations of scans of two different body parts. The limits of
``resources/verdict_limits.json`` should lie between the two: a wrong map must never be accepted, a good one never
refused. All pairs are development pairs; some of them chose the presets' settings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from DeepLargeDeformRegLib.core.errors import RegistrationError
from DeepLargeDeformRegLib.core.files.common import write_text
from DeepLargeDeformRegLib.core.settings import RegistrationSettings
from DeepLargeDeformRegLib.core.tables import comma_separated, markdown
from DeepLargeDeformRegLib.engine import metrics
from DeepLargeDeformRegLib.engine.evaluation import warped_labels
from DeepLargeDeformRegLib.engine.fields import (
    DisplacementField,
    read_transform,
    to_field,
    write_transform,
)
from DeepLargeDeformRegLib.engine.metrics import Limits, MeasureInput, judge, load_limits
from DeepLargeDeformRegLib.engine.registration.pipeline import RegistrationRequest, register
from rich.console import Console

from ..cases import DATA, GROUPS, Case, load_cases
from ..tables import print_table
from .wrong import WRONG

GOOD = "registered"
STRANGERS = "another body part"
LEVELS = ("accept", "look", "reject")
# Where each number of the limits stands in the metrics; of several structures the worst one counts.
NUMBERS: dict[str, tuple[str, ...]] = {
    "in_place_percent": ("in_place_percent",),
    "local_ncc": ("similarity", "local_ncc", "after"),
    "fold_percent": ("jacobian", "fold_percent"),
    "jacobian_p1": ("jacobian", "p1"),
    "jacobian_p99": ("jacobian", "p99"),
    "inverse_consistency_p95_mm": ("inverse_consistency_mm", "p95"),
    "overlap_percent": ("overlap_percent", "after"),
    "tre_mean_mm": ("tre_mm", "after", "mean"),
    "tre_p95_mm": ("tre_mm", "after", "p95"),
    "dice": ("dice", "*", "after"),
    "asd_mm": ("asd_mm", "*", "after"),
    "hd95_mm": ("hd95_mm", "*", "after"),
}
CHANGES = ("local_ncc", "mutual_information")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One map of one pair: what was done, the verdict with the truth and on the scans alone, the judged numbers."""

    case: str
    kind: str
    with_truth: str | None
    alone: str
    numbers: dict[str, float | None]


def main(
    cases: Annotated[str, typer.Option(help=f"Groups of pairs, of: {', '.join(GROUPS)}.")] = (
        "lung,liver-mr,abdomen,hippocampus"
    ),
    pairs: Annotated[int, typer.Option(help="Most pairs of a group.", min=1)] = 4,
    strangers: Annotated[bool, typer.Option(help="Also register scans of different body parts.")] = True,
    data: Annotated[Path, typer.Option(help="Folder of the data.")] = DATA,
    output: Annotated[Path | None, typer.Option(help="Folder for limits.csv and limits.md.")] = None,
    transforms: Annotated[
        Path | None, typer.Option(help="Folder where transforms are kept; those that are there are measured again.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of the processor; all by default.")] = None,
) -> None:
    """Measure good and wrong registrations, and how they spread around the limits of the verdict."""
    console = Console(stderr=True, highlight=False)
    if threads:
        torch.set_num_threads(threads)
    groups: dict[str, list[Case]] = {}
    for group in cases.split(","):
        try:
            groups[group] = load_cases([group], data, pairs)
        except RegistrationError as error:
            console.print(f"[yellow]{error.message} Left out.")
    if not groups:
        raise typer.Exit(2)
    chosen = [(GOOD, case) for found in groups.values() for case in found]
    if strangers:
        chosen += [(STRANGERS, case) for case in pair_strangers(groups)]
    limits, rows = load_limits(), []
    for kind, case in chosen:
        for row in measure_case(case, kind, transforms):
            console.print(f"{row.case}, {row.kind}: {row.with_truth or '-'}, on the scans alone {row.alone}")
            rows.append(row)
            if output is not None:  # after each one: a long run that is interrupted leaves what it measured
                output.mkdir(parents=True, exist_ok=True)
                write_text(comma_separated(all_rows(rows)), output / "limits.csv")
                text = "\n".join(markdown(table) for table in tables_of(rows, limits).values())
                write_text(text, output / "limits.md")
    _print(rows, limits)


def pair_strangers(groups: dict[str, list[Case]]) -> list[Case]:
    """The fixed scan of each group with the moving scan of the next one."""
    firsts = [found[0] for found in groups.values()]
    if len(firsts) < 2:
        return []
    others = [*firsts[1:], firsts[0]]
    return [
        Case(
            name=f"{one.name} <- {other.name}",
            preset=one.preset,
            spacing_mm=one.spacing_mm,
            fixed=one.fixed,
            moving=other.moving,
        )
        for one, other in zip(firsts, others, strict=True)
    ]


def measure_case(case: Case, kind: str = GOOD, transforms: Path | None = None) -> Iterator[Row]:
    """Rows of a pair: its registration, and, if it is a good one, all wrong maps made of that."""
    try:
        field = _registered(case, transforms)
    except RegistrationError:
        yield Row(case=case.name, kind=kind, with_truth=None, alone="refused", numbers={})
        return
    yield measure_map(case, kind, field)
    if kind == GOOD:
        for name, make in WRONG.items():
            # A wrong map can no longer be said to be guided: whoever judges it may believe the outlines.
            yield measure_map(replace(case, guides=False), name, make(field, case.moving.grid))


def _registered(case: Case, transforms: Path | None) -> DisplacementField:
    kept = None if transforms is None else transforms / f"{re.sub('[^a-z0-9]+', '-', case.name.lower())}.nrrd"
    if kept is not None and kept.exists():
        return to_field(read_transform(kept), case.fixed.grid)
    settings = RegistrationSettings(preset=case.preset, guide_with_segmentations=case.guides)
    field = register(RegistrationRequest(pair=case.guiding_pair(), settings=settings)).field
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_transform(field, kept)
    return field


def measure_map(case: Case, kind: str, field: DisplacementField) -> Row:
    """Row of one map of a pair."""
    pair = case.pair()
    labels = warped_labels(pair, field)
    inputs = MeasureInput(field=field, pair=pair, warped_labels=labels, guided_by_labels=case.guides)
    found = metrics.measure(inputs).metrics
    known = case.fixed_labels is not None or case.landmarks is not None
    deformation = replace(found.deformation, jacobian_in_mask=None)
    alone = judge(replace(found, deformation=deformation, structures={}, landmarks=None))
    level = found.verdict.level if known and found.verdict else None
    return Row(
        case=case.name, kind=kind, with_truth=level, alone=alone.level, numbers=judged_numbers(found.to_json())
    )


def judged_numbers(found: dict[str, Any]) -> dict[str, float | None]:
    """The numbers that the limits are about, of the metrics; None where there is none."""
    numbers = {key: _worst(found, path, key != "dice") for key, path in NUMBERS.items()}
    for key in CHANGES:
        pair = (found.get("similarity") or {}).get(key) or {}
        before, after = pair.get("before"), pair.get("after")
        numbers[f"{key}_change"] = None if before is None or after is None else after - before
    return numbers


def _worst(values: Any, path: tuple[str, ...], largest: bool) -> float | None:
    if not path or values is None:
        return values
    if path[0] == "*":
        found = [_worst(value, path[1:], largest) for value in values.values()]
        known = [value for value in found if value is not None]
        return (max(known) if largest else min(known)) if known else None
    return _worst(values.get(path[0]), path[1:], largest)


def verdicts(rows: list[Row]) -> list[tuple[str, ...]]:
    """A line for each kind of map: how many there are, and how many of each verdict, with truth and without."""
    lines = []
    for kind in dict.fromkeys(row.kind for row in rows):
        chosen = [row for row in rows if row.kind == kind]
        with_truth = [row.with_truth for row in chosen]
        alone = [row.alone for row in chosen]
        counts = [str(levels.count(level)) for levels in (with_truth, alone) for level in LEVELS]
        lines.append((kind, str(len(chosen)), *counts))
    return lines


def spread(rows: list[Row], limits: Limits) -> list[tuple[str, ...]]:
    """A line for each limit: the limit, the range among good maps, and how many wrong ones it alone refuses."""
    lines: list[tuple[str, ...]] = []
    for key in (*NUMBERS, *(f"{key}_change" for key in CHANGES)):
        if key not in limits.table:
            continue
        limit = limits[key]
        good = [value for row in rows if row.kind == GOOD and (value := row.numbers.get(key)) is not None]
        wrong = [value for row in rows if row.kind != GOOD and (value := row.numbers.get(key)) is not None]
        if not good or not wrong:
            continue
        refused = sum(limit.severity(value) == "reject" for value in wrong)
        noticed = sum(limit.severity(value) != "accept" for value in wrong)
        lines.append(
            (
                f"{key}{f', {limit.unit}' if limit.unit else ''}",
                f"{limit.accept:g} / {'-' if limit.reject is None else f'{limit.reject:g}'}",
                f"{min(good):.3g} to {max(good):.3g}",
                f"{sum(limit.severity(value) == 'accept' for value in good)} of {len(good)}",
                f"{min(wrong):.3g} to {max(wrong):.3g}",
                f"{noticed} / {refused} of {len(wrong)}",
            )
        )
    return lines


VERDICT_COLUMNS = ("map", "n", *(f"{level}{when}" for when in ("", ", scans alone") for level in LEVELS))
SPREAD_COLUMNS = ("number", "accept / reject", "good maps", "good within", "wrong maps", "wrong noticed / refused")


def tables_of(rows: list[Row], limits: Limits) -> dict[str, list[tuple[str, ...]]]:
    """Both tables by their titles, each with its heading first."""
    return {"Verdicts": [VERDICT_COLUMNS, *verdicts(rows)], "Limits": [SPREAD_COLUMNS, *spread(rows, limits)]}


def all_rows(rows: list[Row]) -> list[list[Any]]:
    """All rows with all digits, the heading first."""
    names = list(dict.fromkeys(name for row in rows for name in row.numbers))
    heading = ["case", "map", "verdict", "verdict_scans_alone", *names]
    lines = [[row.case, row.kind, row.with_truth, row.alone, *map(row.numbers.get, names)] for row in rows]
    return [heading, *lines]


def _print(rows: list[Row], limits: Limits) -> None:
    console = Console(width=150)
    for title, table in tables_of(rows, limits).items():
        print_table(table, console, title)
