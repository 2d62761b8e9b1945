"""Options of the commands, with their help."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from ..core.presets import PRESETS

SCANS = ".nrrd .nii .nii.gz .mha .mhd or a DICOM folder (FOLDER#2: its second series)"
LABELS = ".nrrd .seg.nrrd .nii .nii.gz .mha"
POINTS = ".mrk.json, .fcsv, .csv (LPS mm) or a point file of elastix"
TRANSFORMS = ".h5 .tfm .nrrd .nii.gz .mha"


def option(text: str) -> Any:
    """An option that is not given unless the user names it."""
    return typer.Option(help=text, show_default=False)


Fixed = Annotated[str, typer.Argument(help=f"Fixed scan: {SCANS}.")]
Moving = Annotated[str, typer.Argument(help="Moving scan, which is brought onto the fixed one.")]
Transform = Annotated[str, typer.Argument(help=f"Transform from fixed to moving points: {TRANSFORMS}.")]

FixedSegmentation = Annotated[str | None, option(f"Structures of the fixed scan: {LABELS}.")]
MovingSegmentation = Annotated[str | None, option("Structures of the moving scan.")]
Landmarks = Annotated[
    str | None, option("CSV of corresponding points: three columns fixed, then three moving, LPS mm.")
]
FixedLandmarks = Annotated[str | None, option(f"Landmarks of the fixed scan: {POINTS}.")]
MovingLandmarks = Annotated[str | None, option("Landmarks of the moving scan, paired by name.")]
Match = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FIXED=MOVING",
        help="Which structures belong together, by name or value; repeatable. Without it those of the same name, or, "
        "where no names agree, of the same value.",
        show_default=False,
    ),
]

OutputTransform = Annotated[str | None, option(f"Write the transform here: {TRANSFORMS}.")]
OutputInverse = Annotated[str | None, option("Write its inverse here, on the moving grid.")]
OutputVolume = Annotated[str | None, option("Write the moving scan on the fixed grid here.")]
OutputSegmentation = Annotated[str | None, option("Write the moving structures on the fixed grid here.")]
OutputJacobian = Annotated[str | None, option("Write det J, the local volume change, here.")]
OutputMaps = Annotated[str | None, option("Folder for maps: displacement, similarity ...")]
OutputUncertainty = Annotated[str | None, option("Write the error to expect, mm, here.")]
OutputDicom = Annotated[
    str | None,
    option(
        "Folder for DICOM objects: registration.dcm, a Deformable Spatial Registration, and segmentation.dcm, the "
        "moving structures on the fixed scan. Both scans must be DICOM folders."
    ),
]
OutputFixedOrgans = Annotated[str | None, option("Write the organs found automatically in the fixed scan here.")]
OutputMovingOrgans = Annotated[str | None, option("Write the organs found automatically in the moving scan here.")]
OutputWarpedOrgans = Annotated[str | None, option("Write the moving scan's automatic organs on the fixed grid here.")]
FixedMask = Annotated[
    str | None,
    option(
        "Mask of what to leave out of the fixed scan: what it marks (non-zero), such as a stent, a tumor or a cavity "
        "that the moving scan does not show, does not count in the similarity. Masks for elastix or ANTs mark the "
        f"opposite. {LABELS}."
    ),
]
MovingMask = Annotated[str | None, option("Likewise, what to leave out of the moving scan.")]
InitialTransform = Annotated[
    str | None, option("Start from this transform (fixed to moving points) instead of pre-aligning.")
]
Region = Annotated[str | None, option("Label map of the part of the fixed scan that matters.")]
BackwardTransform = Annotated[
    str | None, option("Transform of a registration the other way, for the inverse consistency.")
]

Preset = Annotated[str, typer.Option(help=f"How to register: {', '.join(PRESETS)}.")]
Model = Annotated[str | None, option("Name of a model (see the command models), or none; the preset's by default.")]
Models = Annotated[
    str,
    typer.Option(
        help="Models to compare, joined with commas: names as the command models lists them, none for no network, "
        "all for those of the preset's anatomy and modality and none."
    ),
]
Refine = Annotated[
    bool | None,
    typer.Option(
        "--refine/--no-refine",
        help="Optimize on the pair itself; the preset's choice by default.",
        show_default=False,
    ),
]
FoldFree = Annotated[
    bool, typer.Option("--fold-free/--allow-folds", help="Repair the transform until det J > 0 at every voxel.")
]
Symmetric = Annotated[
    bool, typer.Option("--symmetric", help="Register in both directions and let them agree; twice the time.")
]
Prealign = Annotated[
    str, typer.Option(help="Pre-alignment: auto (the preset's), none, translation, rigid or affine.")
]
Guide = Annotated[bool, typer.Option("--guide/--no-guide", help="Let the segmentations guide, not only measure.")]
GuideWithLandmarks = Annotated[
    bool,
    typer.Option("--guide-with-landmarks", help="Let the landmarks guide; they then no longer measure the result."),
]
Organs = Annotated[
    str,
    typer.Option(
        help="Find organs in the scans where nobody outlined them, to guide: auto (if the preset can), none."
    ),
]
Smoothness = Annotated[float, typer.Option(help="Factor on the preset's weight of smoothness; larger is smoother.")]
Steps = Annotated[int | None, option("Refinement steps of each level; the preset's by default.")]
GridSpacing = Annotated[
    float | None, option("Spacing of the transform's grid, mm; the fixed scan's grid by default.")
]
MemoryLimit = Annotated[
    float | None, option("Most memory that the deformable part may take, MB; what is free by default.")
]
Uncertainty = Annotated[
    bool, typer.Option("--uncertainty/--no-uncertainty", help="Estimate the error to expect, for report and metrics.")
]
Device = Annotated[str, typer.Option(help="Where to compute: auto, cpu, cuda or cuda:N.")]

Pairs = Annotated[
    Path,
    typer.Argument(
        help="CSV or TSV with the columns fixed and moving, and any of name, fixed_segmentation, "
        "moving_segmentation, landmarks, fixed_landmarks, moving_landmarks, fixed_mask, moving_mask, "
        "initial_transform, region, match, preset, model; or the dataset.json of a Learn2Reg task; or, with "
        "--moving-folder, a folder of fixed scans."
    ),
]
MovingFolder = Annotated[
    Path | None,
    option("Folder of the moving scans, each with the file name of its fixed one; NAME.seg.nrrd holds structures."),
]
Output = Annotated[Path, typer.Option(help="Folder for the results; a run that was interrupted goes on there.")]
Outputs = Annotated[
    str,
    typer.Option(
        help="What to write for each pair, of transform, inverse, volume, segmentation, jacobian, uncertainty, "
        "maps, dicom, report; joined with commas. Metrics are always written."
    ),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Pairs at a time; planned by default.")]
Scheduler = Annotated[
    str | None, option("Address of a Dask scheduler whose workers register instead of this machine.")
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Register those pairs again that failed in an earlier run.")
]
Atlas = Annotated[
    str | None,
    option(
        "Fuse the propagated labels of all pairs, which have one fixed scan, by majority or staple: "
        "fused_labels.nii.gz and agreement.nii.gz, the share of the atlases that agree."
    ),
]

Metrics = Annotated[str | None, option("Write all measures here (.json).")]
Report = Annotated[str | None, option("Write the report here (.html): pictures, measures and verdict on one page.")]
ReportTitle = Annotated[str | None, option("Heading of the report; by itself it names no patient and no file.")]

JsonProgress = Annotated[bool, typer.Option("--json-progress", help="Progress as JSON Lines on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show errors and notes only.")]
LogFile = Annotated[str | None, option("Append what happens, with times, to this file.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show the traceback of an error.")]

# The settings of a registration: each option with its default, by the name that ``register.settings_from`` takes.
SETTINGS: dict[str, tuple[Any, Any]] = {
    "preset": (Preset, "any"),
    "model": (Model, None),
    "refine": (Refine, None),
    "fold_free": (FoldFree, True),
    "symmetric": (Symmetric, False),
    "prealign": (Prealign, "auto"),
    "guide": (Guide, True),
    "guide_with_landmarks": (GuideWithLandmarks, False),
    "organs": (Organs, "auto"),
    "smoothness": (Smoothness, 1.0),
    "steps": (Steps, None),
    "grid_spacing": (GridSpacing, None),
    "memory_limit": (MemoryLimit, None),
    "uncertainty": (Uncertainty, True),
    "device": (Device, "auto"),
}
_LAST = ("json_progress", "quiet", "log_file", "verbose")  # options that follow the settings in the help

Command = TypeVar("Command", bound=Callable[..., None])


def takes_settings(*left_out: str) -> Callable[[Command], Command]:
    """Give a command the options of :data:`SETTINGS`; it finds their values in its context.

    Args:
        left_out: settings that the command decides itself.
    """
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in SETTINGS.items()
        if name not in left_out
    ]

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        own = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in signature.parameters.values()]
        own = [one for one in own if one.name != "_settings"]
        last = [one for one in own if one.name in _LAST]
        parameters = [*(one for one in own if one not in last), *added, *last]
        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {one.name: one.annotation for one in parameters}
        return command

    return decorate
