"""Data sets of plain folders: a folder of images and one of label maps, or one file a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.files import check_same_space, read_label_map, read_volume
from DeepLargeDeformRegLib.core.images import Label, LabelMap

from .splits import read_names, read_pair_names
from .subjects import DataSet, Subject, header_grid, subject_of_files, volume_files

_OWN_SPLITS = ("train", "validation", "test")


def image_label_folders(
    folder: Path,
    images: str = "images",
    labels: str = "labels",
    masks: str = "masks",
    image_suffix: str = "",
    label_suffix: str = "",
) -> DataSet:
    """Folders of images and label maps of the same names, as IXI, OASIS and the Medical Segmentation Decathlon have.

    Lists ``train.txt``, ``validation.txt``, ``test.txt`` (names) and ``train_pairs.csv`` ... (columns fixed, moving)
    beside them become the data set's own splits.

    Args:
        folder: the data set.
        images: its folder of scans; if there is none, the subjects are label maps alone.
        labels: its folder of label maps, which need not have one of every scan; ``"."`` where the label maps lie
            beside the scans with a suffix.
        masks: its folder of masks, if any.
        image_suffix: what follows the subject's name in the names of scans, such as ``"_t1"``.
        label_suffix: likewise of label maps, such as ``"_seg"``.

    Raises:
        BadInputError: if neither folder exists, or a list names a subject that is not there.
    """
    _check_folder(folder)
    scans = _named(folder / images, image_suffix, label_suffix) if (folder / images).is_dir() else {}
    maps = _named(folder / labels, label_suffix, image_suffix) if (folder / labels).is_dir() else {}
    regions = volume_files(folder / masks) if (folder / masks).is_dir() else {}
    if not scans and not maps:
        raise BadInputError(f"{folder.name} has neither a folder {images} nor a folder {labels} with image files.")
    names = scans or maps
    subjects = {name: subject_of_files(name, scans.get(name), maps.get(name), regions.get(name)) for name in names}
    return _with_own_splits(folder, subjects)


def subject_folders(
    folder: Path, image: str = "image.nii.gz", labels: str = "labels.nii.gz", mask: str = "mask.nii.gz"
) -> DataSet:
    """A folder a subject with files of the same names in each, as neurite-OASIS has (``aligned_norm.nii.gz`` ...).

    Args:
        folder: the data set.
        image: name of the scan in each subject's folder; folders without it are passed over.
        labels: name of its label map, if it has one.
        mask: name of its mask, if it has one.

    Raises:
        BadInputError: if no subject is found.
    """
    _check_folder(folder)
    subjects = {}
    for root in sorted(folder.iterdir()):
        scan, label_map, region = (root / name for name in (image, labels, mask))
        if scan.is_file():
            subjects[root.name] = subject_of_files(
                root.name,
                scan,
                label_map if label_map.is_file() else None,
                region if region.is_file() else None,
            )
    if not subjects:
        raise BadInputError(f"{folder.name} holds no folder with a file {image}; see training/data/README.md.")
    return _with_own_splits(folder, subjects)


def class_folders(
    folder: Path,
    image: str = "ct.nii.gz",
    segmentations: str = "segmentations",
    classes: Sequence[str] = (),
) -> DataSet:
    """A folder a subject with its scan and one binary file a class, as the TotalSegmentator data set has.

    ``SUBJECT/ct.nii.gz`` and ``SUBJECT/segmentations/liver.nii.gz`` ... . Where classes overlap, a voxel goes to the
    class that is named first.

    Args:
        folder: the data set.
        image: name of the scan in each subject's folder.
        segmentations: name of the folder of classes in it.
        classes: the classes to read; label value 1 for the first one, and so on. All by default, in the order of
            their names over all subjects, so that a class has one value everywhere. A class without a file is one
            that the scan does not show.

    Raises:
        BadInputError: if no subject is found, or a wanted class exists nowhere.
    """
    _check_folder(folder)
    classes = (classes,) if isinstance(classes, str) else classes
    roots = [path for path in sorted(folder.iterdir()) if (path / image).is_file()]
    if not roots:
        raise BadInputError(f"{folder.name} holds no folder with a file {image}; see training/data/README.md.")
    files = {root.name: volume_files(root / segmentations) for root in roots if (root / segmentations).is_dir()}
    present = sorted({name for one in files.values() for name in one})
    missing = [name for name in classes if name not in present]
    if missing:
        raise BadInputError(f"No subject of {folder.name} has a file of the class {missing[0]}.")
    values = {name: value for value, name in enumerate(classes or present, start=1)}
    subjects = {}
    for root in roots:
        own = {name: path for name, path in files.get(root.name, {}).items() if name in values}
        subjects[root.name] = Subject(
            name=root.name,
            read_image=partial(read_volume, root / image),
            read_labels=partial(_read_classes, root / image, own, values) if own else None,
        )
    return _with_own_splits(folder, subjects)


def _read_classes(image: Path, files: Mapping[str, Path], values: Mapping[str, int]) -> LabelMap:
    grid = header_grid(image)
    array = np.zeros(grid.shape, np.int16)
    labels = []
    for name in sorted(files, key=values.__getitem__):
        try:
            mask = read_label_map(files[name], what="class")
        except BadInputError as error:
            if "is empty" in error.message:  # TotalSegmentator writes a file of zeros for what a scan does not show
                continue
            raise
        check_same_space(mask.grid, grid, f"class {name}", "scan")
        array[(mask.array != 0) & (array == 0)] = values[name]
        labels.append(Label(value=values[name], name=name))
    return LabelMap(array, grid, tuple(labels))


def _named(folder: Path, suffix: str, other: str) -> dict[str, Path]:
    """Files by subject; of a folder that holds both kinds, those with the other kind's suffix are left out."""
    found = {}
    for name, path in volume_files(folder).items():
        if name.endswith(suffix) and not (other and not suffix.endswith(other) and name.endswith(other)):
            found[name[: len(name) - len(suffix)]] = path
    if not found:
        raise BadInputError(f"The folder {folder.name} holds no files whose names end in {suffix}.")
    return found


def _with_own_splits(folder: Path, subjects: Mapping[str, Subject]) -> DataSet:
    data_set = DataSet(subjects)
    splits, pairs = {}, {}
    for split in _OWN_SPLITS:
        names, listed = folder / f"{split}.txt", folder / f"{split}_pairs.csv"
        if names.is_file():
            splits[split] = [subject.name for subject in data_set.select(read_names(names))]
        if listed.is_file():
            pairs[split] = [data_set.pair(fixed, moving) for fixed, moving in read_pair_names(listed)]
    return DataSet(subjects, pairs, splits)


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise BadInputError(f"There is no folder {folder.name}; was the data set downloaded and unpacked?")
