"""Task folders of the Learn2Reg challenge (Hering et al., IEEE TMI 2023).

``TASK_dataset.json`` beside ``imagesTr``, ``labelsTr``, ``masksTr``, ``keypointsTr``, ``landmarksTr`` and their
``Ts`` counterparts. What the releases do not say in the file follows the challenge's own evaluation (MDL-UzL/L2R):
the label map, mask, keypoints and landmarks of ``imagesTr/X.nii.gz`` are found by exchanging the word ``images`` in
its path; points are voxel indices from 0, in the order of the file's axes; a file name ends in the subject's and the
modality's (or time's) number, ``_0007_0001``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.files.common import read_text
from DeepLargeDeformRegLib.core.images import LandmarkPairs

from .subjects import DataSet, Pair, Subject, header_grid, stem, subject_of_files

_PAIR_LISTS = {
    "train": ("training_paired_images",),
    "validation": ("registration_val",),
    "test": ("registration_test", "test_paired_images"),
}


def learn2reg(folder: Path, dataset_json: str = "") -> DataSet:
    """A task of Learn2Reg.

    The data set's own splits: ``train``, ``validation`` and ``test`` as the file lists them. The releases list the
    validation scans among the training scans, too: here nobody of a validation or test pair is in ``train``.

    Args:
        folder: the task's folder.
        dataset_json: name of its description; the only file ``*_dataset.json`` in the folder by default.

    Raises:
        BadInputError: if the description or a file that it names is missing or cannot be understood.
    """
    description = _description(folder, dataset_json)
    content = _content(description)
    entries = {split: _entries(content, key) for split, key in (("train", "training"), ("test", "test"))}
    listed = {split: _pairs(content, keys) for split, keys in _PAIR_LISTS.items()}
    labels = {_path(entry, "label") for entries_of in entries.values() for entry in entries_of} - {""}
    images = [_path(entry, "image") for entries_of in entries.values() for entry in entries_of]
    images += [image for pairs in listed.values() for pair in pairs for image in pair]
    subjects: dict[str, Subject] = {}
    paths: dict[str, Path] = {}
    for image in dict.fromkeys(images):
        subject = _subject(folder, image)
        known = paths.setdefault(subject.name, folder / image)
        if known.resolve() != (folder / image).resolve():
            raise BadInputError(f"{description.name} lists two scans of the name {subject.name}.")
        subjects[subject.name] = subject
    for label in labels:
        if not (folder / label).is_file():
            raise BadInputError(f"{description.name} lists {Path(label).name}, which is not in {Path(label).parent}.")
    pairs = {split: [_pair(subjects, paths, *pair) for pair in one] for split, one in listed.items() if one}
    return _without_overlap(subjects, pairs, {k: [_path(e, "image") for e in v] for k, v in entries.items()})


def read_voxel_points(path: Path, image: Path) -> npt.NDArray[np.float64]:
    """Points of a file of Learn2Reg, three voxel indices a line with commas, as LPS mm (n, 3).

    Raises:
        BadInputError: if the file is no such table, or a point lies outside of the scan.
    """
    try:
        rows = [[float(value) for value in line.split(",")] for line in read_text(path).splitlines() if line.strip()]
        index = np.array(rows, dtype=np.float64).reshape(-1, 3)
    except ValueError as error:
        raise BadInputError(f"{path.name} is no table of three voxel indices a line.", detail=str(error)) from error
    grid = header_grid(image)
    points = grid.to_physical(index)
    outside = int(np.count_nonzero(~grid.contains(points, margin_mm=max(grid.spacing))))
    if outside:
        raise BadInputError(
            f"{outside} points of {path.name} lie outside of {image.name}; they are not of this scan."
        )
    return points


def _without_overlap(
    subjects: Mapping[str, Subject], pairs: Mapping[str, Sequence[Pair]], images: Mapping[str, Sequence[str]]
) -> DataSet:
    """Splits in which nobody who is validated or tested on is trained on."""
    held_out = {
        scan.patient for split, one in pairs.items() if split != "train" for pair in one for scan in _of(pair)
    }
    own = dict(pairs)
    if "train" in own:
        own["train"] = [pair for pair in own["train"] if not held_out & {scan.patient for scan in _of(pair)}]
    names = {split: [stem(Path(image)) for image in one] for split, one in images.items() if one}
    if "train" in names:
        names["train"] = [name for name in names["train"] if subjects[name].patient not in held_out]
    if "validation" in own:
        names["validation"] = list(dict.fromkeys(scan.name for pair in own["validation"] for scan in _of(pair)))
    return DataSet(subjects, own, names)


def _of(pair: Pair) -> tuple[Subject, Subject]:
    return pair.fixed, pair.moving


def _description(folder: Path, name: str) -> Path:
    if not folder.is_dir():
        raise BadInputError(f"There is no folder {folder.name}; was the task downloaded and unpacked?")
    if name:
        return folder / name
    found = sorted(folder.glob("*dataset.json"))
    if len(found) != 1:
        what = "no file" if not found else f"{len(found)} files"
        raise BadInputError(
            f"{folder.name} has {what} called *_dataset.json; give the task's folder, and the option dataset_json if "
            "there are several."
        )
    return found[0]


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_text(path))
    except ValueError as error:
        raise BadInputError(f"{path.name} is no JSON file; download it again.", detail=str(error)) from error
    if not isinstance(content, dict) or not {"training", "training_paired_images", "registration_val"} & set(content):
        raise BadInputError(f"{path.name} lists neither training scans nor pairs; it is no description of Learn2Reg.")
    return content


def _entries(content: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Scans of a list; releases give them as objects or, for test scans, as plain paths."""
    return [entry if isinstance(entry, dict) else {"image": entry} for entry in content.get(key) or []]


def _path(entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key, "")
    if not isinstance(value, str):
        raise BadInputError(f"The description of the task has an entry whose {key!r} is not a path: {value!r}.")
    return value


def _pairs(content: Mapping[str, Any], keys: Sequence[str]) -> list[tuple[str, str]]:
    direction = content.get("registration_direction") or {"fixed": 0, "moving": 1}
    result = []
    for entry in (entry for key in keys for entry in content.get(key) or []):
        if {"fixed", "moving"} <= set(entry):
            pair = (_path(entry, "fixed"), _path(entry, "moving"))
        else:  # the first release names the scans 0 and 1
            pair = (_path(entry, str(direction["fixed"])), _path(entry, str(direction["moving"])))
        if not all(pair):
            raise BadInputError(f"The description of the task has a pair without a fixed or moving scan: {entry}.")
        result.append(pair)
    return result


def _beside(image: Path, kind: str, suffix: str = "") -> Path:
    """Path of another kind of file of a scan: ``imagesTr/X.nii.gz`` -> ``kindTr/X.nii.gz``, or with a suffix."""
    folder = image.parent.name.replace("images", kind)
    return image.parent.parent / folder / (stem(image) + suffix if suffix else image.name)


def _subject(folder: Path, image: str) -> Subject:
    path = folder / image
    labels, mask = _beside(path, "labels"), _beside(path, "masks")
    name = stem(path)
    return subject_of_files(
        name,
        path,
        labels if labels.is_file() else None,
        mask if mask.is_file() else None,
        name.rpartition("_")[0],
    )


def _pair(subjects: Mapping[str, Subject], paths: Mapping[str, Path], fixed: str, moving: str) -> Pair:
    first, second = (subjects[stem(Path(image))] for image in (fixed, moving))
    images = (paths[first.name], paths[second.name])
    found = {}
    # Where a scan is in several pairs, its keypoints are in folders named after the two modalities: keypoints02Tr.
    modalities = "".join(sorted(f"{int(name.rpartition('_')[2] or 0):02d}"[-1] for name in (first.name, second.name)))
    for kind in ("landmarks", "keypoints"):
        for folder in (kind, kind + modalities):
            files = [_beside(image, folder, ".csv") for image in images]
            if all(file.is_file() for file in files):
                found[kind] = partial(_read_points, *zip(files, images, strict=True))
    return Pair(first, second, found.get("landmarks"), found.get("keypoints"))


def _read_points(fixed: tuple[Path, Path], moving: tuple[Path, Path]) -> LandmarkPairs:
    return LandmarkPairs(read_voxel_points(*fixed), read_voxel_points(*moving))
