"""``python -m training.evaluate DATA``: a preset or a model on a cohort, with every measure of a case and of all.

The whole pipeline as a user runs it (pre-alignment, network, refinement, by the preset and the options), whereas
``training.measure`` gives a network's own figures. What is written into the folder of ``--output``:

- ``evaluation.json``: all of it, for another run's ``--against``; its figures are for ``training.publish --figures``;
- ``cases.csv``: a line a case; ``summary.csv`` and ``summary.md``: mean, std, Dice30, percentiles;
- ``comparison.csv`` and ``comparison.md`` with ``--against``; ``tre_curve.csv`` where there are landmarks;
- ``learn2reg/disp_*.npz`` with ``--learn2reg``.
"""

from __future__ import annotations

import csv
import io
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import numpy as np
import typer
from DeepLargeDeformRegLib.engine.errors import BadInputError, CancelledError, RegistrationError
from DeepLargeDeformRegLib.engine.files.common import read_text, write_text
from DeepLargeDeformRegLib.engine.models import Figure
from DeepLargeDeformRegLib.engine.pipeline import RegistrationRequest, RegistrationResult, register
from DeepLargeDeformRegLib.engine.settings import RegistrationSettings
from rich.console import Console
from rich.progress import track
from rich.table import Table

from .data import READERS, DataSet, Pair, open_data_set, read_pair_names
from .evaluate_learn2reg import file_name, voxel_field, write_field
from .evaluate_statistics import compare, comparison_table, cumulative_curve, markdown, summarize, summary_table

Row = dict[str, Any]
_STRUCTURE_MEASURES = ("dice", "asd_mm", "hd_mm", "hd95_mm")
_CURVE_LIMITS_MM = tuple(np.arange(0.0, 20.25, 0.25).tolist())

# measure of the summary, its name on a card, unit
_FIGURES = (
    ("dice", "Dice, mean of structures", ""),
    ("hd95_mm", "HD95, mean of structures", "mm"),
    ("tre_mm", "TRE, mean of landmarks", "mm"),
    ("fold_percent", "folds (det J <= 0)", "%"),
    ("sdlogj", "SDlogJ (log det J over det J > 0)", ""),
    ("sdlogj_learn2reg", "SDlogJ of Learn2Reg", ""),
)


def main(
    data: Annotated[Path, typer.Argument(help="Folder of the data set, or the file of a table of pairs.")],
    output: Annotated[Path, typer.Option(help="Folder for the results.")],
    reader: Annotated[str, typer.Option(help=f"Of: {', '.join(sorted(READERS))}.")] = "csv",
    split: Annotated[str, typer.Option(help="The data set's own split of pairs.")] = "test",
    pairs: Annotated[Path | None, typer.Option(help="CSV of pairs (fixed, moving) instead of a split.")] = None,
    preset: Annotated[str, typer.Option(help="Name of a preset.")] = "any",
    model: Annotated[str | None, typer.Option(help="Name of a model; the preset's by default, or 'none'.")] = None,
    refine: Annotated[bool | None, typer.Option(help="Refinement; the preset's choice by default.")] = None,
    guide: Annotated[bool, typer.Option(help="Let structures guide; they then measure nothing new.")] = False,
    first: Annotated[int | None, typer.Option(help="The first so many pairs only.")] = None,
    against: Annotated[Path | None, typer.Option(help="evaluation.json of another run, to test against.")] = None,
    learn2reg: Annotated[bool, typer.Option("--learn2reg", help="Write fields for the challenge, too.")] = False,
    description: Annotated[str, typer.Option(help="What the pairs are, for a card.")] = "",
) -> None:
    """Evaluate a preset or model on a cohort."""
    console = Console(stderr=True)
    try:
        settings = RegistrationSettings(preset, model, refine, guide_with_segmentations=guide)
        other = None if against is None else _read_run(against)
        chosen = _chosen(open_data_set(reader, data), split, pairs)[:first]
        output.mkdir(parents=True, exist_ok=True)
        rows = []
        for pair in track(chosen, "Registering", console=console):
            rows.append(evaluate_pair(pair, settings, output / "learn2reg" if learn2reg else None))
            write_text(json.dumps({"cases": rows}, indent=1) + "\n", output / "evaluation.json")
        results = collect(rows, settings, description or f"{len(rows)} pairs", other)
        write_results(results, output)
    except RegistrationError as error:
        console.print(f"[bold red]{error.message}[/]", highlight=False)
        raise typer.Exit(error.exit_code) from error
    _print(results, Console(width=150))


def evaluate_pair(pair: Pair, settings: RegistrationSettings, fields_folder: Path | None = None) -> Row:
    """Register one pair: ``fixed``, ``moving``, ``values`` by measure, ``errors_mm`` of its landmarks.

    A pair that cannot be registered gives a row with ``error`` instead: one bad scan does not end a cohort.

    Args:
        pair: with structures, landmarks or both; without them only the field is measured.
        settings: of the registration. Landmarks measure, they never guide.
        fields_folder: where a field for Learn2Reg is written, if anywhere.

    Raises:
        CancelledError: if it was cancelled.
    """
    row: Row = {"fixed": pair.fixed.name, "moving": pair.moving.name}
    try:
        fixed, moving = pair.fixed.image(), pair.moving.image()
        request = RegistrationRequest(
            fixed, moving, settings, pair.fixed.labels(), pair.moving.labels(), pair.landmarks()
        )
        result = register(request)
        if fields_folder is not None:
            fields_folder.mkdir(parents=True, exist_ok=True)
            values = voxel_field(result.field, fixed.grid, moving.grid)
            write_field(values, fields_folder / file_name(pair.fixed.name, pair.moving.name))
    except CancelledError:
        raise
    except RegistrationError as error:
        return row | {"error": error.message}
    return row | {"values": case_values(result), "errors_mm": _landmark_errors(result)}


def case_values(result: RegistrationResult) -> dict[str, float]:
    """Measures of one registration; ``before: ...`` as loaded, ``dice: liver`` of one structure, ``dice`` the mean.

    A structure that left the fixed scan's view altogether has Dice 0 and no distances.
    """
    numbers = result.metrics
    values: dict[str, float] = {}
    for when, prefix in (("after", ""), ("before", "before: ")):
        for key in _STRUCTURE_MEASURES:
            found = {name: entry[when] for name, entry in numbers.get(key, {}).items() if entry[when] is not None}
            values |= {f"{prefix}{key}": fmean(found.values())} if found else {}
            values |= {f"{prefix}{key}: {name}": value for name, value in found.items()}
        errors = numbers.get("tre_mm", {}).get(when, {})
        values |= {f"{prefix}tre_mm" if key == "mean" else f"{prefix}tre_{key}_mm": v for key, v in errors.items()}
    jacobian = numbers["jacobian"]
    names = {"fold_percent": "fold_percent", "sdlogj": "sdlogj", "sdlogj_learn2reg": "sdlogj_learn2reg"}
    names |= {"min": "jacobian_min", "max": "jacobian_max"}
    values |= {name: jacobian[key] for key, name in names.items() if jacobian[key] is not None}
    seconds: Mapping[str, float] = numbers["seconds"]
    return values | {"seconds": sum(seconds.values()) - seconds.get("measure", 0.0)}


def collect(
    rows: Sequence[Row], settings: RegistrationSettings, description: str, other: Sequence[Row] | None = None
) -> Row:
    """All of a run: cases, summary, curves, figures for a card, and tests against another run's cases.

    Raises:
        BadInputError: if no pair could be registered, or the other run has none of the pairs.
    """
    done = [row for row in rows if "values" in row]
    if not done:
        reason = rows[0]["error"] if rows else "there are no pairs."
        raise BadInputError(f"No pair could be registered: {reason}")
    summary = summarize([row["values"] for row in done])
    command = shlex.join(["python", "-m", "training.evaluate", *sys.argv[1:]])
    results: Row = {"settings": settings.to_json(), "failed": len(rows) - len(done), "summary": summary}
    results["figures"] = [asdict(figure) for figure in _figures(summary, description, command)]
    results["tre_curve"] = _curve(done)
    if other is not None:
        results["comparison"] = compare(_by_pair(done), _by_pair(other))
    return results | {"cases": list(rows)}


def write_results(results: Row, folder: Path) -> None:
    """Write JSON, CSV and Markdown of a run into a folder.

    Raises:
        OutputError: if a file cannot be written.
    """
    write_text(json.dumps(results, indent=1) + "\n", folder / "evaluation.json")
    tables = {"summary": summary_table(results["summary"])}
    if "comparison" in results:
        tables["comparison"] = comparison_table(results["comparison"])
    for name, table in tables.items():
        write_text(_csv(table), folder / f"{name}.csv")
        write_text(markdown(table), folder / f"{name}.md")
    names = list(results["summary"])
    lines = [
        [row["fixed"], row["moving"], row.get("error", ""), *(row.get("values", {}).get(name, "") for name in names)]
        for row in results["cases"]
    ]
    write_text(_csv([["fixed", "moving", "error", *names], *lines]), folder / "cases.csv")
    curve = results["tre_curve"]
    if curve:
        columns = zip(*curve.values(), strict=True)
        write_text(_csv([list(curve), *map(list, columns)]), folder / "tre_curve.csv")


def _chosen(data_set: DataSet, split: str, pairs: Path | None) -> Sequence[Pair]:
    if pairs is None:
        return data_set.listed(split)
    return [data_set.pair(fixed, moving) for fixed, moving in read_pair_names(pairs)]


def _landmark_errors(result: RegistrationResult) -> dict[str, list[float]]:
    points = result.metrics.get("tre_mm", {}).get("landmarks", [])
    return {when: [point[when] for point in points] for when in ("before", "after")}


def _curve(rows: Sequence[Row]) -> dict[str, list[float]]:
    curves = {
        when: cumulative_curve((error for row in rows for error in row["errors_mm"][when]), _CURVE_LIMITS_MM)
        for when in ("before", "after")
    }
    return {"limit_mm": list(_CURVE_LIMITS_MM), **curves} if curves["after"] else {}


def _figures(summary: Mapping[str, Mapping[str, float]], description: str, command: str) -> list[Figure]:
    figures = []
    for measure, name, unit in _FIGURES:
        if measure in summary:
            before = summary.get(f"before: {measure}", {}).get("mean")
            rounded = None if before is None else round(before, 4)
            figures.append(Figure(name, round(summary[measure]["mean"], 4), description, rounded, unit, command))
    return figures


def _by_pair(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    # What was before registration and how long it took are no result to be tested.
    return {
        f"{row['fixed']} <- {row['moving']}": {
            name: value
            for name, value in row["values"].items()
            if not name.startswith("before: ") and name != "seconds"
        }
        for row in rows
        if "values" in row
    }


def _read_run(path: Path) -> list[Row]:
    try:
        cases = json.loads(read_text(path))["cases"]
        _by_pair(cases)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(f"{path.name} is no evaluation.json of training.evaluate.", detail=str(error)) from error
    return cases


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _print(results: Row, console: Console) -> None:
    tables = {"Summary": summary_table(results["summary"])}
    if "comparison" in results:
        tables["Against the other run"] = comparison_table(results["comparison"])
    for title, rows in tables.items():
        table = Table(*rows[0], title=title)
        for row in rows[1:]:
            table.add_row(*row)
        console.print(table)
    if results["failed"]:
        console.print(f"[yellow]{results['failed']} pairs could not be registered; cases.csv says why.[/]")


if __name__ == "__main__":
    typer.run(main)
