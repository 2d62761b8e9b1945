"""From a configuration's data section to pairs in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.images import LabelMap, LandmarkPairs, Volume
from DeepLargeDeformRegLib.engine.device import constant
from DeepLargeDeformRegLib.engine.models import load_model
from DeepLargeDeformRegLib.resources import MODELS

from ..config import ROOT, Config, GridConfig
from ..data import DataSet, Pair, Subject, open_data_set, read_names, read_pair_names
from ..schema import build
from ..synthesis import SynthesisSettings, open_pairs
from .augmentation import Augmented
from .disk import DiskScans
from .kept import KeptSample
from .samples import (
    ListedPairs,
    PairSource,
    Sample,
    Scan,
    SubjectPairs,
    Vary,
    grid_around,
    place,
    training_grid,
)
from .shapes import OtherShapes

Point = tuple[float, float, float]


VALIDATION_PAIRS = 12  # of synthetic ones
BOX_MARGIN = 0.05  # of the box of a mask, added on each side; the paper gives none


class Synthetic:
    """Pairs drawn by ``training.synthesis``, as the network sees them."""

    def __init__(self, config: Config, names: list[str], device: torch.device | str) -> None:
        settings = build(SynthesisSettings, config.data.options, "data.options")
        folder, grid = resolve(config.data.folder), training_grid(config.grid)
        self.channels, self.masks = config.channels, config.data.masks
        self.pairs = open_pairs(settings, folder, grid, config.data.labels, names, device, ROOT)
        self.distinct = settings.distinct
        self._kept: dict[int, KeptSample] = {}

    def draw(self, generator: torch.Generator) -> Sample:
        if not self.distinct:
            return self._made(generator)
        number, turned = (int(torch.randint(n, (), generator=generator)) for n in (self.distinct, 2))
        if number not in self._kept:
            self._kept[number] = KeptSample.of(self._made(torch.Generator().manual_seed(number)))
        return self._kept[number].sample(turned=bool(turned))

    def _made(self, generator: torch.Generator) -> Sample:
        pair = self.pairs.draw(generator)
        fixed, moving = (
            Scan(
                torch.cat([channel.apply(scan.image[None]) for channel in self.channels], dim=1)[0],
                scan.labels,
                scan.mask if self.masks else None,
            )
            for scan in (pair.fixed, pair.moving)
        )
        first, second = (
            None if p is None else p - constant(pair.grid.origin, p) for p in (pair.fixed_points, pair.moving_points)
        )
        return Sample(
            fixed=fixed, moving=moving, fixed_points=first, moving_points=second, same_patient=pair.same_patient
        )


def training_source(config: Config, device: torch.device | str = "cpu", on_disk: Path | None = None) -> PairSource:
    """Pairs to train on, augmented.

    All scans are read once and kept in the processor's memory (1 GB for 20 scans of 192x160x192 voxels with one
    channel and five structures, in each process), or on the disk; what is drawn goes to the device. Synthetic ones
    are made there.

    Args:
        config: of the run.
        device: where pairs are drawn to.
        on_disk: folder in which the scans are kept instead of in memory, for as long as the process lives.

    Raises:
        BadInputError: if the data are missing or not what the configuration says.
        OutputError: if the folder on the disk has no room for the scans.
    """
    source: PairSource
    if config.data.kind == "synthetic":
        names = read_names(resolve(config.data.train)) if config.data.train else []
        source = Synthetic(config, names, device)
        return Augmented(source, config.augmentation, training_grid(config.grid))
    data_set = open_training_data(config)
    store = None if on_disk is None else DiskScans(on_disk).moved
    if config.data.kind == "subjects":
        scans = (load_scan(config, subject, training=True) for subject in _subjects(config, data_set))
        source = SubjectPairs(scans, device, store, _shapes(config, device))
    else:
        samples = (load_pair(config, pair, training=True) for pair in pairs_of(config.data.train, data_set))
        source = ListedPairs(samples, both_ways=config.data.both_ways, device=device, store=store)
    return Augmented(source, config.augmentation, training_grid(config.grid))


def _shapes(config: Config, device: torch.device | str) -> Vary | None:
    """What moves scans towards the shapes of others, if the configuration wants it."""
    settings = config.augmentation
    if not settings.shapes_by:
        return None
    model = load_model(settings.shapes_by, device, [MODELS])
    return OtherShapes(model, training_grid(config.grid), settings.shape, settings.blend).vary


def validation_samples(config: Config) -> list[Sample]:
    """Pairs to validate on; none if the configuration names none."""
    if not config.data.validation:
        return []
    if config.data.kind == "synthetic":
        source = Synthetic(config, read_names(resolve(config.data.validation)), "cpu")
        return [source.draw(torch.Generator().manual_seed(number)) for number in range(VALIDATION_PAIRS)]
    pairs = pairs_of(config.data.validation, open_training_data(config))
    if config.data.kind == "pairs":
        return [load_pair(config, pair) for pair in pairs]
    subjects = {subject.name: subject for pair in pairs for subject in (pair.fixed, pair.moving)}
    scans = {name: load_scan(config, subject) for name, subject in subjects.items()}
    return [Sample(fixed=scans[pair.fixed.name], moving=scans[pair.moving.name]) for pair in pairs]


def open_training_data(config: Config) -> DataSet:
    """The data set of a configuration."""
    return open_data_set(config.data.reader, resolve(config.data.folder), **config.data.options)


def load_scan(config: Config, subject: Subject, training: bool = False) -> Scan:
    """One subject on the training grid, aligned by itself; to train on, with labels and mask as configured."""
    volume, labels, mask = subject.image(), subject.labels(), subject.mask()
    center = center_of(volume, labels, mask, config)
    grid = grid_of(subject.name, labels, mask, config)
    return _placed(config, subject.name, volume, labels, mask, center, grid, training)


def load_pair(config: Config, pair: Pair, training: bool = False) -> Sample:
    """Two scans on the training grid, with their correspondences.

    To train on these are keypoints alone: landmarks are for measuring. To validate on, landmarks, or else keypoints.

    Raises:
        BadInputError: if a scan has no labels, or a pair to train on no keypoints, and the configuration needs them.
    """
    scans: list[Scan] = []
    centers: list[Point] = []
    grids: list[GridConfig] = []
    for subject in (pair.fixed, pair.moving):
        volume, labels, mask = subject.image(), subject.labels(), subject.mask()
        stays = config.data.align == "loaded" and bool(centers)
        centers.append(centers[0] if stays else center_of(volume, labels, mask, config))
        grids.append(grid_of(subject.name, labels, mask, config))
        scans.append(_placed(config, subject.name, volume, labels, mask, centers[-1], grids[-1], training))
    found = pair.keypoints() if training else pair.landmarks() or pair.keypoints()
    wanted = [
        loss for loss in config.losses if loss.name == "keypoint" and (loss.pairs == "all" or pair.same_patient)
    ]
    if found is None and training and wanted:
        raise BadInputError(
            f"The pair {pair.fixed.name}, {pair.moving.name} has no keypoints, which the loss needs; make them with "
            "training.keypoints, or take the loss out of the configuration."
        )
    fixed, moving = scans
    fixed_points, moving_points = _points(found, centers, grids, config.grid) if found else (None, None)
    return Sample(
        fixed=fixed,
        moving=moving,
        fixed_points=fixed_points,
        moving_points=moving_points,
        same_patient=pair.same_patient,
    )


def _placed(
    config: Config,
    name: str,
    volume: Volume,
    labels: LabelMap | None,
    mask: LabelMap | None,
    center: Point,
    grid: GridConfig,
    training: bool,
) -> Scan:
    """A scan on the training grid, with all that the configuration lists.

    A batch holds the same of each pair, so a scan to train on is refused without labels; its mask may be that of its
    structures.
    """
    data = config.data
    if training and data.labels and labels is None:
        raise BadInputError(f"{name} has no labels, of which the configuration lists {len(data.labels)}.")
    if data.masks and mask is None and labels is not None and data.labels:
        mask = LabelMap(np.isin(labels.array, data.labels).astype(np.uint8), labels.grid)
    if training and data.masks and mask is None:
        raise BadInputError(f"{name} has neither a mask nor labels; the configuration wants masks.")
    return place(volume, labels, center, grid, config.channels, data.labels, mask if data.masks else None)


def center_of(volume: Volume, labels: LabelMap | None, mask: LabelMap | None, config: Config) -> Point:
    """LPS point (mm) of a scan on which the middle of the training grid is laid; see ``DataConfig.align``.

    Where the scan's voxels are as large as the grid's, the grid is laid on them.
    """
    region = None
    if config.data.align == "labels" and labels is not None:
        region = np.isin(labels.array, config.data.labels)
    if config.data.align in ("masks", "boxes") and mask is not None:
        region = mask.mask()
    elif config.data.align == "boxes" and labels is not None:
        region = np.isin(labels.array, config.data.labels)
    if region is None or not region.any():
        return grid_around(volume.grid.center, config.grid).laid_on(volume.grid).center
    where = np.argwhere(region)
    middle = volume.grid.to_physical((where.min(axis=0) + where.max(axis=0))[::-1] / 2)
    if config.data.align == "boxes":
        return middle[0], middle[1], middle[2]
    return grid_around(middle.tolist(), config.grid).laid_on(volume.grid).center


def grid_of(name: str, labels: LabelMap | None, mask: LabelMap | None, config: Config) -> GridConfig:
    """The training grid of a scan: the configuration's, or with ``boxes`` one that the scan's mask fills.

    Raises:
        BadInputError: if there is neither a mask nor a structure to take the box of.
    """
    if config.data.align != "boxes":
        return config.grid
    region = mask or labels
    inside = None if region is None else (region.mask() if mask else np.isin(region.array, config.data.labels))
    if region is None or inside is None or not inside.any():
        raise BadInputError(f"{name} has neither a mask nor labels; align: boxes needs one to find the lungs' box.")
    where = np.argwhere(inside)[:, ::-1]
    low, high = where.min(axis=0) - 0.5, where.max(axis=0) + 0.5
    corners = np.array([[(low, high)[bit >> axis & 1][axis] for axis in range(3)] for bit in range(8)])
    extent = np.ptp(region.grid.to_physical(corners), axis=0) * (1 + 2 * BOX_MARGIN)
    x, y, z = (float(length) / count for length, count in zip(extent, config.grid.size, strict=True))
    return replace(config.grid, spacing_mm=(x, y, z))


def resolve(path: str) -> Path:
    """A path of a configuration: relative ones start at the repository's root."""
    return Path(path) if Path(path).is_absolute() else ROOT / path


def _subjects(config: Config, data_set: DataSet) -> list[Subject]:
    wanted = config.data.train
    if not wanted:
        return list(data_set.subjects.values())
    if wanted in data_set.splits:
        return data_set.select(data_set.splits[wanted])
    return data_set.select(read_names(resolve(wanted)))


def pairs_of(wanted: str, data_set: DataSet) -> list[Pair]:
    """Pairs of a file, or of one of the data set's own splits.

    Raises:
        BadInputError: if there are none.
    """
    if Path(wanted).suffix == ".csv":
        return [data_set.pair(fixed, moving) for fixed, moving in read_pair_names(resolve(wanted))]
    pairs = list(data_set.listed(wanted))
    if not pairs:
        raise BadInputError(f"The data set lists no pair for {wanted!r}.")
    return pairs


def _points(
    found: LandmarkPairs, centers: list[Point], grids: list[GridConfig], common: GridConfig
) -> list[torch.Tensor]:
    """Points in mm of the common grid, from its first voxel."""
    placed = []
    for points, center, grid in zip((found.fixed, found.moving), centers, grids, strict=True):
        stretched = np.divide(common.spacing_mm, grid.spacing_mm)
        placed.append(torch.from_numpy((points - np.array(grid_around(center, grid).origin)) * stretched).float())
    return placed
