"""``python -m training.keypoints.table PAIRS.csv --output NEW.csv``: the keypoints of every pair of a table.

Beside the new table lies a folder ``keypoints`` with a file a pair. Stopped and begun again, the command goes on
where it was. A pair without enough keypoints is told of, and left out of the new table.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from DeepLargeDeformRegLib.core.errors import BadInputError, RegistrationError
from DeepLargeDeformRegLib.core.files import check_output, write_landmark_pairs
from DeepLargeDeformRegLib.core.files.common import write_text
from DeepLargeDeformRegLib.core.images import LandmarkPairs
from DeepLargeDeformRegLib.core.tables import comma_separated
from rich.console import Console
from rich.progress import track

from ..data import Pair
from ..data.tables import moved_row, rows_and_pairs
from . import KeypointSettings, match

_console = Console(highlight=False)
_DEFAULTS = KeypointSettings()


def main(
    table: Annotated[Path, typer.Argument(help="Table of pairs, as the reader csv takes it.")],
    output: Annotated[Path, typer.Option(help="The new table (.csv), with the column keypoints.")],
    count: Annotated[int, typer.Option(help="Most keypoints of a pair.")] = _DEFAULTS.count,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cuda" if torch.cuda.is_available() else "cpu",
) -> None:
    """Find the keypoints of every pair of a table."""
    try:
        done, failed = find_all(table, output, replace(_DEFAULTS, count=count), device)
    except RegistrationError as error:
        _console.print(f"[red]{error.message}[/red]", soft_wrap=True)
        raise typer.Exit(error.exit_code) from error
    for line in failed:
        _console.print(f"[yellow]{line}[/yellow]", soft_wrap=True)
    _console.print(f"{done} pairs -> {output.name}")


def find_all(
    table: Path, output: Path, settings: KeypointSettings, device: torch.device | str = "cpu"
) -> tuple[int, list[str]]:
    """Write keypoints of all pairs of a table, and the table with them.

    Args:
        table: of pairs; masks in it limit the keypoints and align the scans.
        output: the new table; the files of points lie in ``keypoints`` beside it.
        settings: see :class:`KeypointSettings`.
        device: where to compute.

    Returns:
        How many pairs have keypoints, and a sentence for each that has not.

    Raises:
        BadInputError: if the table cannot be read, or no pair has keypoints.
        OutputError: if a file cannot be written.
    """
    listed = rows_and_pairs(table)
    folder = output.parent / "keypoints"
    folder.mkdir(parents=True, exist_ok=True)
    check_output(output, (".csv",))
    kept, failed = [], []
    for number, (row, pair) in enumerate(track(listed, "Finding keypoints", console=_console), start=1):
        path = folder / f"{number:0{len(str(len(listed)))}d}.csv"
        try:
            if not path.exists():
                write_landmark_pairs(_found(pair, settings, device), path)
        except BadInputError as error:
            failed.append(f"{pair.fixed.name}, {pair.moving.name}: {error.message}")
            continue
        kept.append(moved_row(row, table, output) | {"keypoints": path.relative_to(output.parent).as_posix()})
    if not kept:
        raise BadInputError(f"No pair of {table.name} has keypoints. The first: {failed[0]}")
    columns = list(dict.fromkeys([*listed[0][0], "keypoints"]))
    write_text(comma_separated([columns, *([row.get(name, "") for name in columns] for row in kept)]), output)
    return len(kept), failed


def _found(pair: Pair, settings: KeypointSettings, device: torch.device | str) -> LandmarkPairs:
    return match(pair.fixed.image(), pair.moving.image(), pair.fixed.mask(), pair.moving.mask(), settings, device)


if __name__ == "__main__":
    typer.run(main)
