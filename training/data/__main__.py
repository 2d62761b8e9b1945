"""The command ``python -m training.data``: read a data set whole before training on it, and write split files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from DeepLargeDeformRegLib.core.errors import BadInputError, RegistrationError
from rich.console import Console
from rich.progress import track

from . import READERS, DataSet, assignments, open_data_set
from .splits import divide, write_names

_console = Console(highlight=False)


def main(
    reader: Annotated[str, typer.Argument(help=f"One of {', '.join(READERS)}.")],
    folder: Annotated[Path, typer.Argument(help="The data set's folder, or the file of a table.")],
    option: Annotated[list[str] | None, typer.Option(help="name=value, an option of the reader.")] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="name=share, such as train=0.8; may be given again.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the split files.")] = Path(),
    seed: Annotated[int, typer.Option(help="Another number divides differently.")] = 0,
    check: Annotated[bool, typer.Option(help="Read every scan, label map, mask and point file.")] = True,
) -> None:
    """Check a data set, and divide its patients into split files."""
    try:
        data_set = open_data_set(reader, folder, **assignments(option))
        _console.print(f"{len(data_set)} scans of {len({s.patient for s in data_set.subjects.values()})} patients")
        for name, names in data_set.splits.items():
            _console.print(f"split {name}: {len(names)} scans")
        for name, pairs in data_set.pairs.items():
            _console.print(f"split {name}: {len(pairs)} pairs")
        if check:
            _check(data_set)
        if split:
            shares = {name: _share(name, share) for name, share in assignments(split).items()}
            patients = {subject.name: subject.patient for subject in data_set.subjects.values()}
            for name, names in divide(patients, shares, seed).items():
                comment = (
                    f"{name}: share {shares[name]:g} of the patients, divided by python -m training.data, seed {seed}"
                )
                write_names(names, output / f"{name}.txt", comment)
                _console.print(f"{len(names)} scans -> {name}.txt")
    except RegistrationError as error:
        _console.print(f"[red]{error.message}[/red]", soft_wrap=True)
        raise typer.Exit(error.exit_code) from error


def _check(data_set: DataSet) -> None:
    """Read everything once; the first flaw ends it."""
    counts = {"scans": 0, "label maps": 0, "masks": 0, "sets of landmarks": 0, "sets of keypoints": 0}
    for subject in track(list(data_set.subjects.values()), "Reading scans", console=_console):
        if subject.read_image is not None:
            subject.image()
            counts["scans"] += 1
        counts["label maps"] += subject.labels() is not None
        counts["masks"] += subject.mask() is not None
    for pair in (pair for pairs in data_set.pairs.values() for pair in pairs):
        counts["sets of landmarks"] += pair.landmarks() is not None
        counts["sets of keypoints"] += pair.keypoints() is not None
    _console.print("read: " + ", ".join(f"{count} {name}" for name, count in counts.items() if count))


def _share(name: str, text: Any) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        raise BadInputError(f"The share of the split {name} must be a number, not {text!r}.") from None


if __name__ == "__main__":
    typer.run(main)
