"""Shapes of real organs for synthesis: label maps of livers, masks of lungs, and how lungs breathe.

Label maps are put into LPS as their headers say, and what shows that a header is wrong is seen to: of the livers of
LiTS, about 20 are mirrored with a wrong spacing (left out); the masks of COPDgene lie prone (turned round).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import torch
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.files import read_label_map, read_volume
from DeepLargeDeformRegLib.core.files.volumes import read_image
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.device import constant
from DeepLargeDeformRegLib.engine.fields import DisplacementField, as_tensor
from scipy import ndimage
from scipy.interpolate import RBFInterpolator
from torch import Tensor

from ..data.subjects import volume_files
from .draw import blur, ends
from .torso import ScannedPatient

LATTICE = 9
"""Nodes along each axis on which a breathing motion is kept."""


@dataclass(frozen=True, eq=False)
class Shape:
    """A label map ``(D, H, W)`` uint8 on an axis-aligned LPS grid whose middle is that of the organ."""

    name: str
    array: npt.NDArray[np.uint8]
    grid: ImageGrid

    def on(self, grid: ImageGrid, device: torch.device, values: Sequence[int]) -> Tensor:
        """The label map on another grid, ``(D, H, W)`` int64; each voxel has its largest share."""
        labels = torch.from_numpy(self.array).to(device)
        shares = torch.stack([(labels == value).float() for value in values])[None]
        warped = fields.warp(shares, self.grid, fields.identity(grid, device=device))[0]
        share, index = warped.max(dim=0)
        inside = warped.sum(dim=0) > 0.5
        return torch.where(inside & (share > 0), constant(values, index)[index], 0)

    def mirrored(self, exchange: dict[int, int]) -> Shape:
        """Its mirror image from left to right, with the labels of the two sides exchanged."""
        both = {**exchange, **{b: a for a, b in exchange.items()}}
        table = np.array([both.get(value, value) for value in range(256)], dtype=np.uint8)
        return Shape(self.name, np.ascontiguousarray(table[self.array[:, :, ::-1]]), self.grid)


def liver_shapes(folder: Path, names: Sequence[str] = ()) -> list[Shape]:
    """Livers with Couinaud segments 1 ... 8, one file each.

    Args:
        folder: of label maps.
        names: which to take; all that are whole livers of a plausible size and form by default.

    Raises:
        BadInputError: if there is none, or one that is named is none.
    """
    files = volume_files(folder)
    missing = [name for name in names if name not in files]
    if missing:
        raise BadInputError(f"The folder {folder.name} has no label map {missing[0]}.")
    shapes = []
    for name in names or files:
        shape = centered(name, _read_lps(files[name]))
        flaw = liver_flaw(shape)
        if flaw and names:
            raise BadInputError(f"{name} cannot be used for synthesis: {flaw}.")
        if not flaw:
            shapes.append(shape)
    if not shapes:
        raise BadInputError(f"The folder {folder.name} has no label map of a whole liver with segments 1 to 8.")
    return shapes


def liver_flaw(shape: Shape) -> str:
    """Why a label map is not a whole liver; empty if it is one."""
    present = set(np.unique(shape.array).tolist()) - {0}
    if not set(range(1, 9)) <= present:
        return f"segments {sorted(set(range(1, 9)) - present)} are missing"
    if not _is_upright_liver(shape.array):
        return "it is mirrored, or its axes are not what its header says"
    spans = [np.ptp(axis) * s for axis, s in zip(np.nonzero(shape.array)[::-1], shape.grid.spacing, strict=True)]
    volume = float(np.count_nonzero(shape.array)) * shape.grid.voxel_volume / 1000
    if not 600 <= volume <= 3500:
        return f"its volume is {volume:.0f} ml"
    if not (120 <= spans[0] <= 270 and 90 <= spans[1] <= 230 and 100 <= spans[2] <= 270):
        return "its extent is {:.0f} x {:.0f} x {:.0f} mm".format(*spans)
    return ""


def lung_shapes(folder: Path, names: Sequence[str] = ()) -> list[Shape]:
    """Pairs of lungs from masks: 1 the right one, 2 the left one.

    Args:
        folder: of masks, named ``*_mask``.
        names: which to take, such as ``case01_exp_mask``; all by default.

    Raises:
        BadInputError: if there is none, or a mask has no two lungs.
    """
    files = {name: path for name, path in volume_files(folder).items() if name.endswith("_mask")}
    missing = [name for name in names if name not in files]
    if missing or not files:
        raise BadInputError(f"The folder {folder.name} has no mask {missing[0] if missing else '*_mask.nii.gz'}.")
    return [split_lungs(_supine(centered(name, _read_lps(files[name])))) for name in names or files]


def split_lungs(shape: Shape) -> Shape:
    """Tell the two lungs of a mask apart: by the midline, moved to where the fewest voxels are cut.

    Raises:
        BadInputError: if there is one lung only.
    """
    mask = ndimage.binary_fill_holes(shape.array > 0)
    profile = mask.sum(axis=(0, 1)).astype(float)
    present = np.flatnonzero(profile)
    if len(present) == 0:
        raise BadInputError(f"The lung mask {shape.name} is empty.")
    width = present[-1] - present[0]
    center = slice(present[0] + int(0.3 * width), present[0] + int(0.7 * width) + 1)
    cut = center.start + int(np.argmin(ndimage.gaussian_filter1d(profile, 2)[center]))
    result = np.zeros(mask.shape, np.uint8)
    for value, part in ((1, slice(None, cut)), (2, slice(cut, None))):
        components, count = ndimage.label(mask[:, :, part])
        if count == 0:
            raise BadInputError(f"The lung mask {shape.name} has one lung only.")
        sizes = np.bincount(components.ravel())[1:]
        result[:, :, part][components == 1 + int(np.argmax(sizes))] = value
    if min(np.count_nonzero(result == 1), np.count_nonzero(result == 2)) < 0.2 * np.count_nonzero(result):
        raise BadInputError(f"The lung mask {shape.name} has one lung only.")
    return Shape(shape.name, result, shape.grid)


@dataclass(frozen=True, eq=False)
class Breathing:
    """Motion of one patient's lungs from expiration to inspiration, in units of the lungs' box.

    Args:
        motion: displacement ``(3, n, n, n)`` over the box (axes z, y, x; components x, y, z), as shares of its edges.
    """

    motion: Tensor

    def velocity(self, lungs: Tensor, grid: ImageGrid, strength: float) -> DisplacementField:
        """This motion laid over other lungs, mm; it slides along the wall of the mask.

        Args:
            lungs: what moves, ``(D, H, W)`` bool: lungs and the organs under them.
            grid: axis aligned.
            strength: 1 for the motion as it was, negative ones for the way back.
        """
        box = ends(lungs)
        nodes = self.motion.shape[-1] - 1
        position = fields.points(ImageGrid.axis_aligned(grid.size, (1.0, 1.0, 1.0)), lungs.device)
        index = [(position[:, a] - low) / max(high - low, 1) * nodes for a, (low, high) in enumerate(box)]
        motion = self.motion.to(lungs.device, non_blocking=True)[None]
        shares = fields.sample(motion, torch.stack(index, dim=1), padding="border")
        edges = [(high - low) * s for (low, high), s in zip(box, grid.spacing, strict=True)]
        size = constant(edges, shares).reshape(1, 3, 1, 1, 1)
        weight = blur(lungs.float(), 0.7 * max(grid.spacing), grid)
        return DisplacementField(strength * shares * size * weight, grid)


@dataclass(frozen=True)
class RealScan:
    """A real scan that may be used for training, deformed into pairs with itself.

    Args:
        image: its file, HU.
        labels: its label map.
        structures: value in the synthetic anatomy of each value of the label map that is used, such as ``{5: 9}``;
            where the map does not tell the lungs apart, of the right one (1) and the left one (2).
        both_lungs: value of the label map that is both lungs, if it does not; the map is in LPS then.
    """

    image: str
    labels: str
    structures: Mapping[int, int]
    both_lungs: int = 0

    def on(self, grid: ImageGrid, root: Path, device: torch.device) -> ScannedPatient:
        """The scan on a grid whose middle is laid on that of its structures.

        Raises:
            BadInputError: if a file cannot be read or the label map has none of the structures.
        """
        volume = read_volume(root / self.image)
        labels = read_label_map(root / self.labels, volume.grid)
        if self.both_lungs:
            both = Shape(Path(self.labels).name, (labels.array == self.both_lungs).astype(np.uint8), labels.grid)
            labels = replace(labels, array=split_lungs(both).array)
        where = np.argwhere(np.isin(labels.array, list(self.structures)))
        if len(where) == 0:
            raise BadInputError(f"{Path(self.labels).name} has none of the labels {list(self.structures)}.")
        corners = labels.grid.to_physical(np.stack([where.min(axis=0), where.max(axis=0)])[:, ::-1])
        matrix = np.eye(4)
        matrix[:3, 3] = corners.mean(axis=0) - grid.center
        place = fields.from_affine(matrix, grid, device)
        image = fields.warp(as_tensor(volume, device), volume.grid, place, fill=-1000.0)[0, 0]
        structures = np.zeros(labels.array.shape, np.float32)
        for value, target in self.structures.items():
            structures[labels.array == value] = target
        maps = torch.from_numpy(structures).to(device)[None, None]
        target_labels = fields.warp(maps, labels.grid, place, mode="nearest")[0, 0].to(torch.uint8)
        body = blur((image > -300).float(), 15.0, grid) > 0.6
        return ScannedPatient(grid, image, target_labels, body)


def breathing_motions(folder: Path, names: Sequence[str] = ()) -> list[Breathing]:
    """Breathing of the cases of DIR-Lab COPDgene from their landmarks (expiration and inspiration, voxel indices).

    Thin-plate splines through 300 landmarks each; the files are ``caseNN_landmarks.csv`` beside the masks.

    Args:
        folder: of masks and landmarks.
        names: masks of the cases that are wanted (``caseNN_insp_mask``); all by default.

    Raises:
        BadInputError: if the folder has no landmarks.
    """
    tables = sorted(folder.glob("case*_landmarks.csv"))
    if not tables:
        raise BadInputError(f"The folder {folder.name} has no landmarks (case01_landmarks.csv ...).")
    wanted = {name.split("_")[0] for name in names}
    tables = [path for path in tables if not wanted or path.name.split("_")[0] in wanted]
    return [_breathing(path, folder / path.name.replace("_landmarks.csv", "_exp_mask.nii.gz")) for path in tables]


def _breathing(table: Path, mask: Path) -> Breathing:
    image = read_image(mask)
    grid = ImageGrid.from_image(image)
    with table.open(encoding="utf-8", newline="") as stream:
        rows = [[float(row[f"{s}_{a}"]) for s in ("exp", "insp") for a in "ijk"] for row in csv.DictReader(stream)]
    index = np.array(rows)
    expiration, inspiration = grid.to_physical(index[:, :3]), grid.to_physical(index[:, 3:])
    lungs = _read_lps(mask)
    inside = ImageGrid.from_image(lungs).to_physical(np.argwhere(sitk.GetArrayViewFromImage(lungs) > 0)[:, ::-1])
    low, high = inside.min(axis=0), inside.max(axis=0)
    position, motion = (expiration - low) / (high - low), (inspiration - expiration) / (high - low)
    if _is_prone(sitk.GetArrayViewFromImage(lungs)):
        position[:, :2] = 1 - position[:, :2]
        motion[:, :2] *= -1
    # How the lungs' tips moved says where the patient lay, not how he breathes.
    motion = motion - motion[position[:, 2] >= np.quantile(position[:, 2], 0.9)].mean(axis=0)
    spline = RBFInterpolator(position, motion, smoothing=1e-3, degree=1)
    steps = np.linspace(0, 1, LATTICE)
    z, y, x = np.meshgrid(steps, steps, steps, indexing="ij")
    nodes = spline(np.stack([x, y, z], axis=-1).reshape(-1, 3))
    # Beyond the landmarks a spline runs away; lungs do not.
    limit = np.abs(motion).max(axis=0)
    nodes = np.clip(nodes, -limit, limit).reshape(LATTICE, LATTICE, LATTICE, 3)
    return Breathing(torch.from_numpy(np.moveaxis(nodes, -1, 0).astype(np.float32)))


def _read_lps(path: Path) -> sitk.Image:
    return sitk.DICOMOrient(sitk.Cast(read_image(path), sitk.sitkUInt8), "LPS")


def centered(name: str, image: sitk.Image) -> Shape:
    """A label map in LPS as a shape: the organ's box with a margin of two voxels, its middle at the origin."""
    array = sitk.GetArrayFromImage(image)
    where = np.argwhere(array > 0)
    if len(where) == 0:
        raise BadInputError(f"The label map {name} is empty.")
    low, high = np.maximum(where.min(axis=0) - 2, 0), where.max(axis=0) + 3
    array = np.ascontiguousarray(array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))])
    spacing = image.GetSpacing()
    origin = [-(n - 1) / 2 * s for n, s in zip(array.shape[::-1], spacing, strict=True)]
    return Shape(name, array, ImageGrid.axis_aligned(array.shape[::-1], spacing, origin))


def _is_upright_liver(segments: npt.NDArray[np.uint8]) -> bool:
    """True if segments 5 to 8 are right of 2 and 3, 6 and 7 behind 5 and 8, and 7 and 8 above 5 and 6."""

    def middle(values: Sequence[int], axis: int) -> float:
        return float(np.nonzero(np.isin(segments, values))[axis].mean())

    return (
        middle((5, 6, 7, 8), 2) < middle((2, 3), 2)
        and middle((6, 7), 1) > middle((5, 8), 1)
        and middle((7, 8), 0) > middle((5, 6), 0)
    )


def _is_prone(lungs: npt.NDArray) -> bool:
    """True if the axes x and y of a mask point the other way: lungs reach lowest at the back."""
    where = np.argwhere(lungs > 0)
    lowest = where[where[:, 0] <= np.percentile(where[:, 0], 5)]
    return bool(lowest[:, 1].mean() < (where[:, 1].min() + where[:, 1].max()) / 2)


def _supine(shape: Shape) -> Shape:
    """Turned by 180 degrees about the long axis if the header had it the wrong way."""
    if not _is_prone(shape.array):
        return shape
    return Shape(shape.name, np.ascontiguousarray(shape.array[:, ::-1, ::-1]), shape.grid)
