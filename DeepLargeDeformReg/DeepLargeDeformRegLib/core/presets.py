"""The presets: what the product does for each kind of scan, in one place.

All numbers were chosen on development scans alone: the sample lung pair, two abdominal CTs, liver MRs of two people
and a dozen hippocampus pairs (see ``training/README.md``). Figures on the same scans are not figures on unseen ones.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from .errors import BadInputError
from .plans import RefinementLevel, RefinementPlan, SearchLevel
from .sentences import marked as _

Window = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
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
        model: model card of the network that gives the initial field, if it is installed.
        search: exhaustive searches for an initial field where no network gives one, coarse to fine; none if empty.
        search_beside_network: True searches so beside a network, too, unless outlines or organs guide.
        refinement: instance optimization.
        network_search: searches for what the network's field leaves; none if empty.
        network_refined: False leaves a network's field as it is unless refinement is asked for or there is guidance:
            a network that learned structures knows borders that intensities do not show.
        sliding: True if the segmentation outlines all that matters: the work is limited to its surroundings, and the
            field may slip along its surface; False if it only marks structures within the scan.
        anatomy: what is found in the scans by itself where nobody outlined it: ``"lungs"``, or the name of a model
            that finds organs; None for nothing.
        organs: weight of these organs in searches, see :class:`.plans.DeformationPlan`.
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
    search: tuple[SearchLevel, ...]
    refinement: RefinementPlan
    search_beside_network: bool = False
    network_search: tuple[SearchLevel, ...] = ()
    network_refined: bool = True
    sliding: bool = False
    anatomy: str | None = None
    organs: float = 0.0
    guided_masks: float = 2.0
    guided_landmarks: float = 0.002


LUNG_WINDOW = (-1000.0, 600.0)
SOFT_TISSUE_WINDOW = (-150.0, 250.0)

# Cells of 4, 3 and 2 voxels; at 1.75 mm the three reach 28 + 16 + 7 mm in each direction.
GLOBAL_SEARCH = (SearchLevel(4, 4), SearchLevel(3, 3), SearchLevel(2, 2))
# Little diffusion lets structures slide past each other; the barrier on the volume change keeps them from folding.
LARGE_DEFORMATION = RefinementPlan(
    levels=(RefinementLevel(4, 30, 1.0), RefinementLevel(2, 60, 1.0)),
    diffusion=0.03,
    volume_change=0.02,
    mind_dilation=2,
)

# Between patients: each level adds an update of its own (registration/solve.py).
FOUR_UPDATES = (
    RefinementLevel(4, 30, 1.5, organs=2.0),
    RefinementLevel(2, 30, 1.2, organs=1.0),
    RefinementLevel(2, 30, 1.2, organs=0.3),
    RefinementLevel(2, 30, 0.8),
)

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="lung-ct",
            title=_("Lung CT, inspiration-expiration"),
            description=_("CT of the lungs at two breathing states or two visits, in Hounsfield units."),
            windows=(LUNG_WINDOW,),
            linear="affine",
            spacing_mm=1.75,
            model=None,
            search=GLOBAL_SEARCH,
            refinement=LARGE_DEFORMATION,
            sliding=True,
            anatomy="lungs",
        ),
        Preset(
            name="liver-ct",
            title=_("Liver and abdomen CT"),
            description=_("CT of the abdomen, between phases, visits or patients, in Hounsfield units."),
            windows=(SOFT_TISSUE_WINDOW, LUNG_WINDOW),
            linear="affine",
            spacing_mm=3.0,
            model="liver-ct",
            search=GLOBAL_SEARCH,
            search_beside_network=True,
            refinement=dataclasses.replace(LARGE_DEFORMATION, levels=FOUR_UPDATES, updates=True),
            network_search=(SearchLevel(3, 2),),
            anatomy="abdomen-ct-organs",
            organs=1.0,
        ),
        Preset(
            name="mr-hippocampus",
            title=_("Brain MR, hippocampus"),
            description=_("T1-weighted MR cropped to the hippocampus, between patients."),
            windows=(),
            linear="translation",
            spacing_mm=1.0,
            model="hippocampus-mr-lapirn",
            search=(SearchLevel(2, 3), SearchLevel(1, 2)),
            refinement=RefinementPlan(levels=(RefinementLevel(2, 40, 0.3),), diffusion=0.1, volume_change=0.01),
            network_refined=False,
        ),
        Preset(
            name="any",
            title=_("Any scan, refinement only"),
            description=_("Any two scans of one modality or two, without a network."),
            windows=(),
            linear="affine",
            spacing_mm=1.5,
            model=None,
            search=(SearchLevel(6, 4), SearchLevel(4, 3), SearchLevel(2, 2)),
            refinement=dataclasses.replace(
                LARGE_DEFORMATION,
                levels=(RefinementLevel(8, 20, 1.5), *LARGE_DEFORMATION.levels),
                diffusion=0.02,
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
        raise BadInputError(
            _("There is no preset '{name}'; there are {presets}.").format(name=name, presets=", ".join(PRESETS))
        ) from None
