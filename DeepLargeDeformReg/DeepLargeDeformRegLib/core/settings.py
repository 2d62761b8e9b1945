"""What the user chooses about a registration: one immutable record, the same for the GUI, the CLI and the worker."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import BadInputError
from .sentences import marked as _

LINEAR_KINDS = ("auto", "none", "translation", "rigid", "affine")
ORGANS_CHOICES = ("auto", "none")


@dataclass(frozen=True, kw_only=True)
class RegistrationSettings:
    """Choices that hold for a whole registration.

    Args:
        preset: name of a preset in :mod:`presets`.
        model: name of a model card; None takes the preset's model, ``"none"`` runs without a network.
        refine: instance optimization of the initial field; None takes the preset's choice.
        fold_free: repair the field until det J > 0 at every voxel of the output grid; what folds is no anatomy.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        prealign: linear pre-alignment: ``"auto"`` (the preset's), ``"none"``, ``"translation"``, ``"rigid"`` or
            ``"affine"``.
        guide_with_segmentations: let the segmentations, if there are any, guide pre-alignment and refinement.
        guide_with_landmarks: let the landmarks, if there are any, guide refinement; they then no longer measure it.
        organs: ``"auto"`` finds organs in the scans by itself where the preset can and nobody outlined them;
            ``"none"`` does not.
        output_spacing_mm: spacing of the transform's grid; None writes it on the fixed grid.
        iterations: steps of each refinement level; None takes the preset's.
        regularity: factor on the preset's regularity weights; larger is smoother.
        symmetric: register in both directions and let the two maps agree; takes twice the time.
        uncertainty: map the error to expect, from what still differs, how much the map bends and, with ``symmetric``,
            where both directions disagree.
        memory_limit_mb: most memory that a plan may take; None takes what the device has free.
    """

    preset: str = "any"
    model: str | None = None
    refine: bool | None = None
    fold_free: bool = True
    device: str = "auto"
    prealign: str = "auto"
    guide_with_segmentations: bool = True
    guide_with_landmarks: bool = False
    organs: str = "auto"
    output_spacing_mm: float | None = None
    iterations: int | None = None
    regularity: float = 1.0
    symmetric: bool = False
    uncertainty: bool = True
    memory_limit_mb: float | None = None

    def __post_init__(self) -> None:
        if self.prealign not in LINEAR_KINDS:
            raise BadInputError(
                _("Pre-alignment '{prealign}' is not one of {choices}.").format(
                    prealign=self.prealign, choices=", ".join(LINEAR_KINDS)
                )
            )
        if self.organs not in ORGANS_CHOICES:
            raise BadInputError(
                _("Organs '{organs}' is not one of {choices}.").format(
                    organs=self.organs, choices=", ".join(ORGANS_CHOICES)
                )
            )
        if self.iterations is not None and self.iterations < 1:
            raise BadInputError(_("The number of refinement steps must be at least 1."))
        if not 0 < self.regularity < float("inf"):
            raise BadInputError(_("The smoothness (regularity) must be a positive number."))
        for value, text in (
            (self.output_spacing_mm, _("The grid spacing of the transform must be a positive number of mm.")),
            (self.memory_limit_mb, _("The memory limit must be a positive number of MB.")),
        ):
            if value is not None and not 0 < value < float("inf"):
                raise BadInputError(text)

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary of all settings."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RegistrationSettings:
        """Settings from a dictionary; what is missing takes its default, unknown names are refused."""
        unknown = sorted(set(values) - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise BadInputError(_("Unknown setting: {unknown}.").format(unknown=", ".join(unknown)))
        return cls(**values)
