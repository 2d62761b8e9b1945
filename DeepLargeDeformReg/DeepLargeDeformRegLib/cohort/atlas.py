"""Labels of one fixed scan from those of many moving ones: each is propagated, then they are fused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import SimpleITK as sitk

from ..core import files
from ..core.errors import BadInputError
from ..core.images import LabelMap, Volume
from ..core.sentences import marked as _
from .pairs import CohortPair

Fusion = Literal["majority", "staple"]
FUSED = "fused_labels.nii.gz"
AGREEMENT = "agreement.nii.gz"


def check_atlases(pairs: Sequence[CohortPair], fusion: str) -> None:
    """Refuse pairs whose labels cannot be fused, before they are registered.

    Raises:
        BadInputError: if they have not one fixed scan and a segmentation each, or there is no such fusion.
    """
    if fusion not in get_args(Fusion):
        raise BadInputError(
            _("There is no fusion '{fusion}'; there are {fusions}.").format(
                fusion=fusion, fusions=", ".join(get_args(Fusion))
            )
        )
    if len({str(Path(pair.files["fixed"]).resolve()) for pair in pairs}) > 1:
        raise BadInputError(_("Atlases are registered to one fixed scan; the table names several."))
    without = [pair.name for pair in pairs if "moving_segmentation" not in pair.files]
    if without:
        raise BadInputError(
            _("These atlases have no moving_segmentation: {without}.").format(without=", ".join(without[:10]))
        )


def fuse_labels(maps: Sequence[LabelMap], fusion: Fusion) -> tuple[LabelMap, Volume]:
    """One label map of several on one grid, whose values mean the same structures, and how far they agree.

    ``majority``: the label that most have, the smallest one (background before all) where several are equal
    (Heckemann et al., NeuroImage 2006). ``staple``: the most probable label, each map weighted by how reliable it
    shows itself to be (Warfield, Zou and Wells, TMI 2004; for several labels Rohlfing et al., IPMI 2003), background
    where undecided.

    Returns:
        The fused labels, and at each voxel the share (0..1) of the maps that have the fused label there.
    """
    first = maps[0]
    arrays = [one.array for one in maps]
    if fusion == "staple":
        images = [sitk.GetImageFromArray(array.astype(np.uint16)) for array in arrays]
        fused = sitk.GetArrayFromImage(sitk.MultiLabelSTAPLE(images, 0)).astype(first.array.dtype)
    else:
        fused = np.zeros_like(first.array)
        most = np.zeros(fused.shape, np.int32)
        for value in sorted({0, *(label.value for one in maps for label in one.labels)}):
            votes = sum((array == value).astype(np.int32) for array in arrays)
            fused[votes > most] = value
            most = np.maximum(most, votes)
    agreement = sum((array == fused).astype(np.float32) for array in arrays) / len(arrays)
    labels = tuple({label.value: label for one in maps for label in one.labels}.values())
    return LabelMap(fused, first.grid, labels), Volume(agreement, first.grid)


def fuse_files(paths: Sequence[Path], output: Path, fusion: Fusion) -> None:
    """Fuse the propagated labels of the atlases and write labels and agreement into a folder.

    Raises:
        BadInputError: without any labels.
        OutputError: if a file cannot be written.
    """
    if not paths:
        raise BadInputError(_("No atlas could be registered, so there are no labels to fuse."))
    maps = [files.read_label_map(path) for path in paths]
    labels, agreement = fuse_labels(maps, fusion)
    files.write_label_map(labels, output / FUSED)
    files.write_volume(agreement, output / AGREEMENT)
