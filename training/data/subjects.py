"""What a data set consists of: subjects and pairs, read only when they are asked for."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.files import VOLUME_ENDINGS, check_same_space, read_label_map, read_volume
from DeepLargeDeformRegLib.core.files.common import ending
from DeepLargeDeformRegLib.core.files.volumes import opened_image
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import LabelMap, LandmarkPairs, Volume


@dataclass(frozen=True, eq=False, kw_only=True)
class Subject:
    """One scan with what is known of it. Nothing is read before a method is called, and nothing is kept.

    Args:
        name: unique within its data set; what split files and configurations call it.
        read_image: reads the scan; None for subjects of label maps alone.
        read_labels: reads its structures, None where it has none.
        read_mask: reads the region in which it is to be registered, such as the lungs, None where it has none.
        patient: who it is of; two scans of one patient make a one-patient pair. Its name by default.
    """

    name: str
    read_image: Callable[[], Volume] | None = None
    read_labels: Callable[[], LabelMap] | None = None
    read_mask: Callable[[], LabelMap] | None = None
    patient: str = ""

    def __post_init__(self) -> None:
        if not self.patient:
            object.__setattr__(self, "patient", self.name)

    def image(self) -> Volume:
        """The scan.

        Raises:
            BadInputError: if there is none, or its file cannot be read.
        """
        if self.read_image is None:
            raise BadInputError("A scan was asked for from a data set that holds label maps only.")
        return self.read_image()

    def labels(self) -> LabelMap | None:
        """Its structures, on the scan's grid; None if it has none."""
        return None if self.read_labels is None else self.read_labels()

    def mask(self) -> LabelMap | None:
        """Its region to be registered, on the scan's grid; None if it has none."""
        return None if self.read_mask is None else self.read_mask()


@dataclass(frozen=True, eq=False)
class Pair:
    """Two subjects to be registered.

    Args:
        fixed: the scan whose grid the result will be on.
        moving: the scan that will be warped.
        read_landmarks: reads manual correspondences, for measuring.
        read_keypoints: reads automatic correspondences, for training.
    """

    fixed: Subject
    moving: Subject
    read_landmarks: Callable[[], LandmarkPairs] | None = None
    read_keypoints: Callable[[], LandmarkPairs] | None = None

    @property
    def same_patient(self) -> bool:
        """True for two scans of one patient: then their intensities correspond, too."""
        return self.fixed.patient == self.moving.patient

    def landmarks(self) -> LandmarkPairs | None:
        """Manual correspondences, LPS mm; None if there are none."""
        return None if self.read_landmarks is None else self.read_landmarks()

    def keypoints(self) -> LandmarkPairs | None:
        """Automatic correspondences, LPS mm; None if there are none."""
        return None if self.read_keypoints is None else self.read_keypoints()

    def reversed(self) -> Pair:
        """The same pair with fixed and moving exchanged."""

        def swap(read: Callable[[], LandmarkPairs] | None) -> Callable[[], LandmarkPairs] | None:
            return None if read is None else partial(_swapped, read)

        return Pair(self.moving, self.fixed, swap(self.read_landmarks), swap(self.read_keypoints))


@dataclass(frozen=True, eq=False)
class DataSet:
    """Subjects by name, and the pairs that the data set itself lists, by its own names of splits.

    Args:
        subjects: all of them.
        pairs: such as ``{"train": ..., "validation": ..., "test": ...}``; empty where any two subjects are a pair.
        splits: names of subjects by split, where the data set itself has such lists.
    """

    subjects: Mapping[str, Subject]
    pairs: Mapping[str, Sequence[Pair]] = field(default_factory=dict)
    splits: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.subjects)

    def subject(self, name: str) -> Subject:
        """The subject of a name.

        Raises:
            BadInputError: if there is none; the most similar name is suggested.
        """
        found = self.subjects.get(name)
        if found is None:
            near = difflib.get_close_matches(name, self.subjects, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise BadInputError(f"The data set has no subject {name}{hint} ({len(self)} were found in its folder).")
        return found

    def select(self, names: Iterable[str]) -> list[Subject]:
        """The subjects of a split file."""
        return [self.subject(name) for name in names]

    def pair(self, fixed: str, moving: str) -> Pair:
        """The pair of two subjects, with the landmarks and keypoints that the data set has for it, if any."""
        for pairs in self.pairs.values():
            for pair in pairs:
                names = (pair.fixed.name, pair.moving.name)
                if names == (fixed, moving):
                    return pair
                if names == (moving, fixed):
                    return pair.reversed()
        return Pair(self.subject(fixed), self.subject(moving))

    def listed(self, split: str) -> Sequence[Pair]:
        """The pairs of one of the data set's own splits.

        Raises:
            BadInputError: if it has no such split.
        """
        if split not in self.pairs:
            known = ", ".join(self.pairs) or "none"
            raise BadInputError(f"The data set lists no pairs of a split {split!r}; it has {known}.")
        return self.pairs[split]


def subject_of_files(
    name: str,
    image: Path | None,
    labels: Path | None = None,
    mask: Path | None = None,
    patient: str = "",
    structures: Mapping[int, int] | None = None,
) -> Subject:
    """Subject whose scan, structures and mask are files of their own; their grids are checked when they are read.

    Args:
        name: of the subject.
        image: file of the scan.
        labels: file of its structures.
        mask: file of the region in which it is to be registered.
        patient: who it is of.
        structures: values of ``labels`` that are read, and as which; all as they are by default.

    Raises:
        BadInputError: if one of the files does not exist.
    """
    for path in (image, labels, mask):
        if path is not None and not path.exists():
            raise BadInputError(f"{path.name} does not exist, though the data set names it; was it copied whole?")
    return Subject(
        name=name,
        read_image=None if image is None else partial(read_volume, image),
        read_labels=None if labels is None else partial(_read_structures, labels, image, structures),
        read_mask=None if mask is None else partial(_read_on_grid, mask, image, "mask"),
        patient=patient,
    )


def stem(path: Path) -> str:
    """File name without its ending; ``.nii.gz`` is one."""
    return path.name[: len(path.name) - len(ending(path))]


def volume_files(folder: Path, endings: Sequence[str] = VOLUME_ENDINGS) -> dict[str, Path]:
    """The image files of a folder by their stems, sorted.

    Args:
        folder: where they lie.
        endings: of their names.

    Raises:
        BadInputError: if the folder does not exist, is empty, or two files differ in their ending only.
    """
    if not folder.is_dir():
        raise BadInputError(f"The data set has no folder {folder.name}; see training/data/README.md for its layout.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or ending(path) not in endings:
            continue
        if stem(path) in found:
            raise BadInputError(f"{path.name} and {found[stem(path)].name} would both be called {stem(path)}.")
        found[stem(path)] = path
    if not found:
        raise BadInputError(f"The folder {folder.name} holds no image files ({', '.join(endings)}).")
    return found


def header_grid(path: Path) -> ImageGrid:
    """Grid of an image file; its voxels are not read."""
    with opened_image(path, decode=False) as reader:
        direction = tuple(reader.GetDirection())
        axes = len(reader.GetSize())
        matrix = tuple(direction[row * axes + column] for row in range(3) for column in range(3))
        return ImageGrid(reader.GetSize()[:3], reader.GetSpacing()[:3], reader.GetOrigin()[:3], matrix)


def _read_on_grid(path: Path, image: Path | None, what: str) -> LabelMap:
    label_map = read_label_map(path, what=what)
    if image is not None and not image.is_dir():
        check_same_space(label_map.grid, header_grid(image), f"{what} {path.name}", "scan")
    return label_map


def _read_structures(path: Path, image: Path | None, structures: Mapping[int, int] | None) -> LabelMap:
    label_map = _read_on_grid(path, image, "label map")
    if structures is None:
        return label_map
    array = np.zeros_like(label_map.array)
    for value, wanted in structures.items():
        array[label_map.array == value] = wanted
    return LabelMap(array, label_map.grid)


def _swapped(read: Callable[[], LandmarkPairs]) -> LandmarkPairs:
    pairs = read()
    return LandmarkPairs(pairs.moving, pairs.fixed, pairs.names)
