"""What a registration will do: decided once, before it begins, from what the user chose and what there is."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...core.images import Pair
from ...core.labels import Matches, shared_structures
from ...core.plans import DeformationPlan, RefinementPlan
from ...core.presets import Preset
from ...core.settings import RegistrationSettings

NO_MODEL = "none"


@dataclass(frozen=True, kw_only=True)
class RegistrationPlan:
    """All choices of a registration; what the memory and the scans decide on the way is not among them.

    Args:
        preset: how scans of this kind are registered.
        linear: ``"none"``, ``"translation"``, ``"rigid"`` or ``"affine"``.
        guide: the structures whose segmentations guide pre-alignment and refinement.
        landmarks_guide: True if the landmarks guide the refinement.
        anatomy: what is found in the scans by itself, as in the preset; None for nothing.
        model: name of the network's card; None for none.
        deformation: searches and refinement.
        symmetric: True if both directions are registered.
        uncertainty: True if the expected error is estimated, where there is a refinement.
    """

    preset: Preset
    linear: str
    guide: Matches
    landmarks_guide: bool
    anatomy: str | None
    model: str | None
    deformation: DeformationPlan
    symmetric: bool
    uncertainty: bool

    @property
    def estimates_error(self) -> bool:
        """True if the expected error will be known whatever initial field wins, as that field is refined.

        A network's field may be left as it is, see ``DeformationPlan.refine_network``.
        """
        refines = self.deformation.refine_network or (self.model is None and self.deformation.refine)
        return self.uncertainty and refines


def plan_registration(settings: RegistrationSettings, preset: Preset, pair: Pair) -> RegistrationPlan:
    """The plan of a registration.

    Args:
        settings: what the user chose.
        preset: the preset that the settings name, or one with other numbers.
        pair: the scans; their segmentations and landmarks guide if the settings allow it.
    """
    guide = shared_structures(pair) if settings.guide_with_segmentations else ()
    landmarks_guide = settings.guide_with_landmarks and pair.landmarks is not None
    refinement = _refinement(settings, preset, bool(guide), landmarks_guide)
    model = settings.model if settings.model is not None else preset.model
    refine = settings.refine is not False
    guided = refinement.masks > 0 or refinement.landmarks > 0
    return RegistrationPlan(
        preset=preset,
        linear=preset.linear if settings.prealign == "auto" else settings.prealign,
        guide=guide,
        landmarks_guide=landmarks_guide,
        # What a radiologist outlined is better than what a network finds, and leaves it nothing to do.
        anatomy=preset.anatomy if settings.organs == "auto" and not guide else None,
        model=None if model == NO_MODEL else model,
        deformation=DeformationPlan(
            refinement=refinement,
            search=preset.search,
            search_beside_network=preset.search_beside_network,
            network_search=preset.network_search,
            organs=preset.organs,
            refine=refine,
            refine_network=refine and (preset.network_refined or settings.refine is True or guided),
        ),
        symmetric=settings.symmetric,
        uncertainty=settings.uncertainty,
    )


def _refinement(settings: RegistrationSettings, preset: Preset, masks: bool, landmarks: bool) -> RefinementPlan:
    """The preset's refinement with the user's steps and regularity, and with weights for what guides it."""
    base = preset.refinement
    levels = base.levels
    if settings.iterations is not None:
        levels = tuple(replace(level, steps=settings.iterations) for level in levels)
    return replace(
        base,
        levels=levels,
        diffusion=base.diffusion * settings.regularity,
        curvature=base.curvature * settings.regularity,
        volume_change=base.volume_change * settings.regularity,
        masks=preset.guided_masks if masks else 0.0,
        landmarks=preset.guided_landmarks if landmarks else 0.0,
    )
