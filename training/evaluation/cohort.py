"""``python -m training.evaluation cohort DATA``: a preset or model on a cohort, with every measure.

The whole pipeline as a user runs it (pre-alignment, network, refinement, by the preset and the options), whereas
``training.release figures`` gives a network's own figures. What is written into the folder of ``--output``:

- ``evaluation.json``: all of it, for another run's ``--against`` and for ``training.release publish --figures``;
- ``cases.csv``: a line a case; ``summary.csv`` and ``summary.md``: mean, std, Dice30, percentiles;
- ``comparison.csv`` and ``comparison.md`` with ``--against``; ``tre_curve.csv`` where there are landmarks;
- ``boxes_MEASURE.png``: a box per structure, and ``tre_curve.png``; with ``--against`` the other run's, too;
- ``learn2reg/disp_*.npz`` with ``--challenge learn2reg``, ``empire10/01/defX.mhd`` ... with ``--challenge empire10``.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import typer
from DeepLargeDeformRegLib.core.errors import BadInputError, RegistrationError
from DeepLargeDeformRegLib.core.files.common import read_text, write_text
from DeepLargeDeformRegLib.core.settings import RegistrationSettings
from DeepLargeDeformRegLib.core.tables import comma_separated
from DeepLargeDeformRegLib.engine.models import Figure
from rich.console import Console
from rich.progress import track

from ..config import find_config, load_config
from ..data import READERS, DataSet, Pair, assignments, open_data_set, read_pair_names
from .challenges import CHALLENGES, FieldExport
from .plots import box_plots, curve_plot
from .runs import Row, evaluate_pairs
from .statistics import (
    CURVE_LIMITS_MM,
    compare,
    comparison_table,
    cumulative_curve,
    summarize_with_lowest,
    summary_table,
)
from .tables import print_table, write_tables

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
    option: Annotated[list[str] | None, typer.Option(help="name=value, an option of the reader.")] = None,
    split: Annotated[str, typer.Option(help="The data set's own split of pairs.")] = "test",
    pairs: Annotated[Path | None, typer.Option(help="CSV of pairs (fixed, moving) instead of a split.")] = None,
    preset: Annotated[str, typer.Option(help="Name of a preset.")] = "any",
    model: Annotated[str | None, typer.Option(help="Name of a model; the preset's by default, or 'none'.")] = None,
    refine: Annotated[bool | None, typer.Option(help="Refinement; the preset's choice by default.")] = None,
    guide: Annotated[bool, typer.Option(help="Let structures guide; they then measure nothing new.")] = False,
    first: Annotated[int | None, typer.Option(help="The first so many pairs only.")] = None,
    against: Annotated[
        list[Path] | None, typer.Option(help="evaluation.json of another run to test against; may be repeated.")
    ] = None,
    network_alone: Annotated[
        Path | None, typer.Option(help="Configuration: the bare network, aligned as it says, folds as they are.")
    ] = None,
    challenge: Annotated[str | None, typer.Option(help=f"Write fields for it, too: {', '.join(CHALLENGES)}.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Pairs registered at a time, each in a process.")] = 1,
    threads: Annotated[int | None, typer.Option(min=1, help="Of a pair; cores / workers by default.")] = None,
    description: Annotated[str, typer.Option(help="What the pairs are, for a card.")] = "",
) -> None:
    """Evaluate a preset or model on a cohort."""
    console = Console(stderr=True)
    try:
        settings = RegistrationSettings(preset=preset, model=model, refine=refine, guide_with_segmentations=guide)
        others = _named({path.resolve().parent.name: path for path in against or ()}, against or [])
        alone = None if network_alone is None else load_config(find_config(network_alone))
        chosen = _chosen(open_data_set(reader, data, **assignments(option)), split, pairs)[:first]
        if not chosen:
            raise BadInputError("There are no pairs to evaluate.")
        export = FieldExport(challenge, output / challenge) if challenge else None
        if export is not None:
            export.check(chosen)
        output.mkdir(parents=True, exist_ok=True)
        rows: list[Row | None] = [None] * len(chosen)
        running = evaluate_pairs(chosen, settings, export, workers, threads, alone)
        for number, row in track(running, "Registering", len(chosen), console=console):
            rows[number] = row
            done = [row for row in rows if row is not None]
            write_text(json.dumps({"cases": done}, indent=1) + "\n", output / "evaluation.json")
        results = collect(done, settings, description or f"{len(done)} pairs", others)
        write_results(results, output)
        _draw(results, others, output)
    except RegistrationError as error:
        console.print(f"[bold red]{error.message}[/]", highlight=False)
        raise typer.Exit(error.exit_code) from error
    _print(results, Console(width=150))


def collect(
    rows: Sequence[Row],
    settings: RegistrationSettings,
    description: str,
    others: Mapping[str, Sequence[Row]] = MappingProxyType({}),
) -> Row:
    """All of a run: cases, summary, curves, figures for a card, and tests against other runs' cases, by their names.

    Raises:
        BadInputError: if none of the pairs could be registered, or the other run has none of them.
    """
    done = [row for row in rows if "values" in row]
    if not done:
        raise BadInputError(f"No pair could be registered: {rows[0]['error']}")
    summary = summarize_with_lowest([row["values"] for row in done]) | _pooled(done)
    command = shlex.join(["python", "-m", "training.evaluation", *sys.argv[1:]])
    results: Row = {"settings": settings.to_json(), "failed": len(rows) - len(done), "summary": summary}
    results["figures"] = [asdict(figure) for figure in _figures(summary, description, command)]
    results["tre_curve"] = _curve(done)
    if others:
        ours = _by_pair(done)
        results["comparison"] = {name: compare(ours, _by_pair(rows), len(others)) for name, rows in others.items()}
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
        write_tables(table, folder / name, 2 if name == "comparison" else 1)
    names = list(results["summary"])
    lines = [
        [row["fixed"], row["moving"], row.get("error", ""), *(row.get("values", {}).get(name, "") for name in names)]
        for row in results["cases"]
    ]
    write_text(comma_separated([["fixed", "moving", "error", *names], *lines]), folder / "cases.csv")
    curve = results["tre_curve"]
    if curve:
        columns = zip(*curve.values(), strict=True)
        write_text(comma_separated([list(curve), *map(list, columns)]), folder / "tre_curve.csv")


def _draw(results: Row, others: Mapping[str, Sequence[Row]], folder: Path) -> None:
    """Pictures of this run and of the other ones, each called as the folder that it lies in."""
    own = folder.resolve().name
    runs = {own: results["cases"]} | {
        name if name != own else f"{name} (other)": rows for name, rows in others.items()
    }
    box_plots(runs, folder)
    curve_plot(runs, folder / "tre_curve.png")


def _chosen(data_set: DataSet, split: str, pairs: Path | None) -> Sequence[Pair]:
    if pairs is None:
        return data_set.listed(split)
    return [data_set.pair(fixed, moving) for fixed, moving in read_pair_names(pairs)]


def _pooled(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Errors of the landmarks of all pairs together, as TRE tables of papers give mean and deviation."""
    names = {"after": "tre_mm: all landmarks", "before": "before: tre_mm: all landmarks"}
    return summarize_with_lowest(
        [{name: error} for when, name in names.items() for row in rows for error in row["errors_mm"][when]]
    )


def _curve(rows: Sequence[Row]) -> dict[str, list[float]]:
    curves = {
        when: cumulative_curve((error for row in rows for error in row["errors_mm"][when]), CURVE_LIMITS_MM)
        for when in ("before", "after")
    }
    return {"limit_mm": list(CURVE_LIMITS_MM), **curves} if curves["after"] else {}


def _figures(summary: Mapping[str, Mapping[str, float]], description: str, command: str) -> list[Figure]:
    figures = []
    for measure, name, unit in _FIGURES:
        if measure in summary:
            before = summary.get(f"before: {measure}", {}).get("mean")
            rounded = None if before is None else round(before, 4)
            figures.append(
                Figure(
                    measure=name,
                    value=round(summary[measure]["mean"], 4),
                    data=description,
                    before=rounded,
                    unit=unit,
                    source=command,
                )
            )
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


def _named(named: Mapping[str, Path], all_of_them: Sequence[Path]) -> dict[str, list[Row]]:
    """Cases of other runs by the folder that each lies in; by the whole path where two folders have one name."""
    if len(named) < len(all_of_them):
        named = {str(path): path for path in all_of_them}
    return {name: _read_run(path) for name, path in named.items()}


def _read_run(path: Path) -> list[Row]:
    try:
        cases = json.loads(read_text(path))["cases"]
        _by_pair(cases)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(
            f"{path.name} is no evaluation.json of training.evaluation cohort.", detail=str(error)
        ) from error
    return cases


def _print(results: Row, console: Console) -> None:
    tables = {"Summary": summary_table(results["summary"])}
    if "comparison" in results:
        tables["Against other runs"] = comparison_table(results["comparison"])
    for title, rows in tables.items():
        print_table(rows, console, title)
    if results["failed"]:
        console.print(f"[yellow]{results['failed']} pairs could not be registered; cases.csv says why.[/]")
