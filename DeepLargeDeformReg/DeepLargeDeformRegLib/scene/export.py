"""A result as files for other programs."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import slicer

from . import transforms
from .errors import SceneError
from .results import RunResult
from .volumes import remove_node, write_volume


def save_inverse(run: RunResult, path: Path) -> None:
    """Write the inverse of the transform, as a grid on the moving volume's geometry."""
    inverse = transforms.inverse_grid(_required(run, "transform"), _required(run, "moving"), "inverse")
    try:
        transforms.export_transform(inverse, path)
    finally:
        remove_node(inverse)


def save_table(run: RunResult, path: Path) -> None:
    """Write the metrics table as CSV."""
    table = _required(run, "table").GetTable()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        columns = range(table.GetNumberOfColumns())
        writer.writerow([table.GetColumnName(column) for column in columns])
        for row in range(table.GetNumberOfRows()):
            values = [table.GetValue(row, column).ToString() for column in columns]
            writer.writerow(["" if value == "nan" else value for value in values])


def save_report(run: RunResult, path: Path) -> None:
    """Write the HTML report."""
    if not run.report:
        raise SceneError("This result has no report.")
    path.write_text(run.report, encoding="utf-8")


def save_all(run: RunResult, folder: Path, transform_ending: str = ".h5") -> list[Path]:
    """Write all that a result has into a folder; return the files.

    Raises:
        SceneError: if the folder cannot be written.
    """
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stem = run.name.lower().replace(" ", "-")
        if run.get("transform") is not None:
            path = folder / f"{stem}-transform{transform_ending}"
            transforms.export_transform(run.get("transform"), path)
            save_inverse(run, folder / f"{stem}-inverse{transform_ending}")
            written += [path, folder / f"{stem}-inverse{transform_ending}"]
        for role in ("warped", "jacobian"):
            if run.get(role) is not None:
                written.append(folder / f"{stem}-{role}.nrrd")
                write_volume(run.get(role), written[-1])
        if run.get("segmentation") is not None:
            written.append(folder / f"{stem}-labels.seg.nrrd")
            if not slicer.util.saveNode(run.get("segmentation"), str(written[-1])):
                raise SceneError("The labels could not be written. Check the folder and the free space.")
        if run.get("table") is not None:
            written.append(folder / f"{stem}-metrics.csv")
            save_table(run, written[-1])
        if run.report:
            written.append(folder / f"{stem}-report.html")
            save_report(run, written[-1])
    except OSError as error:
        raise SceneError("The folder could not be written. Check the folder and the free space.") from error
    return written


def _required(run: RunResult, role: str) -> Any:
    node = run.get(role)
    if node is None:
        raise SceneError(f"This result has no {role} any more.")
    return node
