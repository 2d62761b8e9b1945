"""The command ``python -m training.synthesis.breathing_report``: how well the model of breathing describes lungs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from DeepLargeDeformRegLib.core.errors import RegistrationError
from DeepLargeDeformRegLib.core.files import check_output, written_whole
from rich.console import Console
from rich.table import Table

from .breathing import BreathingModel, Correspondences, errors, fit_subject, read_correspondences

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
REPORTED = (0, 1, 2, 4, 6, 8, 12, 17)
"""Numbers of modes."""


def left_out(subjects: Sequence[Correspondences], numbers: Sequence[int]) -> dict[str, list[float]]:
    """How well models describe subjects that they have not seen, mean distance over points in mm, one per subject.

    Args:
        subjects: each is left out once.
        numbers: of modes.

    Returns:
        ``still``: without any motion; ``own``: by the subject's own spline; and for each number of modes.
    """
    velocities = [fit_subject(subject) for subject in subjects]
    table: dict[str, list[float]] = {
        "still": [float(np.linalg.norm(subject.motion, axis=1).mean()) for subject in subjects],
        "own": [errors(*pair) for pair in zip(velocities, subjects, strict=True)],
    }
    for index, subject in enumerate(subjects):
        rest = [one for number, one in enumerate(subjects) if number != index]
        fitted = [one for number, one in enumerate(velocities) if number != index]
        model = BreathingModel.of(rest, fitted)
        for number in numbers:
            table.setdefault(str(number), []).append(errors(model.described(subject, number), subject))
    return table


def main(
    keypoints: Annotated[Path, typer.Option(help="Folder of correspondences.")] = DATA / "lung-keypoints/l2r-lungct",
    masks: Annotated[Path, typer.Option(help="Folder of lung masks.")] = DATA / "lung-mask-pairs",
    output: Annotated[Path | None, typer.Option(help="Table of all subjects to write (.json).")] = None,
) -> None:
    """Fit the model of breathing; say what it explains, and how well it describes subjects that it has not seen."""
    try:
        subjects = read_correspondences(keypoints, masks)
        explained = np.cumsum(BreathingModel.of(subjects).explained)
        numbers = [number for number in REPORTED if number < len(subjects) - 1]
        table = left_out(subjects, numbers)
        if output is not None:
            check_output(output, (".json",))
            with written_whole(output) as temporary:
                names = [subject.name for subject in subjects]
                temporary.write_text(json.dumps({"subjects": names, **table}, indent=1), encoding="utf-8")
        shown = Table("modes", "variance explained", "left-out subject, mm")
        for number in numbers:
            share = explained[number - 1] if number else 0.0
            shown.add_row(str(number), f"{share:.0%}", f"{np.mean(table[str(number)]):.1f}")
        console = Console(highlight=False)
        console.print(shown)
        still, own = np.mean(table["still"]), np.mean(table["own"])
        console.print(f"{len(subjects)} subjects; without motion {still:.1f} mm, by their own splines {own:.1f} mm")
    except RegistrationError as error:
        Console(highlight=False).print(f"[red]{error.message}[/red]")
        raise typer.Exit(error.exit_code) from error


if __name__ == "__main__":
    typer.run(main)
