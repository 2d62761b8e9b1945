"""A result as files for other programs: each output by itself, or all in one folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..core.display import MAPS
from ..core.tables import comma_separated
from . import transforms
from .errors import SceneError
from .results import RunResult
from .volumes import remove_node, write_volume
from .words import heading

TRANSFORM_ENDINGS = (".h5", ".tfm", ".nrrd", ".nii.gz", ".mha")
VOLUME_ENDINGS = (".nrrd", ".nii.gz", ".mha")


def not_written(name: str) -> str:
    """What is said of a file that could not be written."""
    return _("{name} could not be written. Check the folder and the free space.").format(name=name)


@dataclass(frozen=True)
class Export:
    """One output as a file.

    Args:
        title: name for people. role: the result's node that it needs. endings: those of its files, the usual first.
        write: writes it from a run to a path.
    """

    title: str
    role: str
    endings: tuple[str, ...]
    write: Callable[[RunResult, Path], None]


def save_transform(run: RunResult, path: Path) -> None:
    """Write the transform, from fixed to moving points, as ITK and Slicer read it."""
    transforms.export_transform(_required(run, "transform"), path)


def save_inverse(run: RunResult, path: Path) -> None:
    """Write the inverse of the transform, as a grid on the moving volume's geometry."""
    inverse = transforms.inverse_grid(_required(run, "transform"), _required(run, "moving"), "inverse")
    try:
        transforms.export_transform(inverse, path)
    finally:
        remove_node(inverse)


def save_labels(run: RunResult, path: Path) -> None:
    """Write the propagated segmentation."""
    if not slicer.util.exportNode(_required(run, "segmentation"), str(path), {}):
        raise SceneError(not_written(path.name))


def save_landmarks(run: RunResult, path: Path) -> None:
    """Write the moving landmarks where they lie in the fixed volume."""
    if not slicer.util.exportNode(_required(run, "landmarks"), str(path), {}):
        raise SceneError(not_written(path.name))


def save_table(run: RunResult, path: Path) -> None:
    """Write the metrics table as CSV."""
    table = _required(run, "table").GetTable()
    columns = range(table.GetNumberOfColumns())
    rows = [[table.GetColumnName(column) for column in columns]]
    rows += [[table.GetValue(row, column).ToString() for column in columns] for row in range(table.GetNumberOfRows())]
    path.write_text(comma_separated(rows), encoding="utf-8", newline="")


def save_report(run: RunResult, path: Path) -> None:
    """Write the HTML report."""
    if not run.report:
        raise SceneError(_("This result has no report."))
    path.write_text(run.report, encoding="utf-8")


def _volume(role: str) -> Callable[[RunResult, Path], None]:
    return lambda run, path: _save_volume(run, role, path)


def _save_volume(run: RunResult, role: str, path: Path) -> None:
    write_volume(_required(run, role), path)


# By the last part of the file's name.
EXPORTS = {
    "transform": Export(_("Transform"), "transform", TRANSFORM_ENDINGS, save_transform),
    "inverse": Export(_("Inverse transform"), "transform", TRANSFORM_ENDINGS, save_inverse),
    "warped": Export(_("Warped volume"), "warped", VOLUME_ENDINGS, _volume("warped")),
    "labels": Export(_("Propagated labels"), "segmentation", (".seg.nrrd",), save_labels),
    "jacobian": Export(_("Volume change (det J)"), "jacobian", VOLUME_ENDINGS, _volume("jacobian")),
    **{
        name.removesuffix("_mm").replace("_", "-"): Export(heading(style), name, VOLUME_ENDINGS, _volume(name))
        for name, style in MAPS.items()
    },
    "landmarks": Export(_("Carried landmarks"), "landmarks", (".mrk.json", ".fcsv"), save_landmarks),
    "metrics": Export(_("Metrics table"), "table", (".csv",), save_table),
    "report": Export(_("Report"), "report", (".html",), save_report),
}


def available(run: RunResult) -> list[str]:
    """Names of :data:`EXPORTS` that a result has."""
    return [name for name, export in EXPORTS.items() if run.get(export.role) is not None]


def file_name(run: RunResult, name: str, ending: str = "", number: int = 1) -> str:
    """Usual name of a file, without its folder; the number is that of the export, where there were others before."""
    base = run.name.lower().replace(" ", "-") + (f"-export-{number}" if number > 1 else "")
    return f"{base}-{name}{ending or EXPORTS[name].endings[0]}"


def dicom_folder(run: RunResult, number: int = 1) -> str:
    """Usual name of the folder for DICOM objects."""
    return run.name.lower().replace(" ", "-") + "-dicom" + (f"-{number}" if number > 1 else "")


def save(run: RunResult, name: str, path: Path) -> Path:
    """Write one output; return its file, whose ending is added where the path has none that fits.

    Raises:
        SceneError: if the result does not have it, or if it could not be written.
    """
    export = EXPORTS[name]
    ending = next((ending for ending in export.endings if path.name.lower().endswith(ending)), "")
    # Slicer finds the writer by the ending, and knows it in small letters alone.
    path = path.with_name(path.name[: len(path.name) - len(ending)] + (ending or export.endings[0]))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        export.write(run, path)
    except (OSError, RuntimeError, ValueError) as error:  # Slicer raises the latter two
        raise SceneError(not_written(path.name)) from error
    return path


def save_all(run: RunResult, folder: Path, transform_ending: str = ".h5") -> list[Path]:
    """Write all that a result has into a folder; return the files.

    No file that is there is overwritten: it may be of a run of the same number in another scene.

    Raises:
        SceneError: if the folder cannot be written.
    """
    endings = {
        name: transform_ending if EXPORTS[name].endings is TRANSFORM_ENDINGS else "" for name in available(run)
    }
    number = 1
    while any((folder / file_name(run, name, ending, number)).exists() for name, ending in endings.items()):
        number += 1
    return [save(run, name, folder / file_name(run, name, ending, number)) for name, ending in endings.items()]


def _required(run: RunResult, role: str) -> Any:
    node = run.get(role)
    if node is None:
        raise SceneError(_("This result has lost what is needed: {role}.").format(role=role))
    return node
