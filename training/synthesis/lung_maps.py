"""Lungs for synthesis from label maps of any kind: masks, lobes, with airways and vessels or without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import torch
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.files.volumes import read_image
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine import fields
from scipy import ndimage
from torch import Tensor

from .draw import blur
from .shapes import Shape, centered, split_lungs

LEFT_LOBES, RIGHT_LOBES = (1, 2), (3, 4, 5)
_CLOSING = 4  # voxels by which lobes reach over vessels and airways


@dataclass(frozen=True)
class MapKind:
    """What the values of a kind of label maps are.

    Args:
        lungs: values that are lung; all but 0 by default. What they enclose is lung, too.
        lobes: whether 1 to 5 are the lobes as in :data:`.thorax.STRUCTURES`.
        vessels: value of the vessels, or 0 if there are none.
        airways: likewise.
    """

    lungs: tuple[int, ...] = ()
    lobes: bool = False
    vessels: int = 0
    airways: int = 0


@dataclass(frozen=True, eq=False)
class LungParts:
    """What a label map says of the inside of lungs, on a patient's grid.

    Args:
        lobes: 1 to 5 as in :data:`.thorax.STRUCTURES`, ``(D, H, W)`` int64, or None.
        vessels: share of each voxel, ``(D, H, W)``, or None.
        airways: likewise.
    """

    lobes: Tensor | None = None
    vessels: Tensor | None = None
    airways: Tensor | None = None


@dataclass(frozen=True, eq=False)
class LungShape:
    """A pair of lungs (1 right, 2 left) with the label map that they are from, and what it shows besides."""

    lungs: Shape
    source: npt.NDArray[np.uint8]
    kind: MapKind

    def parts_on(self, grid: ImageGrid, device: torch.device) -> LungParts:
        """What is inside the lungs, on another grid."""
        lobes = vessels = airways = None
        if self.kind.lobes:
            only = np.where(self.source <= max(RIGHT_LOBES), self.source, 0).astype(np.uint8)
            lobes = Shape(self.lungs.name, only, self.lungs.grid).on(grid, device, (*LEFT_LOBES, *RIGHT_LOBES))
        if self.kind.vessels:
            vessels = self._share(self.kind.vessels, grid, device)
        if self.kind.airways:
            airways = self._share(self.kind.airways, grid, device)
        return LungParts(lobes, vessels, airways)

    def _share(self, value: int, grid: ImageGrid, device: torch.device) -> Tensor:
        mask = torch.from_numpy(self.source == value).to(device).float()
        # Thin structures: each voxel of a coarser grid takes the mean around it, not what its middle meets.
        wider = max(g**2 - s**2 for g, s in zip(grid.spacing, self.lungs.grid.spacing, strict=True))
        mask = blur(mask, 0.35 * max(wider, 0.0) ** 0.5, self.lungs.grid)
        return fields.warp(mask[None, None], self.lungs.grid, fields.identity(grid, device=device))[0, 0]


def read_lungs(folder: Path, names: Sequence[str], kinds: Mapping[str, MapKind]) -> list[LungShape]:
    """Lungs from label maps.

    Args:
        folder: under which the maps lie.
        names: of the maps below it, without ``.nii.gz``, such as ``labelmaps-lobes/henda/labels``.
        kinds: of maps, by the first folder of their names; others are masks.

    Raises:
        BadInputError: if a map is missing, or has no two lungs.
    """
    shapes = []
    for name in names:
        path = folder / f"{name}.nii.gz"
        if not path.is_file():
            raise BadInputError(f"The folder {folder.name} has no label map {name}.")
        image = sitk.DICOMOrient(sitk.Cast(read_image(path), sitk.sitkUInt8), "LPS")
        kind = kinds.get(Path(name).parts[0], MapKind())
        shapes.append(_lungs_of(centered(name, _within_lungs(image, kind)), kind))
    return shapes


def _within_lungs(image: sitk.Image, kind: MapKind) -> sitk.Image:
    """The map without what lies beyond the box of the lungs, such as the windpipe above them."""
    array = sitk.GetArrayFromImage(image)
    where = np.argwhere(_lung_voxels(array, kind))
    if len(where) == 0:
        return image
    box = tuple(slice(low, high + 1) for low, high in zip(where.min(axis=0), where.max(axis=0), strict=True))
    cut = np.zeros_like(array)
    cut[box] = array[box]
    result = sitk.GetImageFromArray(cut)
    result.CopyInformation(image)
    return result


def _lung_voxels(array: npt.NDArray[np.uint8], kind: MapKind) -> npt.NDArray[np.bool_]:
    if kind.lobes:
        return np.isin(array, (*LEFT_LOBES, *RIGHT_LOBES))
    return np.isin(array, kind.lungs) if kind.lungs else array > 0


def _lungs_of(shape: Shape, kind: MapKind) -> LungShape:
    mask = _lung_voxels(shape.array, kind)
    if not kind.lobes:
        return LungShape(split_lungs(Shape(shape.name, mask.astype(np.uint8), shape.grid)), shape.array, kind)
    sides = np.zeros(shape.array.shape, np.uint8)
    tubes = np.isin(shape.array, [value for value in (kind.vessels, kind.airways) if value])
    for side, lobes in ((1, RIGHT_LOBES), (2, LEFT_LOBES)):
        own = np.isin(shape.array, lobes)
        if not own.any():
            raise BadInputError(f"The label map {shape.name} lacks the lobes of a lung.")
        # Vessels and airways among the lobes are lung, those between the lungs are not.
        sides[own | (tubes & ndimage.binary_closing(own, iterations=_CLOSING))] = side
    return LungShape(Shape(shape.name, sides, shape.grid), shape.array, kind)
