"""Options that several commands share, with their help."""

from __future__ import annotations

from typing import Annotated, Any

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

Preset = Annotated[str, typer.Option(help=f"How to register: {', '.join(PRESETS)}.")]
Model = Annotated[str | None, option("Name of a model (see the command models), or none; the preset's by default.")]
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

Metrics = Annotated[str | None, option("Write all measures here (.json).")]
Report = Annotated[str | None, option("Write the report here (.html): pictures, measures and verdict on one page.")]
ReportTitle = Annotated[str | None, option("Heading of the report; by itself it names no patient and no file.")]

JsonProgress = Annotated[bool, typer.Option("--json-progress", help="Progress as JSON Lines on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show errors and notes only.")]
LogFile = Annotated[str | None, option("Append what happens, with times, to this file.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show the traceback of an error.")]
