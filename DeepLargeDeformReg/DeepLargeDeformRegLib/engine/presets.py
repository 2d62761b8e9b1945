"""The presets: what the product does for each kind of scan, in one place.

All numbers were chosen on development scans alone (the sample lung pair, the abdominal CTs and the liver MRs named in
``training/README.md``), never on scans that a figure is published for.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import BadInputError
from .refine import RefinementLevel, RefinementPlan

Window = tuple[float, float]


@dataclass(frozen=True)
class GlobalStart:
    """Exhaustive search before refinement: cells of ``factor`` voxels, ``radius`` cells in each direction."""

    factor: int = 4
    radius: int = 4


@dataclass(frozen=True)
class Preset:
    """How one kind of scan is registered.

    Args:
        name: short name, as on the command line.
        title: name for people.
        description: what it is for.
        windows: intensity windows for the position search, in the scan's units; empty: the scan's own 1st to 99th
            percentile, scaled to 0..1, for scans without a standard unit. The first one is also used for refinement.
        linear: kind of linear pre-alignment.
        spacing_mm: working resolution of search and refinement.
        model: model card that gives the start, if it is installed.
        start: exhaustive search for a start, or None.
        refinement: instance optimization.
        organ: True if the segmentation outlines the organ that matters, so that similarity counts in it alone
            (sliding at its surface then costs nothing); False if it only marks structures within the scan.
        guided_masks: weight of the mask term when segmentations guide the refinement.
        guided_landmarks: weight of the landmark term when landmarks guide it, per mm^2.
    """

    name: str
    title: str
    description: str
    windows: tuple[Window, ...]
    linear: str
    spacing_mm: float
    model: str | None
    start: GlobalStart | None
    refinement: RefinementPlan
    organ: bool = False
    guided_masks: float = 0.3
    guided_landmarks: float = 0.002


LUNG_WINDOW = (-1000.0, 600.0)
SOFT_TISSUE_WINDOW = (-150.0, 250.0)

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="lung-ct",
            title="Lung CT, inspiration-expiration",
            description="CT of the lungs at two breathing states or two visits, in Hounsfield units.",
            windows=(LUNG_WINDOW,),
            linear="affine",
            spacing_mm=1.75,
            model=None,
            start=GlobalStart(),
            refinement=RefinementPlan(
                levels=(RefinementLevel(4, 30, 1.0), RefinementLevel(2, 60, 1.0)),
                diffusion=0.1,
                curvature=1.0,
            ),
            organ=True,
        ),
        Preset(
            name="liver-ct",
            title="Liver and abdomen CT",
            description="CT of the abdomen, between phases, visits or patients, in Hounsfield units.",
            windows=(SOFT_TISSUE_WINDOW, LUNG_WINDOW),
            linear="affine",
            spacing_mm=3.0,
            model="liver-ct-trial",
            start=GlobalStart(),
            refinement=RefinementPlan(
                levels=(RefinementLevel(4, 30, 1.0), RefinementLevel(2, 50, 1.0)),
                diffusion=0.3,
            ),
        ),
        Preset(
            name="mr-hippocampus",
            title="Brain MR, hippocampus",
            description="T1-weighted MR cropped to the hippocampus, between patients.",
            windows=(),
            linear="affine",
            spacing_mm=1.0,
            model=None,
            start=GlobalStart(factor=2, radius=3),
            refinement=RefinementPlan(
                levels=(RefinementLevel(2, 60, 0.5),),
                diffusion=0.3,
            ),
        ),
        Preset(
            name="any",
            title="Any scan, refinement only",
            description="Any two scans of one modality or two, without a network.",
            windows=(),
            linear="affine",
            spacing_mm=2.0,
            model=None,
            start=GlobalStart(),
            refinement=RefinementPlan(
                levels=(RefinementLevel(4, 30, 1.0), RefinementLevel(2, 60, 1.0)),
                diffusion=0.3,
            ),
        ),
    )
}


def find_preset(name: str) -> Preset:
    """Preset of a name.

    Raises:
        BadInputError: if there is none.
    """
    try:
        return PRESETS[name]
    except KeyError:
        raise BadInputError(f"There is no preset '{name}'; there are {', '.join(PRESETS)}.") from None
